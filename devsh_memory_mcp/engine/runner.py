"""The runner's process: one per memory root, found by its socket, left as soon as there is nothing to do.

The order of its leaving makes a commit impossible to miss: it stops listening, releases the lock and only then reads every journal
once more. A face commits first and rings second, so it finds either this last look or nobody, and then starts the next runner.
"""

import fcntl
import os
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import anyio
from anyio import to_thread
from anyio.abc import SocketListener, TaskGroup

from devsh_memory_mcp.domain.schedule import has_work
from devsh_memory_mcp.engine.api_server import listening_at
from devsh_memory_mcp.engine.api_server import serve as serve_api
from devsh_memory_mcp.engine.attempts import Attempts
from devsh_memory_mcp.engine.briefing import HeadSetting, Setting
from devsh_memory_mcp.engine.desk import Desk, Fenced
from devsh_memory_mcp.engine.desks import Desks
from devsh_memory_mcp.engine.dispatch import Dispatcher
from devsh_memory_mcp.engine.doorkeeper import Doorkeeper
from devsh_memory_mcp.engine.heads import Heads, Mint
from devsh_memory_mcp.engine.limits import USUAL, Limits
from devsh_memory_mcp.engine.preparation import choose
from devsh_memory_mcp.engine.refusals import Refusals
from devsh_memory_mcp.engine.repeats import Repeats
from devsh_memory_mcp.engine.upkeep import collect_garbage, keep_views
from devsh_memory_mcp.engine.vault import Vault
from devsh_memory_mcp.errors import DevshError
from devsh_memory_mcp.ports import Backend, Clock
from devsh_memory_mcp.shim.doorbell import RUNNER_LOCK_FILE, api_path, socket_path
from devsh_memory_mcp.store.bookkeeping import exact_bookkeeping
from devsh_memory_mcp.store.journal import JOURNAL_FILE, FileJournal, fold_file
from devsh_memory_mcp.store.root import Found, MemoryRoot
from devsh_memory_mcp.store.views import Views

_LOG = 2  # its stderr
_LONGEST_PAUSE = 60.0  # seconds


class Commands(NamedTuple):
    """How another runner of this root is started, our MCP server for an agent, and the API for heads, who are told `heads`."""

    runner: tuple[str, ...]
    server: tuple[str, ...]
    api: tuple[str, ...] = ()
    heads: HeadSetting = HeadSetting()


MakeBackend = Callable[[TaskGroup, Callable[[str], None]], Backend]  # the second is told of the directory of each shim that has ended


