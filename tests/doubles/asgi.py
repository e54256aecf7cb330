"""HTTP without a network: an app is called in this process, and answers piece by piece, as over a socket."""

from collections.abc import AsyncIterator

import anyio
import httpx2
from anyio.abc import TaskGroup


class Body(httpx2.AsyncByteStream):
    def __init__(self, pieces, gone):
        self._pieces, self._gone = pieces, gone

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._pieces:
            yield piece

    async def aclose(self):
        self._gone.set()
        self._pieces.close()


class InProcess(httpx2.AsyncBaseTransport):
    """Requests run in `tasks`; a client that closes its answer has gone."""

    def __init__(self, app, tasks: TaskGroup):
        self._app, self._tasks = app, tasks

    async def handle_async_request(self, request):
        body, gone, asked = await request.aread(), anyio.Event(), []
        started, begun = anyio.Event(), {}
        send_piece, pieces = anyio.create_memory_object_stream(100)

        async def receive():
            if not asked:
                asked.append(True)
                return {"type": "http.request", "body": body, "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            if message["type"] == "http.response.start":
                begun.update(message)
                started.set()
            elif not gone.is_set():
                try:
                    if message.get("body"):
                        await send_piece.send(message["body"])
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    gone.set()
                if not message.get("more_body"):
                    send_piece.close()

        async def run():
            with send_piece:
                await self._app(self._scope(request), receive, send)

        self._tasks.start_soon(run)
        try:
            await started.wait()
        except BaseException:
            gone.set()
            pieces.close()
            raise
        return httpx2.Response(begun["status"], headers=begun["headers"], stream=Body(pieces, gone))

    @staticmethod
    def _scope(request):
        path, _, query = request.url.raw_path.partition(b"?")
        return {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": request.method, "scheme": "http",
            "headers": [(name.lower(), value) for name, value in request.headers.raw], "raw_path": path, "query_string": query,
            "path": request.url.path, "root_path": "", "server": ("localhost", 80), "client": ("127.0.0.1", 1),
        }  # fmt: skip
