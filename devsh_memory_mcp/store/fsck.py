"""The proof that journals, views, run directories and refs agree.

A check changes nothing. A repair loses nothing: what it replaces is kept beside it, and it works only where no runner does.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from devsh_memory_mcp.domain.events import FORMAT
from devsh_memory_mcp.domain.names import Choose
from devsh_memory_mcp.errors import Conflict, DevshError
from devsh_memory_mcp.ports import Clock
from devsh_memory_mcp.store.bookkeeping import JOURNAL_FILE, VIEW_FILES, VIEWS_FILE, read_bookkeeping
from devsh_memory_mcp.store.files import explained
from devsh_memory_mcp.store.finding import Finding, ends_of
from devsh_memory_mcp.store.inspection import RUNS, run_findings
from devsh_memory_mcp.store.leftovers import broken_lock, broken_locks, root_findings, stale_file, stale_files
from devsh_memory_mcp.store.lock import is_held, try_lock
from devsh_memory_mcp.store.reader import Reader
from devsh_memory_mcp.store.refs import STALE_BASE, Look, look, ref_findings
from devsh_memory_mcp.store.repair import Repair, repair_root, set_aside
from devsh_memory_mcp.store.root import LINK, ORCHESTRATIONS, RUNNER_LOCK_FILE, MemoryRoot
from devsh_memory_mcp.store.views import documents, exact_bookkeeping, parsed, settled
from devsh_memory_mcp.store.writer import LOCK_FILE

__all__ = ["Finding", "Fsck", "check"]

# What is so for moments while a runner works.
RUNNERS_OWN = frozenset({"views_behind", "attempt_not_running", "process_left", STALE_BASE})


def check(root: MemoryRoot, clock: Clock, choose: Choose, *, repair: bool, look_: Look = look) -> list[Finding]:
    """All that is wrong below a memory root. Conflict where a repair is asked for while a runner works."""
    fsck = Fsck(clock, choose, look_)
    if not repair:
        found = [*root_findings(root), *(finding for place in _places(root.path) for finding in fsck.check(place))]
        at_work = is_held(root.path / RUNNER_LOCK_FILE)
        return [finding for finding in found if not (at_work and finding.code in RUNNERS_OWN)]
    before = list(root_findings(root))
    moved = set_aside(broken_locks(root.path, (RUNNER_LOCK_FILE,)), clock)
    lock = try_lock(root.path / RUNNER_LOCK_FILE)
    if lock is None:
        raise Conflict("A runner is at work in this memory root.", next_step="Repair when its tasks have ended, or end it first.")
    try:
        told = [*moved, *repair_root(root, clock)]
        found = [*_compared(before, list(root_findings(root))), *told]
        return [*found, *(finding for place in _places(root.path) for finding in fsck.repair(place))]
    finally:
        os.close(lock)


def _places(root: Path) -> list[Path]:
    places = sorted(place for place in (root / ORCHESTRATIONS).iterdir() if place.is_dir())
    link = root / LINK
    return [*places, link] if link.is_dir() and not link.is_symlink() else places


class Fsck:
    """Checks and repairs one orchestration's directory at a time."""

    def __init__(self, clock: Clock, choose: Choose, look_: Look = look) -> None:
        self._clock = clock
        self._choose = choose
        self._look = look_

    def check(self, directory: Path) -> list[Finding]:
        """What is wrong, without changing anything."""
        absent = _absent_journal(directory)
        if absent is not None:
            return [absent]
        reader = Reader(directory / JOURNAL_FILE, keep=None)
        try:
            reader.catch_up()
            return [*self._findings(directory, reader)]
        except DevshError as error:
            return [Finding(error.code, directory / JOURNAL_FILE, str(error)), *access_findings(directory)]
        except OSError as error:
            refusal = explained(error, directory)
            return [Finding(refusal.code, directory, refusal.message)]
        finally:
            reader.close()

    def repair(self, directory: Path) -> list[Finding]:
        """Mends what can be mended, and says of each finding whether it was, and what was set aside. No runner may be at work."""
        before = self.check(directory)
        told = Repair(directory, self._clock, self._choose, self._look).run({finding.code for finding in before})
        return [*_compared(before, self.check(directory)), *told]

    def _findings(self, directory: Path, reader: Reader) -> Iterator[Finding]:
        if reader.state.format > FORMAT:
            message = f"A newer release wrote it (format {reader.state.format}), so nothing here is judged or changed."
            yield Finding("format_too_new", reader.path, f"{message} Update devsh-memory-mcp.")
            return
        ends = ends_of(reader.recent)
        yield from _journal_findings(reader)
        for path in broken_locks(directory, (LOCK_FILE,)):
            yield broken_lock(path)
        for path in stale_files(directory):
            yield stale_file(path)
        if not reader.damage:
            yield from _view_findings(directory, reader)
        yield from access_findings(directory)
        yield from run_findings(directory, reader.state, ends)
        yield from ref_findings(directory, reader.state, ends, self._look)


