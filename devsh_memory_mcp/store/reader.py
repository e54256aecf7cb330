"""A journal's file, read: every whole commit folded once, in order, without a lock.

Nothing beyond the last complete commit is kept; those bytes are read again. A reader that finds another file, or a shorter one,
begins anew.
"""

import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from devsh_memory_mcp.domain.state import State
from devsh_memory_mcp.errors import DevshError
from devsh_memory_mcp.store.bookkeeping import JOURNAL_FILE
from devsh_memory_mcp.store.files import Identity, explained, identity_of, read_range
from devsh_memory_mcp.store.line import Entry, Foreign, Scan, scan

KEPT = 4096  # entries, for followers that are a little behind
__all__ = ["JOURNAL_FILE", "KEPT", "Progress", "Reader", "entries_after", "fold_file", "look_into", "state_at"]


@dataclass(frozen=True, slots=True)
class Progress:
    """What one reader has read behind `after`, for another one of the same file."""

    identity: Identity
    after: int
    entries: Sequence[Entry]
    offset: int
    foreign: Foreign


class Reader:
    """One journal as far as it has been read. Belongs to one thread at a time."""

    def __init__(self, path: Path, flags: int = os.O_RDONLY, *, keep: int | None = KEPT) -> None:
        self.path = path
        self._keep = keep
        self._flags = flags | os.O_CLOEXEC
        self.descriptor = -1
        self.identity: Identity = (0, 0)
        self.size = 0
        self._seen = 0  # mtime of the bytes beyond `offset` that were looked at
        self.reset()

    def reset(self) -> None:
        """Forgets everything, so that the next reading begins at the start."""
        self.state = State()
        self.offset = 0
        self.foreign = Foreign()
        self.damage = ""
        self.recent: deque[Entry] = deque(maxlen=self._keep)
        self.close()

    def close(self) -> None:
        """Gives the descriptor back."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor, self.identity, self.size = -1, (0, 0), 0

    @property
    def is_torn(self) -> bool:
        """Whether bytes stand behind the last complete commit that are no whole line or no whole commit."""
        return self.size > self.offset and not self.damage

    @property
    def is_open(self) -> bool:
        """Whether it has read anything."""
        return self.descriptor >= 0

    def behind(self) -> int:
        """How many bytes there are to read."""
        try:
            return max(0, os.stat(self.path).st_size - self.offset)
        except OSError as error:
            raise explained(error, self.path) from error

    def catch_up(self) -> bool:
        """Folds what has been added; True where that was anything. Raises NotFound, MemoryRootUnusable."""
        try:
            status = self._current()
            if status.st_size == self.offset or (status.st_size == self.size and status.st_mtime_ns == self._seen):
                self.size = status.st_size
                return False
            content = read_range(self.descriptor, self.offset, status.st_size)
            before = self.state.seq
            found = scan(content, before, self.foreign)
            if found.damage and self.offset:  # perhaps the bytes before were changed: the file as it is now counts
                return self._again()
        except OSError as error:
            raise explained(error, self.path) from error
        self.size, self._seen = self.offset + len(content), status.st_mtime_ns
        self._fold(found)
        return self.state.seq != before

    def _again(self) -> bool:
        self.reset()
        return self.catch_up()

    def _current(self) -> os.stat_result:
        """The file's status, after going over to the file that has the name now, if that is another or was cut."""
        status = os.stat(self.path)
        if self.descriptor >= 0 and (identity_of(status) != self.identity or status.st_size < self.offset):
            self.reset()
        if self.descriptor < 0:
            self.descriptor = os.open(self.path, self._flags)
            status = os.fstat(self.descriptor)
            self.identity = identity_of(status)
        return status

    def _fold(self, found: Scan) -> None:
        self.damage = found.damage
        try:
            for entry in found.entries:
                self.state.apply(entry.seq, entry.timestamp, entry.event)
                self.recent.append(entry)
        except (DevshError, KeyError, ValueError, TypeError) as error:
            self.damage = f"the event {entry.seq} cannot follow the ones before it: {error}"
            return
        self.offset += found.end
        self.foreign = found.foreign

    def begin_with(self, other: "Reader") -> None:
        """Begins where another reader of the same file is, instead of at the start."""
        self.reset()
        self.descriptor = os.open(self.path, self._flags)
        self.identity = identity_of(os.fstat(self.descriptor))
        if self.identity != other.identity or other.damage:
            self.reset()
            return
        self.state, self.offset, self.foreign = other.state.copy(), other.offset, other.foreign

    def advance(self, entries: Sequence[Entry], size: int) -> None:
        """Counts as read what its own writer has applied and put behind `offset`."""
        self.recent.extend(entries)
        self.offset = self.size = self.offset + size

    def after(self, seq: int) -> Sequence[Entry] | None:
        """The entries behind `seq`, None where they are no longer at hand."""
        if seq >= self.state.seq:
            return ()
        if not self.recent or self.recent[0].seq > seq + 1:
            return None
        return tuple(islice(self.recent, seq + 1 - self.recent[0].seq, None))

    def progress(self, after: int) -> Progress | None:
        """What was read behind `after`, None where that is no longer at hand."""
        entries = self.after(after)
        return None if entries is None else Progress(self.identity, after, entries, self.offset, self.foreign)

    def feed(self, progress: Progress) -> None:
        """Takes what another reader of the same file has read already, where it continues this one's."""
        seq = self.state.seq
        if progress.identity != self.identity or not progress.after <= seq or self.damage:
            return
        fresh = [entry for entry in progress.entries if entry.seq > seq]
        if fresh:
            self._fold(Scan(fresh, end=progress.offset - self.offset, foreign=progress.foreign))
            self.size = self.offset


def fold_file(path: Path) -> State:
    """The state at the end of a journal, read without an event loop and without a lock. Raises NotFound, MemoryRootUnusable."""
    return look_into(path)[0]


def look_into(path: Path) -> tuple[State, str]:
    """The same, with what is wrong behind it; empty where nothing is."""
    reader = Reader(path)
    try:
        reader.catch_up()
    finally:
        reader.close()
    return reader.state, reader.damage


def entries_after(path: Path, seq: int) -> list[Entry]:
    """Every event behind `seq`, from the file."""
    reader = Reader(path, keep=None)
    try:
        reader.catch_up()
        return list(reader.after(seq) or ())
    finally:
        reader.close()


def state_at(path: Path, seq: int) -> State | None:
    """The state right behind the event `seq`, None where the journal has no such event."""
    state = State()
    for entry in entries_after(path, 0):
        if entry.seq <= seq:
            state.apply(entry.seq, entry.timestamp, entry.event)
    return state if state.seq == seq else None
