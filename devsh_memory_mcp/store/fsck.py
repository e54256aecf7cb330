"""The proof that journals, views, run directories and refs agree.

A check changes nothing. A repair loses nothing: what it replaces is kept beside it, and it works only where no runner does.
"""

import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from devsh_memory_mcp.domain.events import FORMAT
from devsh_memory_mcp.domain.names import Choose
from devsh_memory_mcp.errors import DevshError
from devsh_memory_mcp.ports import Clock
from devsh_memory_mcp.shim.doorbell import RUNNER_LOCK_FILE
from devsh_memory_mcp.store.bookkeeping import JOURNAL_FILE, VIEW_FILES, VIEWS_FILE, Bookkeeping, read_bookkeeping, shown_seq
from devsh_memory_mcp.store.cut import CUT, known_otherwise, last_whole
from devsh_memory_mcp.store.files import explained
from devsh_memory_mcp.store.finding import Finding, ends_of
from devsh_memory_mcp.store.inspection import RUNS, run_findings
from devsh_memory_mcp.store.leftovers import broken_lock, broken_locks, root_findings, stale_file, stale_files
from devsh_memory_mcp.store.lock import is_held
from devsh_memory_mcp.store.reader import Reader
from devsh_memory_mcp.store.refs import STALE_BASE, Look, look, ref_findings
from devsh_memory_mcp.store.repair import SET_ASIDE, Repair, repair_root, set_aside
from devsh_memory_mcp.store.root import LINK, ORCHESTRATIONS, MemoryRoot
from devsh_memory_mcp.store.vacancy import taken_place
from devsh_memory_mcp.store.views import documents, exact_bookkeeping, is_copy, is_output, parsed, settled
from devsh_memory_mcp.store.writer import LOCK_FILE

__all__ = ["Finding", "Fsck", "check", "check_directory", "compared"]

# What is so for moments while a runner works.
RUNNERS_OWN = frozenset({"views_behind", "view_copied", "attempt_not_running", "process_left", STALE_BASE})


def check(
    root: MemoryRoot, clock: Clock, choose: Choose, *, repair: bool, look_: Look = look, sent_away: Callable[[], None] = lambda: None
) -> list[Finding]:
    """All that is wrong below a memory root. Conflict where a repair is asked for while agents work.

    A runner that has none is asked to leave for a repair; `sent_away` is called behind that.
    """
    fsck = Fsck(clock, choose, look_)
    if not repair:
        return _lasting(
            lambda: [*root_findings(root), *(finding for place in _places(root.path) for finding in fsck.check(place))], root.path
        )
    before = list(root_findings(root))
    moved = set_aside(broken_locks(root.path, (RUNNER_LOCK_FILE,)), clock)
    with taken_place(root.path / RUNNER_LOCK_FILE, _places(root.path), sent_away):
        told = [*moved, *repair_root(root, clock)]
        found = [*compared(before, list(root_findings(root))), *told]
        return [*found, *(finding for place in _places(root.path) for finding in fsck.repair(place))]


def check_directory(directory: Path, clock: Clock, choose: Choose) -> list[Finding]:
    """All that is wrong with one orchestration's directory, in a memory root or wherever it was unpacked."""
    return _lasting(lambda: Fsck(clock, choose).check(directory), directory.parent, directory.parent.parent)


def _lasting(look_: Callable[[], list[Finding]], *roots: Path) -> list[Finding]:
    """What is found; without what is so for moments only, where a runner of these roots is at work before the look or after it."""
    before = _is_at_work(roots)
    found = look_()
    return [finding for finding in found if finding.code not in RUNNERS_OWN] if before or _is_at_work(roots) else found


def _is_at_work(roots: tuple[Path, ...]) -> bool:
    return any(is_held(root / RUNNER_LOCK_FILE) for root in roots)


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
        shown = shown_seq(directory)  # before the journal, which a runner may make longer now, and then the views
        try:
            reader.catch_up()
            return [*self._findings(directory, reader, shown)]
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
        return [*compared(before, self.check(directory)), *told]

    def _findings(self, directory: Path, reader: Reader, shown: int) -> Iterator[Finding]:
        if reader.state.format > FORMAT:
            what = f"A newer release wrote it (format {reader.state.format}), so nothing here is judged or changed: update devsh."
            yield Finding("format_too_new", reader.path, what)
            return
        ends = ends_of(reader.recent)
        yield from _journal_findings(reader, shown)
        for path in broken_locks(directory, (LOCK_FILE,)):
            yield broken_lock(path)
        for path in stale_files(directory):
            yield stale_file(path)
        if not reader.damage and shown <= reader.state.seq:
            yield from _view_findings(directory, reader)
        yield from access_findings(directory)
        is_sound = not reader.damage and shown <= reader.state.seq and bool(reader.state.orchestration_id)
        yield from run_findings(directory, reader.state, ends, is_sound=is_sound)
        yield from ref_findings(directory, reader.state, ends, self._look)


