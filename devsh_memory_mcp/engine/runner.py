"""The runner's process: one per memory root, found by its socket, left as soon as there is nothing to do.

The order of its leaving makes a commit impossible to miss: it stops listening, releases the lock and only then reads every journal
once more. A face commits first and rings second, so it finds either this last look or nobody, and then starts the next runner.
"""

import fcntl
import os
import secrets
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio.abc import SocketListener, TaskGroup

from devsh_memory_mcp.backends.forkserver import ForkServer
from devsh_memory_mcp.backends.local import LocalBackend
from devsh_memory_mcp.domain.schedule import has_work
from devsh_memory_mcp.engine.desk import Desk, Fenced
from devsh_memory_mcp.engine.dispatch import Dispatcher
from devsh_memory_mcp.engine.doorkeeper import Doorkeeper
from devsh_memory_mcp.engine.limits import USUAL, Limits
from devsh_memory_mcp.engine.preparation import choose
from devsh_memory_mcp.engine.upkeep import collect_garbage, keep_views
from devsh_memory_mcp.errors import DevshError
from devsh_memory_mcp.ports import Clock
from devsh_memory_mcp.shim.doorbell import socket_path
from devsh_memory_mcp.store.bookkeeping import exact_bookkeeping
from devsh_memory_mcp.store.journal import JOURNAL_FILE, FileJournal, fold_file
from devsh_memory_mcp.store.root import Found, MemoryRoot
from devsh_memory_mcp.store.views import Views

LOCK_FILE = "runner.lock"


class Runner:
    """Serves one memory root until nothing is left to do."""

    def __init__(self, root: MemoryRoot, clock: Clock, command: tuple[str, ...], limits: Limits = USUAL) -> None:
        self._path = root.path
        self._root = root
        self._clock = clock
        self._command = command
        self._limits = limits
        self._id = ""
        self._is_leaving = False
        self._left_alone: set[str] = set()
        self._tasks: TaskGroup
        self._opening = anyio.Lock()

    async def run(self, ready_fd: int | None) -> None:
        """Until there is no work; where another runner holds the root, at once."""
        while True:
            lock = await _take_lock(self._path / LOCK_FILE, self._limits.lock)
            if lock is None:
                return
            try:
                await self._serve_once(ready_fd)
            except* Fenced:
                self._is_leaving = True  # somebody else serves this root
            finally:
                os.close(lock)
            if self._is_leaving or not self._has_more():
                return
            ready_fd = None

    async def _serve_once(self, ready_fd: int | None) -> None:
        self._id = f"rn_{secrets.token_hex(6)}"
        address = socket_path(str(self._path))
        keeper = Doorkeeper(self._hear_of, self._take_leave)
        async with _listening(address) as listener, anyio.create_task_group() as self._tasks:
            server = ForkServer(self._path, self._tasks, self._hear_exit)
            self._dispatcher = Dispatcher(
                self._tasks,
                self._path,
                LocalBackend(server),
                self._clock,
                socket=address,
                command=self._command,
                changed=keeper.tell_followers,
                limits=self._limits,
            )
            keeper.dispatcher = self._dispatcher
            if ready_fd is not None:
                os.write(ready_fd, b"\n")
                os.close(ready_fd)
            self._tasks.start_soon(self._heed_signals)
            self._tasks.start_soon(listener.serve, keeper.receive)
            await self._adopt()
            await self._dispatcher.serve()
            self._tasks.cancel_scope.cancel()
        for desk in self._dispatcher.desks.values():
            with anyio.CancelScope(shield=True):
                await desk.journal.aclose()

    def _has_more(self) -> bool:
        """Whether somebody has committed something since the last look."""
        hopeful = (found for found in self._root.all() if found.orchestration_id not in self._left_alone)
        return not all(_is_quiet(found.directory, self._clock) for found in hopeful)

    async def _adopt(self) -> None:
        """Opens every orchestration that has work left from before."""
        for found in self._root.all():
            if not _is_quiet(found.directory, self._clock):
                await self._open(found)

    async def _hear_of(self, orchestration_id: str) -> None:
        """A face has committed something there."""
        if orchestration_id not in self._dispatcher.desks:
            try:
                found = self._root.get(orchestration_id)
            except DevshError as error:
                self._dispatcher.log(f"somebody rang for {orchestration_id}: {error}")
                return
            await self._open(found)
        self._dispatcher.wake(orchestration_id)

    async def _open(self, found: Found) -> None:
        async with self._opening:
            if found.orchestration_id in self._dispatcher.desks:
                return
            journal = FileJournal(found.directory, self._clock)
            views = Views(found.directory, self._clock, choose)
            desk = Desk(found.orchestration_id, found.directory, journal, views, self._id)
            try:
                state = await desk.take_over(os.getpid())
            except DevshError as error:  # one that cannot be worked on holds up no other one
                self._dispatcher.log(f"{found.orchestration_id} is left alone: {error}")
                self._left_alone.add(found.orchestration_id)
                await journal.aclose()
                return
            self._left_alone.discard(found.orchestration_id)
            self._dispatcher.desks[found.orchestration_id] = desk
            await self._dispatcher.adopt(desk, state)
            self._tasks.start_soon(keep_views, desk, self._dispatcher, self._clock)
            self._tasks.start_soon(collect_garbage, desk, self._dispatcher, self._clock)
            self._dispatcher.wake(found.orchestration_id)

    def _hear_exit(self, directory: str) -> None:
        self._dispatcher.hear_exit(directory)

    def _take_leave(self) -> None:
        """At once, whatever there is to do: shims go on, the next runner adopts them."""
        self._is_leaving = True
        self._tasks.cancel_scope.cancel()

    async def _heed_signals(self) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                self._take_leave()


def _is_quiet(directory: Path, clock: Clock) -> bool:
    """Whether the views tell the whole journal, and nothing in it can happen by itself."""
    known = exact_bookkeeping(directory)
    return known is not None and (known.idle or not has_work(fold_file(directory / JOURNAL_FILE), clock.now()))


@asynccontextmanager
async def _listening(address: str) -> AsyncIterator[SocketListener]:
    """The control socket; its name goes before the listener does, so that nobody connects to what is leaving."""
    Path(address).unlink(missing_ok=True)
    async with await anyio.create_unix_listener(address, mode=0o600, backlog=512) as listener:
        identity = os.stat(address).st_ino
        try:
            yield listener
        finally:
            if os.path.exists(address) and os.stat(address).st_ino == identity:
                os.unlink(address)


async def _take_lock(path: Path, seconds: float) -> int | None:
    """The root's runner lock, None where somebody else keeps it. A runner that is leaving is given some seconds."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with anyio.move_on_after(seconds):
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                await anyio.sleep(0.05)
                continue
            if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
                return descriptor
            os.close(descriptor)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.close(descriptor)
    return None
