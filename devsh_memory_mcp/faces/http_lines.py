"""Answers that go on, one line of JSON for each piece. They end with their client, who leaves nothing behind."""

import json
from collections.abc import Awaitable, Callable

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from devsh_memory_mcp.errors import DevshError, NotFound
from devsh_memory_mcp.faces.http_faults import fault_of
from devsh_memory_mcp.faces.http_front import Front
from devsh_memory_mcp.faces.http_parameters import parsed
from devsh_memory_mcp.faces.http_rooms import Visitor
from devsh_memory_mcp.faces.operations import Call, Stream
from devsh_memory_mcp.ports import Orchestrations

ALIVE_EVERY = 15.0  # seconds after which a stream that has nothing to say sends an empty line
_BEGINS_WITHIN = 0.1  # seconds in which it may still be refused with a status of its own
_BUFFERED = 16  # lines
_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/x-ndjson"), (b"cache-control", b"no-store")],
}


def lines(front: Front, stream: Stream) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint of a stream."""

    async def endpoint(request: Request) -> Response:
        claims = front.claims(request, stream.roles)
        asked = await parsed(request, stream.takes)

        def call(orchestrations: Orchestrations) -> Call:
            return Call(orchestrations, request.path_params["id"], asked.orchestration_id, asked.given)

        return _Lines(front, stream, front.visitor(request, claims), call)

    endpoint.__name__ = stream.name
    return endpoint


class _Lines(Response):
    """One such answer, while it is given."""

    def __init__(self, front: Front, stream: Stream, visitor: Visitor, call: Callable[[Orchestrations], Call]) -> None:
        self.background = None
        self._front, self._stream, self._visitor, self._call = front, stream, visitor, call
        self._failure: DevshError | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reads and sends until one of both ends is reached."""
        arriving, arrived = anyio.create_memory_object_stream[bytes](_BUFFERED)
        async with self._front.rooms.enter(self._visitor) as room, anyio.create_task_group() as tasks, arrived, arriving:

            async def until_gone() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                tasks.cancel_scope.cancel()

            tasks.start_soon(self._read, self._call(room.orchestrations), arriving)
            tasks.start_soon(until_gone)
            await self._send(arrived, send)
            tasks.cancel_scope.cancel()
        if self._failure is not None:
            raise self._failure

    async def _read(self, call: Call, arriving: MemoryObjectSendStream[bytes]) -> None:
        async with arriving:
            try:
                async for piece in self._stream.run(call):
                    await arriving.send(piece.model_dump_json(by_alias=True).encode() + b"\n")
            except NotFound as error:
                self._failure = await self._front.rooms.missing(self._visitor.claims, call.any_id) or error
            except DevshError as error:
                self._failure = error

    async def _send(self, arrived: MemoryObjectReceiveStream[bytes], send: Send) -> None:
        """What arrives; an empty line where nothing does; a fault as the last one where it is too late for a status."""
        has_begun, patience = False, _BEGINS_WITHIN
        while True:
            line = b"\n"
            try:
                with anyio.move_on_after(patience):
                    line = await arrived.receive()
            except anyio.EndOfStream:
                break
            if not has_begun:
                await send(_START)
                has_begun, patience = True, ALIVE_EVERY
            await send({"type": "http.response.body", "body": line, "more_body": True})
        if self._failure is not None and not has_begun:
            return
        last = b""
        if self._failure is not None:
            last = json.dumps({"fault": fault_of(self._failure).model_dump(mode="json", by_alias=True)}).encode() + b"\n"
            self._failure = None
        if not has_begun:
            await send(_START)
        await send({"type": "http.response.body", "body": last, "more_body": False})
