"""The one way into a journal: under its lock, on the newest state, as one write and one sync.

Synchronous, and owned by one thread. What is decided is applied before it is written, so that the next decision sees it; where the
write fails, that state is thrown away and read anew.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from devsh_memory_mcp.domain.events import FORMAT, Event, ForeignLines, JournalRepaired
from devsh_memory_mcp.errors import DevshError, FormatTooNew, InvalidRequest, JournalDamaged
from devsh_memory_mcp.ports import Clock, Committed, Decide
from devsh_memory_mcp.store.cut import demand_end
from devsh_memory_mcp.store.files import Identity, Sync, append, explained, keep_aside, nanoseconds, read_range, sync_data
from devsh_memory_mcp.store.line import Entry, Foreign, encode
from devsh_memory_mcp.store.lock import PATIENCE, HeldLock
from devsh_memory_mcp.store.reader import JOURNAL_FILE, Reader

LOCK_FILE = "journal.lock"
MAX_COMMIT_BYTES = 8 * 1024 * 1024


@dataclass(slots=True)
class Transaction:
    """One caller's decision on its way to the disk; afterwards either `committed` or `error` is set."""

    decide: Decide[Any]
    committed: Committed[Any] | None = None
    error: Exception | None = None


@dataclass(slots=True)
class _Pending:
    """What is applied but not yet written."""

    content: list[bytes] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    answers: list[tuple[Transaction, Committed[Any]]] = field(default_factory=list)
    size: int = 0


class Writer:
    """Commits to the journal of one directory."""

    def __init__(self, directory: Path, clock: Clock, *, patience: float = PATIENCE, sync: Sync = sync_data) -> None:
        self.reader = Reader(directory / JOURNAL_FILE, os.O_RDWR | os.O_APPEND)
        self._lock = HeldLock(directory / LOCK_FILE, patience=patience)
        self._clock = clock
        self._sync = sync
        self._pending = _Pending()
        self._repairs: list[JournalRepaired] = []
        self._is_synced = False
        self._whole: Identity | None = None  # the file of which it is known that it did not lose its end

    def commit(self, take: Callable[[], Iterable[Transaction]]) -> None:
        """Commits what `take`, called under the lock, gives; every transaction has its answer or its error afterwards."""
        batch: list[Transaction] = []
        try:
            with self._lock:
                batch.extend(take())
                self._commit(batch)
        except (DevshError, OSError) as error:
            refusal = error if isinstance(error, DevshError) else explained(error, self.reader.path)
            for transaction in batch or take():
                if transaction.committed is None and transaction.error is None:
                    transaction.error = refusal
        except Exception:
            self.reader.reset()  # what was applied and never written must not be built on
            raise

    def settle(self) -> None:
        """Moves a torn end aside and tells of it and of foreign lines, in a commit of its own. Raises as a commit does."""
        with self._lock:
            now = self._prepare()
            for event in self._notices():
                self._apply((event,), encode((event,), self.reader.state.seq + 1, now), now)
            self._flush()

    def close(self) -> None:
        """Gives the descriptors back."""
        self.reader.reset()
        self._lock.close()

    def _commit(self, batch: list[Transaction]) -> None:
        now = self._prepare()
        for transaction in batch:
            self._decide(transaction, now)
        self._flush()

    def _prepare(self) -> datetime:
        """Brings the reader to the end of a journal that can be written; the time of what follows."""
        now = self._now()
        before = self.reader.state.seq
        if self.reader.catch_up():
            self._is_synced = False
        self._check(before)
        if self.reader.is_torn:
            self._move_torn_aside(now)
        self._pending = _Pending()
        return now

    def _now(self) -> datetime:
        # What is applied must be what is read back: the lines have milliseconds.
        now = self._clock.now()
        return now.replace(microsecond=now.microsecond // 1000 * 1000)

    def _check(self, before: int) -> None:
        reader = self.reader
        if reader.state.seq < before:
            self._whole = None  # it was cut under us
        if reader.damage:
            raise JournalDamaged(f"{reader.path} is damaged: {reader.damage}.")
        if not reader.state.orchestration_id:
            raise JournalDamaged(f"{reader.path} does not begin with the creation of an orchestration.")
        if reader.state.format > FORMAT:
            raise FormatTooNew(f"{reader.path} has format {reader.state.format}; this release writes {FORMAT}.")
        if reader.identity != self._whole:
            demand_end(reader.path.parent, reader.state.seq)
            self._whole = reader.identity

    def _move_torn_aside(self, now: datetime) -> None:
        reader = self.reader
        torn = read_range(reader.descriptor, reader.offset, reader.size)
        kept = keep_aside(reader.path, torn, "torn", nanoseconds(now))
        os.ftruncate(reader.descriptor, reader.offset)
        self._sync(reader.descriptor)
        reader.size = reader.offset
        self._repairs.append(JournalRepaired(kept=kept.name, bytes=len(torn)))

    def _decide(self, transaction: Transaction, now: datetime) -> None:
        notices = [(event,) for event in self._notices()] if not self._pending.content else []
        state = self.reader.state
        try:
            decision = transaction.decide(state, now)
            first = state.seq + 1 + (len(notices) if decision.events else 0)
            content = encode(decision.events, first, now)
            if len(content) > MAX_COMMIT_BYTES:
                raise InvalidRequest(f"That is {len(content)} bytes in one commit; the most is {MAX_COMMIT_BYTES}.")
        except Exception as error:  # noqa: BLE001  what a decision raises, whatever it is, belongs to its caller alone
            transaction.error = error
            return
        if self._pending.size + len(content) > MAX_COMMIT_BYTES:
            self._flush()
        if content:
            for notice in notices:
                self._apply(notice, encode(notice, state.seq + 1, now), now)
        try:
            self._apply(decision.events, content, now)
        except Exception as error:  # noqa: BLE001  events that contradict the state are their caller's mistake too
            transaction.error = error
            self._rebuild()
            return
        self._pending.answers.append((transaction, Committed(decision.value, tuple(range(first, first + len(decision.events))))))

    def _notices(self) -> list[Event]:
        foreign = self.reader.foreign
        told: list[Event] = [*self._repairs]
        return [*told, ForeignLines(count=foreign.count, after=foreign.after)] if foreign.count else told

    def _apply(self, events: Iterable[Event], content: bytes, now: datetime) -> None:
        state, entries = self.reader.state, []
        for event in events:
            entry = Entry(state.seq + 1, now, event)
            state.apply(entry.seq, now, event)
            entries.append(entry)
        self._pending.entries += entries
        self._pending.content.append(content)
        self._pending.size += len(content)

    def _rebuild(self) -> None:
        """The state as it is on disk, and on it what was decided before in this batch."""
        self.reader.reset()
        self.reader.catch_up()
        for entry in self._pending.entries:
            self.reader.state.apply(entry.seq, entry.timestamp, entry.event)

    def _flush(self) -> None:
        pending, reader = self._pending, self.reader
        self._pending = _Pending()
        content = b"".join(pending.content)
        try:
            if content:
                if not self._is_synced:  # what a killed writer left is on the disk before anything is put behind it
                    self._sync(reader.descriptor)
                append(reader.descriptor, content, reader.offset, reader.path, self._sync)
            elif pending.answers and not self._is_synced:
                self._sync(reader.descriptor)  # an answer that only repeats what another process wrote is a promise as well
        except (DevshError, OSError):
            reader.reset()
            raise
        self._is_synced = True
        reader.advance(pending.entries, len(content))
        if content:
            reader.foreign = Foreign()
            self._repairs.clear()
        for transaction, committed in pending.answers:
            transaction.committed = committed
