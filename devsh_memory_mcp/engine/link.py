"""One process's connection to the runner: rings after commits, tells followers that there is something to read.

A ring says "read on", never what changed, so one too many costs nothing; a tick each second stands in for one too few.
Losing the connection means that the runner has died or left: while somebody follows, another one is made sure of at once.
"""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio.abc import TaskGroup, UNIXSocketStream

from devsh_memory_mcp.config import VERSION
from devsh_memory_mcp.engine.alongside import alongside
from devsh_memory_mcp.shim.doorbell import ANSWER_WITHIN, NoRunner, ensure_runner

TICK = 1.0
_HELLO: dict[str, object] = {"hello": "face", "version": VERSION}


class Follower:
    """Somebody who wants to know when an orchestration's journal may have grown."""

    def __init__(self, orchestration_id: str) -> None:
        self.orchestration_id = orchestration_id
        self._rung = anyio.Event()

    def ring(self) -> None:
        """Wakes it."""
        self._rung.set()

    async def wait(self) -> None:
        """Until the next ring, or a tick; a ring since the last wait counts."""
        with anyio.move_on_after(TICK):
            await self._rung.wait()
        self._rung = anyio.Event()


class RunnerLink:
    """The doorbell as faces use it; opened once per process with `open_link`."""

    def __init__(self, root: Path, command: tuple[str, ...], tasks: TaskGroup, patience: float) -> None:
        self._root = root
        self._command = command
        self._tasks = tasks
        self._patience = patience
        self._stream: UNIXSocketStream | None = None
        self._connecting = anyio.Lock()
        self._followers: list[Follower] = []
        self._answered = True

    async def ring(self, orchestration_id: str) -> str | None:
        """Tells a living runner, started where there is none, that the journal has grown; what went wrong, else None."""
        trouble = await self._try(b"ring %s\n" % orchestration_id.encode())
        return trouble and f"It is recorded, but no runner could be started: {trouble}"

    async def _try(self, line: bytes) -> str | None:
        try:
            await self._say(line)
        except (NoRunner, OSError) as error:
            return str(error)
        return None

    @asynccontextmanager
    async def follow(self, orchestration_id: str) -> AsyncIterator[Follower]:
        """A follower, armed before it is given: read once after, then after each wait."""
        follower = Follower(orchestration_id)
        self._followers.append(follower)
        try:
            if len(self._followers) == 1:
                self._tasks.start_soon(self._pulse)
            await self._follow(orchestration_id)
            yield follower
        finally:
            self._followers.remove(follower)

    async def _say(self, line: bytes) -> None:
        for last_try in (False, True):
            stream = self._stream or await self._connect()
            try:
                await stream.send(line)
                return
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                self._drop(stream)
                if last_try:
                    raise NoRunner("the runner left twice while it was spoken to") from None

    async def _connect(self) -> UNIXSocketStream:
        async with self._connecting:
            if self._stream is None:
                connection = await anyio.to_thread.run_sync(ensure_runner, str(self._root), self._command, _HELLO, self._patience)
                connection.setblocking(False)
                self._stream = await UNIXSocketStream.from_socket(connection)
                self._answered = True
                self._tasks.start_soon(self._listen, self._stream)
            return self._stream

    def _drop(self, stream: UNIXSocketStream) -> None:
        if self._stream is stream:
            self._stream = None

    async def _listen(self, stream: UNIXSocketStream) -> None:
        """Rings followers; at the end of the stream it sees to another runner if anybody follows."""
        try:
            async with stream:
                async for chunk in stream:
                    self._answered = True
                    self._hear(chunk)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            self._answered = True
        self._drop(stream)
        for follower in self._followers:
            follower.ring()
        if self._followers:
            await anyio.sleep(random.uniform(0.01, 0.2))  # everybody lost it at the same instant
            for orchestration_id in {follower.orchestration_id for follower in self._followers}:
                await self._follow(orchestration_id)

    def _hear(self, chunk: bytes) -> None:
        for follower in self._followers:
            if follower.orchestration_id.encode() in chunk:
                follower.ring()

    async def _follow(self, orchestration_id: str) -> None:
        """Where no runner can be had, ticks go on and the next ring tries again."""
        name = orchestration_id.encode()
        await self._try(b"ring %s\nfollow %s\n" % (name, name))

    async def _pulse(self) -> None:
        """While anybody follows: a runner that does not answer is dropped; whoever connects next ends it."""
        while self._followers:
            stream, self._answered = self._stream, False
            if stream is not None:
                with anyio.move_on_after(self._patience / 2):
                    await self._try(b"ping\n")
            await anyio.sleep(self._patience / 2)
            if stream is not None and stream is self._stream and not self._answered:
                self._drop(stream)
                await stream.aclose()


@asynccontextmanager
async def open_link(root: Path, command: tuple[str, ...], *, patience: float = ANSWER_WITHIN) -> AsyncIterator[RunnerLink]:
    """A link for as long as the context lasts; nothing is started or connected before it is needed.

    A runner that is silent for `patience` seconds is replaced.
    """
    async with alongside() as tasks:
        yield RunnerLink(root, command, tasks, patience)