class Runner:
    """Serves one memory root until nothing is left to do."""

    def __init__(
        self,
        root: MemoryRoot,
        clock: Clock,
        commands: Commands,
        make_backend: MakeBackend,
        limits: Limits = USUAL,
        *,
        mint: Mint | None = None,
    ) -> None:
        self._root = root
        self._mint = mint
        self._clock = clock
        self._commands = commands
        self._vault = Vault(clock)
        self._refusals = Refusals(self._vault)
        self._make_backend = make_backend
        self._limits = limits
        self._id = ""
        self._is_leaving = False
        self._abandoned: set[str] = set()
        self._repeats = Repeats()
        self._tasks: TaskGroup
        self._desks: Desks
        self._heads: Heads
        self._attempts: Attempts
        self._dispatcher: Dispatcher

    async def run(self, ready_fd: int | None) -> None:
        """Until there is no work; where another runner holds the root, at once."""
        while True:
            lock = await _take_lock(self._root.path / RUNNER_LOCK_FILE, self._limits.lock)
            if lock is None:
                return
            try:
                await self._serve_once(ready_fd)
            except* Fenced:
                self._is_leaving = True  # somebody else serves this root
            finally:
                os.close(lock)
            if self._is_leaving or await self._is_idle():
                return
            ready_fd = None

    async def _serve_once(self, ready_fd: int | None) -> None:
        self._id = f"rn_{secrets.token_hex(6)}"
        address = socket_path(str(self._root.path))
        api = api_path(str(self._root.path))
        async with (
            listening_at(api) as api_listener,
            _listening(address) as (listener, inode),
            anyio.create_task_group() as self._tasks,
        ):
            keeper = self._furnish(address, api)
            if self._commands.api:
                self._tasks.start_soon(serve_api, self._heads, api_listener, self._commands.api, self._log)
            if ready_fd is not None:
                with suppress(BrokenPipeError):  # who started it was killed; others find it
                    os.write(ready_fd, b"\n")
                os.close(ready_fd)
            self._tasks.start_soon(self._heed_signals)
            self._tasks.start_soon(listener.serve, keeper.receive)
            self._tasks.start_soon(self._tidy)
            self._tasks.start_soon(self._adopt, keeper.adopted)
            await self._dispatcher.serve(partial(_is_there, address, inode))
            self._tasks.cancel_scope.cancel()
        self._abandoned = self._desks.abandoned

    def _furnish(self, address: str, api: str) -> Doorkeeper:
        """Makes what one stay at the socket needs."""
        self._desks = Desks(self._log, again=self._limits.again)
        backend = self._make_backend(self._tasks, self._hear_exit)
        told = replace(self._commands.heads, api=api)
        setting = Setting(self._root.path, address, self._commands.runner, self._commands.server, told)
        vault, refusals = self._vault, self._refusals
        self._heads = Heads(self._root, self._desks, self._clock, self._hear_of, self._mint)
        self._attempts = Attempts(
            self._desks, backend, self._clock, setting, vault=vault, refusals=refusals, limits=self._limits, heads=self._heads
        )
        keeper = Doorkeeper(self._desks, self._attempts, self._hear_of, take_leave=self._take_leave, borrow=self._borrow)
        self._dispatcher = Dispatcher(
            self._root.path,
            self._desks,
            self._attempts,
            self._clock,
            vault=vault,
            refusals=refusals,
            limits=self._limits,
            changed=keeper.tell_followers,
            heads=self._heads,
        )
        return keeper

    async def _borrow(self, variables: Mapping[str, str]) -> None:
        """A face lends credentials: what was held for want of one may start, wherever it waits."""
        if not self._vault.lend(variables):
            return
        try:
            for found in await to_thread.run_sync(self._root.all):
                if found.orchestration_id in self._desks.open or await to_thread.run_sync(_has_held, found.directory):
                    await self._hear_of(found.orchestration_id)
        except (DevshError, OSError) as error:  # whoever waits for a credential says so, and lends it again
            self._log(f"what waits for a credential cannot be found: {error}")

    def _hear_exit(self, directory: str) -> None:
        self._attempts.hear_exit(directory)

    def _log(self, text: str) -> None:
        """For what nobody waits to be told; stderr is the runner's log."""
        said = self._repeats.words(text, self._clock.monotonic())
        if said is not None:
            with suppress(OSError):  # the disk that it lies on is full, for example
                os.write(_LOG, f"{self._clock.now():%Y-%m-%dT%H:%M:%SZ} {said}\n".encode(errors="replace"))

    def _with_work(self) -> list[Found]:
        """The orchestrations in which something can still happen, but for those that were found to be broken."""
        hopeful = (found for found in self._root.all() if found.orchestration_id not in self._abandoned)
        return [found for found in hopeful if not _is_quiet(found.directory, self._clock)]

    async def _tidy(self) -> None:
        try:
            await to_thread.run_sync(self._root.tidy)
        except (DevshError, OSError) as error:  # the next runner's turn
            self._log(f"{self._root.path} was not tidied: {error}")

    async def _adopt(self, adopted: anyio.Event) -> None:
        """Opens every orchestration that has work left from before; a root that cannot be read now is read again."""
        pause = self._limits.again
        while True:
            try:
                left = await to_thread.run_sync(self._with_work)
                break
            except (DevshError, OSError) as error:
                self._log(f"{self._root.path} cannot be read yet: {error}")
                await anyio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        await self._open(*left)
        self._desks.is_complete = True
        adopted.set()
        self._dispatcher.wake("")  # so that it looks whether anything is left to do

    async def _is_idle(self) -> bool:
        """Whether nothing is left to do, as far as that can be said."""
        try:
            return not await to_thread.run_sync(self._with_work)
        except (DevshError, OSError) as error:
            self._log(f"{self._root.path} cannot be read: {error}")
            return False

    async def _hear_of(self, orchestration_id: str) -> None:
        """A face has committed something there."""
        if orchestration_id not in self._desks.open:
            try:
                found = await to_thread.run_sync(self._root.get, orchestration_id)
            except (DevshError, OSError) as error:
                self._log(f"somebody rang for {orchestration_id}: {error}")
                return
            await self._open(found)
        self._dispatcher.wake(orchestration_id)

    async def _open(self, *places: Found) -> None:
        """Takes orchestrations over, with the attempts that live there; one that cannot be worked on holds up no other one."""
        opening = []
        for found in places:
            if self._desks.take(found.orchestration_id):
                opened = anyio.Event()
                opening.append(opened)
                self._tasks.start_soon(self._desks.serve, found.orchestration_id, partial(self._desk_of, found), self._take_over, opened)
        for opened in opening:
            await opened.wait()

    def _desk_of(self, found: Found) -> Desk:
        journal = FileJournal(found.directory, self._clock)
        views = Views(found.directory, self._clock, choose)
        wake = partial(self._dispatcher.wake, found.orchestration_id)
        return Desk(found.orchestration_id, found.directory, journal, views, self._id, wake)

    async def _take_over(self, desk: Desk) -> None:
        state = await desk.take_over(os.getpid())
        desk.pinned.update(task.orchestration_task_id for task in state.unfinished.values() if task.checkouts)
        for task in state.unfinished.values():
            if task.live_attempt:
                self._attempts.begin(desk, state, task, is_inherited=True)
        desk.is_taken_over = True
        self._desks.begin(desk, keep_views, desk, self._dispatcher, self._clock)
        self._desks.begin(desk, collect_garbage, desk, self._dispatcher, self._clock)
        desk.wake()

    def _take_leave(self) -> None:
        """At once, whatever there is to do: shims go on, the next runner adopts them."""
        self._is_leaving = True
        self._tasks.cancel_scope.cancel()

    async def _heed_signals(self) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                self._take_leave()


