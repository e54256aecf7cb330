"""A client of live events, against an ASGI application in this process: what it reads, byte by byte if need be."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import anyio

from devsh_memory_mcp.faces.http_events import TRANSPORT


class Told(NamedTuple):
    id: str | None
    name: str
    data: dict[str, Any]


def frames_of(content: bytes) -> list[Told]:
    """The whole frames in it."""
    told = []
    for block in content.decode("ascii").split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        told.append(Told(fields.get("id"), fields["event"], json.loads(fields["data"])))
    return told


class Listener:
    """`takes` is unset by a test for a client that does not read."""

    def __init__(self) -> None:
        self.status, self.headers, self.content, self.is_over = 0, {}, b"", False
        self.takes, self._grown = anyio.Event(), anyio.Event()
        self.takes.set()
        self.left, self.aborted, self.waiting = anyio.Event(), anyio.Event(), b""
        self._read = 0

    # As the connection of a real server, into which it may write by itself.

    def abort(self) -> None:
        self.aborted.set()

    def write(self, data: bytes) -> None:
        size, _, rest = data.partition(b"\r\n")
        assert len(rest) == int(size, 16) + 2
        self.waiting += rest[:-2]
        self.flush()

    def flush(self) -> None:
        if self.takes.is_set():
            self.content, self.waiting = self.content + self.waiting, b""
            self._grown.set()
            self._grown = anyio.Event()

    def get_write_buffer_size(self) -> int:
        return len(self.waiting)

    def is_closing(self) -> bool:
        return self.left.is_set() or self.aborted.is_set()

    async def receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await self.takes.wait()
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.content += message.get("body", b"")
            self.is_over = not message.get("more_body", False)
        self._grown.set()
        self._grown = anyio.Event()

    async def next(self) -> Told:
        """The next frame."""
        while len(found := frames_of(self.content)) <= self._read:
            await self._grown.wait()
        self._read += 1
        return found[self._read - 1]

    async def until(self, name: str) -> list[Told]:
        """The frames up to the next one of that name."""
        told = [await self.next()]
        while told[-1].name != name:
            told.append(await self.next())
        return told

    async def over(self) -> None:
        while not self.is_over:
            await self._grown.wait()


@asynccontextmanager
async def listening(app: Any, path: str, *, is_direct: bool = False, **headers: str) -> AsyncIterator[Listener]:
    """A client for a while; then it vanishes."""
    client, (place, _, query) = Listener(), path.partition("?")
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "GET", "path": place, "query_string": query.encode(), "headers": raw, "state": {TRANSPORT: client}}
    scope["http_version"] = "1.1" if is_direct else "1.0"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(app, scope, client.receive, client.send)
        try:
            yield client
        finally:
            client.left.set()
            client.takes.set()