def compared(before: list[Finding], after: list[Finding]) -> list[Finding]:
    """What was found, each with whether it is gone; then what came to light by the repair."""
    left: dict[tuple[str, Path], set[str]] = defaultdict(set)
    known: dict[tuple[str, Path], set[str]] = defaultdict(set)
    for each in after:
        left[each.code, each.path].add(each.what)
    for each in before:
        known[each.code, each.path].add(each.what)

    def is_gone(each: Finding) -> bool:
        now = left[each.code, each.path]
        return each.what not in now and now <= known[each.code, each.path]  # in other words it is there still

    gone = [replace(each, repaired=is_gone(each)) for each in before if is_gone(each) or each.what in left[each.code, each.path]]
    return [*gone, *(each for each in after if each.what not in known[each.code, each.path])]


def _absent_journal(directory: Path) -> Finding | None:
    """The finding where no journal can be opened at all."""
    path = directory / JOURNAL_FILE
    with_views = any((directory / name).is_file() for name in VIEW_FILES)
    try:
        if stat.S_ISREG(os.stat(path).st_mode):
            return None
        if not with_views:
            what = "It is not a file, and there are no views: move it away and put the journal back from a backup."
            return Finding("journal_not_a_file", path, what)
        mending = "`devsh fsck --repair` sets it aside and begins a new journal with what the views know; a backup knows more."
        return Finding("journal_not_a_file", path, "It is not a file.", mending=mending)
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            refusal = explained(error, path)
            return Finding(refusal.code, path, str(refusal))
    if with_views:
        mending = "`devsh fsck --repair` begins a new one with what the views know; a backup knows more."
        return Finding("journal_missing", path, "It is missing.", mending=mending)
    if (directory / RUNS).is_dir():
        what = "It is missing, and the views too: put it back from a backup. The run directories are as they were."
    else:
        what = "It is missing: the directory is no orchestration. Move it away if it is yours."
    return Finding("journal_missing", path, what)


def _journal_findings(reader: Reader, shown: int) -> Iterator[Finding]:
    last = reader.state.seq
    is_cut = shown > last and not reader.damage and bool(reader.state.orchestration_id)
    if reader.damage or not reader.state.orchestration_id:
        why = f"Behind event {last} {reader.damage}" if reader.damage else "It does not begin with its orchestration's creation"
        mending = "`devsh fsck --repair` puts it together anew and keeps it as it is beside that."
        yield Finding("journal_damaged", reader.path, f"{why}.", mending=mending)
    if is_cut:
        yield _cut(reader, shown)
    if reader.foreign.count:
        what = f"{reader.foreign.count} lines that are not ours stand after event {reader.foreign.after}; they mean nothing, and stay."
        yield Finding("foreign_lines", reader.path, what, mending="`devsh fsck --repair`, or the next commit, takes note of them.")
    if reader.is_torn and not is_cut:
        what = f"{reader.size - reader.offset} bytes of a commit that was cut off stood at the end; nobody was told it was done."
        yield Finding("torn_end", reader.path, what, mending="`devsh fsck --repair`, or the next commit, moves them aside.")


def _cut(reader: Reader, shown: int) -> Finding:
    directory, last = reader.path.parent, last_whole(reader.path, reader.offset, reader.state.seq)
    views = {name: document for name in VIEW_FILES if (document := parsed(directory / name)) is not None}
    if last >= shown:
        last = reader.state.seq  # all of its lines are there but for the last newline
    lost = f"event {shown}" if shown == last + 1 else f"the events {last + 1} to {shown}"
    otherwise = known_otherwise(views, reader.state)
    what = f"It ends with event {last}, and the views know of event {shown}: its end was cut off, and {lost} with it."
    what += f" The views know otherwise of {otherwise}." if otherwise else " The views know no task or message otherwise."
    mending = (
        f"If you have a backup of it, put that back first. `devsh fsck --repair` keeps the views as they are in {SET_ASIDE}/, "
        "and takes from them the tasks and ends of tasks that are lost."
    )
    return Finding(CUT, reader.path, what, mending=mending)