def _has_held(directory: Path) -> bool:
    known = exact_bookkeeping(directory)
    if known is not None and known.idle:
        return False
    return any(task.waiting_for for task in fold_file(directory / JOURNAL_FILE).unfinished.values())


def _is_quiet(directory: Path, clock: Clock) -> bool:
    """Whether the views tell the whole journal, and nothing in it can happen by itself."""
    try:
        known = exact_bookkeeping(directory)
        return known is not None and (known.idle or not has_work(fold_file(directory / JOURNAL_FILE), clock.now()))
    except (DevshError, OSError):
        return False  # whoever opens it is told why


def _is_there(address: str, inode: int) -> bool:
    """Whether the socket's name still leads to this runner; whoever cleans up a runtime directory takes it away."""
    try:
        return os.stat(address).st_ino == inode
    except OSError:
        return False


@asynccontextmanager
async def _listening(address: str) -> AsyncIterator[tuple[SocketListener, int]]:
    """The control socket and its name's inode; the name goes before the listener does, so that nobody connects to what is leaving."""
    Path(address).unlink(missing_ok=True)
    async with await anyio.create_unix_listener(address, mode=0o600, backlog=512) as listener:
        inode = os.stat(address).st_ino
        try:
            yield listener, inode
        finally:
            if _is_there(address, inode):
                Path(address).unlink(missing_ok=True)


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
                with suppress(OSError):  # a full disk: it is only for people, and for what tells them who holds it
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
                return descriptor
            os.close(descriptor)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.close(descriptor)
    return None
