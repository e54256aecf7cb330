"""The journal of one orchestration, for the callers of one event loop.

Writing has its own thread and its own state, reading has another: whoever reads never waits for the writer's lock, and never sees
what is not on disk yet.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import anyio
from anyio import to_thread

from devsh_memory_mcp.agents.figures import counted
from devsh_memory_mcp.domain.events import Event, OrchestrationCreated
from devsh_memory_mcp.domain.state import State
from devsh_memory_mcp.errors import Conflict, JournalDamaged
from devsh_memory_mcp.ports import Clock, Committed, Decide, Value
from devsh_memory_mcp.store.committer import Committer, Queued
from devsh_memory_mcp.store.cut import lost_end
from devsh_memory_mcp.store.files import Sync, create_file, explained, make_directory, sync_data
from devsh_memory_mcp.store.line import Entry, encode
from devsh_memory_mcp.store.lock import PATIENCE
from devsh_memory_mcp.store.reader import JOURNAL_FILE, Progress, Reader, entries_after, fold_file
from devsh_memory_mcp.store.writer import Transaction, Writer

__all__ = ["JOURNAL_FILE", "Entry", "FileJournal", "create", "fold_file"]

_LARGE = 256 * 1024  # bytes; more than that is folded in a thread


class FileJournal:
    """`EVENTS.jsonl` of one directory. To be closed with `aclose`.

    `patience` is how many seconds a commit waits for the lock, `sync` what makes a descriptor's data durable.
    """

    def __init__(self, directory: Path, clock: Clock, *, patience: float = PATIENCE, sync: Sync = sync_data) -> None:
        self.directory = directory
        self.path = directory / JOURNAL_FILE
        self._reader = Reader(self.path)
        self._reading = anyio.Lock()
        self._beginning = anyio.Lock()
        self._limiter = anyio.CapacityLimiter(1)
        self._writer = Writer(directory, clock, patience=patience, sync=sync)
        self._committer = Committer(self._writer, self._on_progress)
        self._has_written = False

    @property
    def seq(self) -> int:
        """The last event that was read."""
        return self._reader.state.seq

    @property
    def offset(self) -> int:
        """The byte behind the last whole commit that was read."""
        return self._reader.offset

    @property
    def damage(self) -> str:
        """What is wrong with the journal behind `seq`; empty where nothing is."""
        return self._reader.damage or lost_end(self.directory)

    async def transact(self, decide: Decide[Value]) -> Committed[Value]:
        """Commits what `decide` answers on the newest state; see `ports.Journal`."""
        if not self._has_written:
            await self._begin()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Committed[Value]] = loop.create_future()
        self._committer.put(Queued(Transaction(decide), loop, future))
        return await future

    async def read(self) -> State:
        """The state up to the last complete commit on disk; where the journal is damaged, up to there."""
        await self._catch_up()
        return self._reader.state

    async def read_whole(self) -> State:
        """The same for who answers with it: JournalDamaged where it is only what stands before some damage."""
        state = await self.read()
        if self.damage:
            raise JournalDamaged(
                f"The journal {self.path} is damaged: only its first {counted(state.seq, 'event')} can be read ({self.damage})."
            )
        return state

    async def read_after(self, seq: int) -> Sequence[Entry]:
        """Every event behind `seq`, in order, up to the last complete commit on disk."""
        await self._catch_up()
        entries = self._reader.after(seq)
        if entries is None:
            entries = await to_thread.run_sync(entries_after, self.path, seq, limiter=self._limiter)
        return entries

    async def aclose(self) -> None:
        """Commits what is queued and gives threads and descriptors back."""
        await to_thread.run_sync(self._committer.close, limiter=anyio.CapacityLimiter(1))
        self._reader.close()

    async def _begin(self) -> None:
        async with self._beginning:
            if self._has_written:
                return
            await self._catch_up()
            self._has_written = True
            try:
                self._writer.reader.begin_with(self._reader)  # one fold is enough for both
            except OSError as error:
                raise explained(error, self.path) from error
            self._committer.start_from(self._reader.state.seq)

    async def _catch_up(self) -> None:
        if not self._reading.locked() and self._reader.behind() <= _LARGE:
            self._reader.catch_up()
            return
        async with self._reading:
            await to_thread.run_sync(self._reader.catch_up, limiter=self._limiter)

    def _on_progress(self, progress: Progress) -> None:
        if not self._reading.locked():
            self._reader.feed(progress)


def create(directory: Path, created: OrchestrationCreated, now: datetime, *more: Event) -> None:
    """Makes an orchestration's directory and the first commit of its journal, durable. Conflict where it has one.

    Callers hold the root's lock.
    """
    try:
        make_directory(directory)
        create_file(directory / JOURNAL_FILE, encode((created, *more), 1, now))
    except FileExistsError as error:
        raise Conflict(f"{directory} has a journal already.") from error
    except OSError as error:
        raise explained(error, directory) from error