def _view_findings(directory: Path, reader: Reader) -> Iterator[Finding]:
    exact = exact_bookkeeping(directory)
    if exact is not None and exact.seq != reader.state.seq:
        return  # a runner has gone on meanwhile
    if exact is not None:
        for name, expected in documents(reader.state, {}).items():
            document = parsed(directory / name)
            if document is None or settled(document) != settled(expected):
                mending = "`devsh fsck --repair` writes it anew and keeps what is there."
                yield Finding("view_differs", directory / name, "It is not what the journal says.", mending=mending)
        return
    known = read_bookkeeping(directory)
    broken = list(_broken_views(directory, known))
    yield from broken
    if broken:
        return
    others = list(_other_files(directory, known))
    if known is not None and known.seq == reader.state.seq and not any(why for _, why in others):
        names = ", ".join(name for name, _ in others)
        if not names and (known.offset != reader.size or known.inode == reader.identity[1]):
            return  # what stands behind its last event was told already, or came meanwhile
        what = f"{names or 'The journal'} is a copy of the file that was written, with the same content."
        yield Finding("view_copied", directory, what, is_note=True, mending="`devsh fsck --repair`, or the next runner, takes note of it.")
        return
    why = next((why for _, why in others if why), "")
    if not why:
        why = f"{VIEWS_FILE} is missing or cannot be read." if known is None else "The views do not tell the journal to its end."
    mending = "`devsh fsck --repair`, or the next runner, writes the views anew and keeps what somebody wrote into them."
    yield Finding("views_behind", directory, why, mending=mending)


def _broken_views(directory: Path, known: Bookkeeping | None) -> Iterator[Finding]:
    """Views that say nothing. Before there are books there may be none yet, since a new orchestration's are being written."""
    for name in VIEW_FILES:
        path = directory / name
        is_there = os.path.lexists(path)
        if parsed(path) is not None or not (is_there or known):
            continue
        what = f"{name} is not JSON." if is_there else f"{name} is missing."
        kept = " and keeps what is there" if is_there else ""
        mending = f"`devsh fsck --repair` writes it anew{kept}, and so does a runner as soon as anything changes."
        yield Finding("view_broken", path, what, mending=mending)


def _other_files(directory: Path, known: Bookkeeping | None) -> Iterator[tuple[str, str]]:
    """The views that are not the files which were written, with why that matters; empty where they say the same."""
    for name in VIEW_FILES if known is not None else ():
        path, own = directory / name, known.files.get(name) if known else None
        if own is not None and own.is_file(os.stat(path)):
            continue
        if own is not None and is_copy(path, own):
            yield name, ""
        elif is_output(path, name):
            yield name, f"{name} is an older one, as it was written once."
        else:
            yield name, f"{name} is not the file that was written: somebody has changed it."


def access_findings(directory: Path) -> Iterator[Finding]:
    """Who may read and write the journal and the views: their owner, and nobody else."""
    owner = os.stat(directory).st_uid
    for name in (JOURNAL_FILE, *VIEW_FILES, VIEWS_FILE):
        path = directory / name
        try:
            status = os.lstat(path)
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) != 0o600:
            yield _wrong_mode(path, status)
        if status.st_uid != owner:
            what = f"It belongs to user {status.st_uid} and its directory to user {owner}."
            advice, mending = f"`sudo chown {owner} {path}` changes that.", "So does `devsh fsck --repair`." if os.geteuid() == 0 else ""
            yield Finding("wrong_owner", path, what, advice=advice, mending=mending)


def _wrong_mode(path: Path, status: os.stat_result) -> Finding:
    who = "others than its owner may read or write it" if status.st_mode & 0o077 else "its owner cannot read and write it"
    what = f"Its mode is {stat.S_IMODE(status.st_mode):04o}: {who}."
    if status.st_nlink == 1:
        return Finding("wrong_mode", path, what, mending="`devsh fsck --repair` makes it 0600.")
    others = f"It has {status.st_nlink} names (hard links), and the others may be somebody's own: a repair leaves it as it is."
    return Finding("wrong_mode", path, f"{what} {others} `chmod 600 {path}` changes it under all of them.")
