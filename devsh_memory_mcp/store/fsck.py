"""The proof that journals, views, run directories and refs agree, and the repair of what does not.

A check changes nothing. A repair loses nothing: what it replaces is kept beside it, and it works only where no runner does.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from devsh_memory_mcp.domain.names import Choose
from devsh_memory_mcp.domain.state import State
from devsh_memory_mcp.errors import Conflict, DevshError, InvalidRequest
from devsh_memory_mcp.ports import Clock, Decide, Decision
from devsh_memory_mcp.store.bookkeeping import VIEW_FILES, Document, exact_bookkeeping
from devsh_memory_mcp.store.files import explained, nanoseconds, unused_name
from devsh_memory_mcp.store.inspection import (
    DAMAGED_FILE,
    STALE_BASE,
    Finding,
    HasRef,
    damaged_files,
    has_ref,
    ref_findings,
    run_findings,
    stale_bases,
    stale_files,
)
from devsh_memory_mcp.store.lock import HeldLock, is_held, try_lock
from devsh_memory_mcp.store.mending import mend
from devsh_memory_mcp.store.reader import JOURNAL_FILE, Reader
from devsh_memory_mcp.store.root import LINK, ORCHESTRATIONS, RUNNER_LOCK_FILE, MemoryRoot
from devsh_memory_mcp.store.views import Edit, Views, documents, parsed, settled
from devsh_memory_mcp.store.writer import LOCK_FILE, Transaction, Writer

__all__ = ["Finding", "Fsck", "check"]

RUNNERS_OWN = frozenset({"views_behind", "attempt_not_running", STALE_BASE})  # what is so for moments while a runner works


def check(root: MemoryRoot, clock: Clock, choose: Choose, *, repair: bool, exists: HasRef = has_ref) -> list[Finding]:
    """All that is wrong below a memory root. Conflict where a repair is asked for while a runner works."""
    fsck = Fsck(clock, choose, exists)
    if not repair:
        found = [finding for place in _places(root.path) for finding in fsck.check(place)]
        at_work = is_held(root.path / RUNNER_LOCK_FILE)
        return [finding for finding in found if not (at_work and finding.code in RUNNERS_OWN)]
    lock = try_lock(root.path / RUNNER_LOCK_FILE)
    if lock is None:
        raise Conflict("A runner is at work in this memory root.", next_step="Repair when its tasks have ended, or end it first.")
    try:
        return [finding for place in _places(root.path) for finding in fsck.repair(place)]
    finally:
        os.close(lock)


def _places(root: Path) -> list[Path]:
    places = sorted(place for place in (root / ORCHESTRATIONS).iterdir() if place.is_dir())
    link = root / LINK
    return [*places, link] if link.is_dir() and not link.is_symlink() else places


class Fsck:
    """Checks and repairs one orchestration's directory at a time."""

    def __init__(self, clock: Clock, choose: Choose, exists: HasRef = has_ref) -> None:
        self._clock = clock
        self._choose = choose
        self._exists = exists

    def check(self, directory: Path) -> list[Finding]:
        """What is wrong, without changing anything."""
        reader = Reader(directory / JOURNAL_FILE)
        try:
            reader.catch_up()
            return [*self._findings(directory, reader)]
        except DevshError as error:
            return [Finding(error.code, directory / JOURNAL_FILE, error.message)]
        finally:
            reader.close()

    def repair(self, directory: Path) -> list[Finding]:
        """Mends what can be mended, and says of each finding whether it was. No runner may be at work."""
        before = self.check(directory)
        codes = {finding.code for finding in before}
        told: list[Finding] = []
        try:
            if "journal_damaged" in codes or ("not_found" in codes and any((directory / name).exists() for name in VIEW_FILES)):
                told = self._mend(directory)
            if codes & {"torn_end", "foreign_lines"}:
                self._settle(directory)
            for path in stale_files(directory):
                path.unlink()
            if codes & {DAMAGED_FILE, STALE_BASE}:
                self._put_aside(directory)
            if codes & {"views_behind", "view_differs", "torn_end", "foreign_lines"} or told:
                self._rewrite(directory)
        except (DevshError, OSError) as error:
            refusal = error if isinstance(error, DevshError) else explained(error, directory)
            told.append(Finding("not_repaired", directory, refusal.message))
        left = {(finding.code, finding.path) for finding in self.check(directory)}
        gone = [Finding(found.code, found.path, found.message, (found.code, found.path) not in left) for found in before]
        return [*gone, *told]

    def _findings(self, directory: Path, reader: Reader) -> Iterator[Finding]:
        if reader.damage or not reader.state.orchestration_id:
            yield Finding("journal_damaged", reader.path, reader.damage or "It does not begin with the creation of an orchestration.")
        if reader.foreign.count:
            message = f"{reader.foreign.count} lines that are not ours stand after event {reader.foreign.after}; they mean nothing."
            yield Finding("foreign_lines", reader.path, message)
        if reader.is_torn:
            message = f"{reader.size - reader.offset} bytes of a commit that was cut off stand at the end; nobody was told it was done."
            yield Finding("torn_end", reader.path, message)
        for path in stale_files(directory):
            yield Finding("stale_temporary_file", path, "Its writer is gone.")
        if not reader.damage:
            yield from _view_findings(directory, reader.state)
        yield from run_findings(directory, reader.state)
        yield from ref_findings(directory, reader.state, self._exists)

    def _mend(self, directory: Path) -> list[Finding]:
        lock = HeldLock(directory / LOCK_FILE)
        try:
            with lock:
                path = directory / JOURNAL_FILE
                views = {name: document for name in VIEW_FILES if (document := parsed(directory / name)) is not None}
                mended = mend(path, views, directory.name if directory.name != LINK else _name_in(views), self._clock.now(), self._choose)
        finally:
            lock.close()
        return [Finding("journal_mended", path, note, True) for note in mended.notes]

    def _rewrite(self, directory: Path) -> None:
        reader = Reader(directory / JOURNAL_FILE)
        reader.catch_up()
        views = Views(directory, self._clock, self._choose)
        try:
            while (edit := views.write(reader.state, reader.offset, {})) is not None:
                self._take_in(directory, edit)
                reader.catch_up()
        finally:
            reader.close()

    def _take_in(self, directory: Path, edit: Edit) -> None:
        try:
            self._commit(directory, lambda state, _now: Decision(edit.events(state), None))
        except (InvalidRequest, Conflict) as error:
            why = error.message
            self._commit(directory, lambda state, _now: Decision(edit.refusal(state, why), None))

    def _put_aside(self, directory: Path) -> None:
        """What stands in the next runner's way, and what pins the bases of tasks that are over."""
        state = self._state(directory)
        for found in damaged_files(directory, state):
            if found.is_replaceable:
                os.rename(found.path, unused_name(found.path, "damaged", nanoseconds(self._clock.now())))
        for repository, task in stale_bases(state, self._exists):
            repository.forget_base(task.task_run_id)

    def _state(self, directory: Path) -> State:
        reader = Reader(directory / JOURNAL_FILE)
        try:
            reader.catch_up()
            return reader.state
        finally:
            reader.close()

    def _settle(self, directory: Path) -> None:
        writer = Writer(directory, self._clock)
        try:
            writer.settle()
        finally:
            writer.close()

    def _commit(self, directory: Path, decide: Decide[None]) -> None:
        writer = Writer(directory, self._clock)
        transaction = Transaction(decide)
        writer.commit(lambda: [transaction])
        writer.close()
        if transaction.error is not None:
            raise transaction.error


def _view_findings(directory: Path, state: State) -> Iterator[Finding]:
    books = exact_bookkeeping(directory)
    if books is None:
        yield Finding("views_behind", directory, "The views do not tell the journal to its end, or somebody has changed them.")
        return
    for name, expected in documents(state, {}).items():
        document = parsed(directory / name)
        if document is None or settled(document) != settled(expected):
            yield Finding("view_differs", directory / name, "It is not what the journal says.")


def _name_in(views: dict[str, Document]) -> str:
    return next((str(view["orchestrationId"]) for view in views.values() if "orchestrationId" in view), LINK)
