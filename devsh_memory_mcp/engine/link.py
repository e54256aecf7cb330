"""One process's connection to the runner: rings after commits, tells followers that there is something to read.

A ring says "read on", never what changed, so one too many costs nothing; a tick each second stands in for one too few.
Losing the connection means that the runner has died or left: while somebody follows, another one is made sure of at once.
"""

import asyncio
import json
import random
from asyncio import StreamReader, StreamWriter
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio.abc import TaskGroup

from devsh_memory_mcp.alongside import alongside
from devsh_memory_mcp.config import VERSION
from devsh_memory_mcp.shim.doorbell import ANSWER_WITHIN, FORMAT, NoRunner, ensure_runner, socket_path

TICK = 1.0
_SETTLES_WITHIN = 2.0  # seconds
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

    def __init__(self, root: Path, command: tuple[str, ...], tasks: TaskGroup, *, lent: Mapping[str, str], patience: float) -> None:
        self._root = root
        self._command = command
        self._tasks = tasks
        self._lent = dict(lent)
        self._patience = patience
        self._writer: StreamWriter | None = None
        self._connecting = anyio.Lock()
        self._followers: list[Follower] = []
        self._answered = True
        self._unheard: Counter[str] = Counter()  # rings that no runner has answered yet
        self._all_heard = anyio.Event()

    async def ring(self, orchestration_id: str) -> str | None:
        """Tells a living runner, started where there is none, that the journal has grown; what went wrong, else None."""
        self._unheard[orchestration_id] += 1
        trouble = await self._try(b"ring %s\n" % orchestration_id.encode())
        if trouble:
            del self._unheard[orchestration_id]
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
        writer = self._writer
        if writer is None or writer.is_closing():
            writer = await self._connect()
        writer.write(line)

    async def _connect(self) -> StreamWriter:
        async with self._connecting:
            if self._writer is None or self._writer.is_closing():
                connection = await anyio.to_thread.run_sync(ensure_runner, str(self._root), self._command, _HELLO, self._patience)
                connection.setblocking(False)
                # Not anyio's stream: cancelling its receive in the turn in which something arrives is an error in the loop.
                reader, self._writer = await asyncio.open_unix_connection(sock=connection)
                if self._lent:
                    self._writer.write(b"lend %s\n" % json.dumps(self._lent).encode())
                self._answered = True
                self._tasks.start_soon(self._listen, reader, self._writer)
            return self._writer

    async def _listen(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Rings followers; at the end of the stream it sees to another runner if anybody follows."""
        try:
            while line := await reader.readline():
                self._answered = True
                if line.startswith(b"heard "):
                    self._hear(line[6:-1].decode())
                else:
                    self._ring_followers()
        except ConnectionError:
            self._answered = True  # reset is an end like any other
        finally:
            writer.close()
        self._ring_followers()
        unheard, self._unheard = self._unheard, Counter()
        if self._followers or unheard:
            await anyio.sleep(random.uniform(0.01, 0.2))  # everybody lost it at the same instant
        for orchestration_id in unheard:
            await self.ring(orchestration_id)
        for orchestration_id in {follower.orchestration_id for follower in self._followers}:
            await self._follow(orchestration_id)

    def _hear(self, orchestration_id: str) -> None:
        self._unheard[orchestration_id] -= 1
        self._unheard = +self._unheard  # what is not above nothing goes
        if not self._unheard:
            self._all_heard.set()

    async def settle(self) -> None:
        """Until every ring was heard: a runner that was killed before it read one is replaced by whoever rang."""
        with anyio.move_on_after(_SETTLES_WITHIN):
            while self._unheard:
                self._all_heard = anyio.Event()
                await self._all_heard.wait()

    def _ring_followers(self) -> None:
        """All of them, whichever was meant: who finds nothing new waits on."""
        for follower in self._followers:
            follower.ring()

    async def _follow(self, orchestration_id: str) -> None:
        """Where no runner can be had, ticks go on and the next ring tries again."""
        await self.ring(orchestration_id)
        await self._try(b"follow %s\n" % orchestration_id.encode())

    async def _pulse(self) -> None:
        """While anybody follows: a runner that does not answer is dropped; whoever connects next ends it."""
        while self._followers:
            writer, self._answered = self._writer, False
            await self._try(b"ping\n")
            await anyio.sleep(self._patience / 2)
            if writer is not None and writer is self._writer and not self._answered:
                writer.close()


@asynccontextmanager
async def open_link(
    root: Path, command: tuple[str, ...], *, lent: Mapping[str, str], patience: float = ANSWER_WITHIN
) -> AsyncIterator[RunnerLink]:
    """A link for as long as the context lasts; nothing is started or connected before it is needed.

    `lent` are the caller's credentials by variable. A runner that is silent for `patience` seconds is replaced.
    """
    async with alongside() as tasks:
        link = RunnerLink(root, command, tasks, lent=lent, patience=patience)
        yield link
        await link.settle()


async def until_no_runner(root: Path) -> None:
    """Returns when no runner of the memory root lives; none is started."""
    try:
        reader, writer = await asyncio.open_unix_connection(socket_path(str(root)))
    except (NoRunner, OSError):
        return
    try:
        writer.write(json.dumps({"format": FORMAT, **_HELLO}).encode() + b"\n")
        while await reader.read(4096):
            continue
    except ConnectionError:
        return  # reset is an end like any other
    finally:
        writer.close()