def _compared(before: list[Finding], after: list[Finding]) -> list[Finding]:
    """What was found, each with whether it is gone; then what came to light by the repair."""
    left = {(finding.code, finding.path): finding for finding in after}
    known = {(finding.code, finding.path) for finding in before}
    gone = [Finding(each.code, each.path, each.message, (each.code, each.path) not in left, each.is_note) for each in before]
    return [*gone, *(finding for key, finding in left.items() if key not in known)]


def _absent_journal(directory: Path) -> Finding | None:
    """The finding where no journal can be opened at all."""
    path = directory / JOURNAL_FILE
    try:
        if stat.S_ISREG(os.stat(path).st_mode):
            return None
        message = "It is not a file. `devsh fsck --repair` sets it aside and begins a new journal with what the views know."
        return Finding("journal_not_a_file", path, message)
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            refusal = explained(error, path)
            return Finding(refusal.code, path, str(refusal))
    if any((directory / name).is_file() for name in VIEW_FILES):
        message = "It is missing. `devsh fsck --repair` begins a new one with what the views know; a backup knows more."
    elif (directory / RUNS).is_dir():
        message = "It is missing, and the views too: put it back from a backup. The run directories are as they were."
    else:
        message = "It is missing: the directory is no orchestration. Move it away if it is yours."
    return Finding("journal_missing", path, message)


def _journal_findings(reader: Reader) -> Iterator[Finding]:
    if reader.damage or not reader.state.orchestration_id:
        why = f"Behind event {reader.state.seq} {reader.damage}" if reader.damage else "It does not begin with its orchestration's creation"
        message = f"{why}. `devsh fsck --repair` puts it together anew and keeps it as it is beside that."
        yield Finding("journal_damaged", reader.path, message)
    if reader.foreign.count:
        message = f"{reader.foreign.count} lines that are not ours stand after event {reader.foreign.after}; they mean nothing, and stay."
        yield Finding("foreign_lines", reader.path, message)
    if reader.is_torn:
        message = f"{reader.size - reader.offset} bytes of a commit that was cut off stand at the end; nobody was told it was done."
        yield Finding("torn_end", reader.path, f"{message} `devsh fsck --repair`, or the next commit, moves them aside.")


def _view_findings(directory: Path, reader: Reader) -> Iterator[Finding]:
    if exact_bookkeeping(directory) is None:
        message = f"{_why_behind(directory)} The next runner or `devsh fsck --repair` writes the views anew"
        yield Finding("views_behind", directory, f"{message} and keeps what somebody wrote into them.")
        return
    for name, expected in documents(reader.state, {}).items():
        document = parsed(directory / name)
        if document is None or settled(document) != settled(expected):
            yield Finding("view_differs", directory / name, "It is not what the journal says. `devsh fsck --repair` writes it anew.")


def _why_behind(directory: Path) -> str:
    known = read_bookkeeping(directory)
    for name in VIEW_FILES:
        try:
            status = os.stat(directory / name)
        except OSError:
            return f"{name} is missing."
        if parsed(directory / name) is None:
            return f"{name} is not JSON."
        if known is not None and (name not in known.files or not known.files[name].is_file(status)):
            return f"{name} is not the file that was written: somebody has changed it."
    return f"{VIEWS_FILE} is missing or cannot be read." if known is None else "The views do not tell the journal to its end."


def access_findings(directory: Path) -> Iterator[Finding]:
    """Who may read and write the journal and the views: their owner, and nobody else."""
    owner = os.stat(directory).st_uid
    for name in (JOURNAL_FILE, *VIEW_FILES, VIEWS_FILE):
        try:
            status = os.lstat(directory / name)
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) != 0o600:
            who = "others than you may read or write it" if status.st_mode & 0o077 else "you cannot read and write it"
            message = f"Its mode is {stat.S_IMODE(status.st_mode):04o}: {who}. `devsh fsck --repair` makes it 0600."
            yield Finding("wrong_mode", directory / name, message)
        if status.st_uid != owner:
            message = f"It belongs to user {status.st_uid} and its directory to user {owner}: `sudo chown {owner} {directory / name}`."
            yield Finding("wrong_owner", directory / name, message)
