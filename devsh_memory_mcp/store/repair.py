"""The repair of one orchestration's directory, and of the root around it: nothing is lost, what is replaced is set aside."""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from devsh_memory_mcp.domain.names import Choose
from devsh_memory_mcp.domain.records import TaskSpec
from devsh_memory_mcp.domain.state import State
from devsh_memory_mcp.errors import Conflict, DevshError, InvalidRequest
from devsh_memory_mcp.ports import Clock, Decide, Decision
from devsh_memory_mcp.shim import rundir
from devsh_memory_mcp.shim.rundir import write_file
from devsh_memory_mcp.store.bookkeeping import JOURNAL_FILE, PLAN_FILE, VIEW_FILES, VIEWS_FILE, Document, shown_seq
from devsh_memory_mcp.store.cut import CUT
from devsh_memory_mcp.store.files import MODE, explained, make_directory, nanoseconds, unused_name
from devsh_memory_mcp.store.finding import Ends, Finding, ends_of
from devsh_memory_mcp.store.inspection import damaged_files, unknown_runs
from devsh_memory_mcp.store.leftovers import broken_locks, is_link_broken, stale_files, stale_socket, temporary_files
from devsh_memory_mcp.store.lock import HeldLock, is_held
from devsh_memory_mcp.store.mending import Shown, keep, mend
from devsh_memory_mcp.store.reader import Reader
from devsh_memory_mcp.store.reference import Repository
from devsh_memory_mcp.store.refs import Look, by_repository, salvages_of, stale
from devsh_memory_mcp.store.root import LINK, MemoryRoot
from devsh_memory_mcp.store.root import LOCK_FILE as ROOT_LOCK_FILE
from devsh_memory_mcp.store.views import Edit, Views, kept_edits, parsed
from devsh_memory_mcp.store.writer import LOCK_FILE, Transaction, Writer

SET_ASIDE = "set-aside"  # the directory of run directories that no attempt explains, and of views that a mended journal took the place of
_VIEWS = "views-"
_MARKS = (".torn-", ".before-repair-", ".edited-", ".foreign-", ".damaged-")
_JOURNAL = frozenset({"journal_damaged", CUT, "journal_missing", "journal_not_a_file"})
_REWRITTEN = frozenset({"views_behind", "view_broken", "view_copied", "view_differs", "torn_end", "foreign_lines"})


def set_aside(paths: Iterable[Path], clock: Clock) -> list[Finding]:
    """Renames each to `<name>.damaged-<ns>`, and tells where it is."""
    moved = []
    for path in list(paths):
        moved.append(unused_name(path, "damaged", nanoseconds(clock.now())))
        os.rename(path, moved[-1])
    return [_told(path) for path in moved]


def repair_root(root: MemoryRoot, clock: Clock) -> list[Finding]:
    """Mends what lies in the memory root itself; what was set aside."""
    for path in temporary_files(root.path):
        path.unlink()
    moved = set_aside(broken_locks(root.path, (ROOT_LOCK_FILE,)), clock)
    root.tidy()
    if is_link_broken(root):
        root.link.unlink()  # there is nothing that it could name
    left = stale_socket(root.path)
    if left is not None:
        left.unlink(missing_ok=True)
    return moved


def _told(path: Path) -> Finding:
    return Finding("set_aside", path, "What stood there is kept here, as it was.", repaired=True)


class Repair:
    """One repair of one directory. No runner may be at work."""

    def __init__(self, directory: Path, clock: Clock, choose: Choose, look: Look) -> None:
        self._directory = directory
        self._clock = clock
        self._choose = choose
        self._look = look
        self._told: list[Finding] = []

    def run(self, codes: set[str]) -> list[Finding]:
        """Mends what has these codes; what was done beside, what was set aside and where, and why something could not be."""
        if "format_too_new" in codes:
            return []
        kept = set(self._kept())
        try:
            self._mend_all(codes)
        except (DevshError, OSError) as error:
            refusal = error if isinstance(error, DevshError) else explained(error, self._directory)
            self._told.append(Finding("not_repaired", self._directory, str(refusal)))
        return [*self._told, *self._all_kept(sorted(set(self._kept()) - kept))]

    def _all_kept(self, paths: list[Path]) -> list[Finding]:
        """What was set aside, in one line."""
        if len(paths) <= 1:
            return [_told(path) for path in paths]
        names = ", ".join(str(path.relative_to(self._directory)) for path in paths)
        return [Finding("set_aside", self._directory, f"What stood there is kept here, as it was: {names}.", repaired=True)]

    def _mend_all(self, codes: set[str]) -> None:
        directory = self._directory
        set_aside(broken_locks(directory, (LOCK_FILE,)), self._clock)
        self._give_access(codes)
        if codes & _JOURNAL and (codes & {"journal_damaged", CUT} or any((directory / name).is_file() for name in VIEW_FILES)):
            self._mend_journal()
            codes = codes | _REWRITTEN - {"torn_end", "foreign_lines"}
        if codes & {"torn_end", "foreign_lines"}:
            self._settle()
        for path in stale_files(directory):
            path.unlink()
        if not (directory / JOURNAL_FILE).is_file():
            return
        self._put_aside()
        self._mend_refs()
        if "view_differs" in codes:
            (directory / VIEWS_FILE).unlink(missing_ok=True)  # it says that the view is as it was written
        if codes & _REWRITTEN or self._told:
            self._rewrite()

    def _kept(self) -> Iterator[Path]:
        """What earlier hands set aside."""
        for place in (self._directory, *(self._directory / "runs").glob("*/*")):
            if place.is_dir():
                yield from (path for path in place.iterdir() if any(mark in path.name for mark in _MARKS))
        for place in (self._directory / SET_ASIDE).glob("*"):
            yield from [place] if place.name.startswith(_VIEWS) else place.iterdir()

    def _give_access(self, codes: set[str]) -> None:
        owner = os.stat(self._directory)
        for path in (self._directory / name for name in (JOURNAL_FILE, *VIEW_FILES, VIEWS_FILE)):
            try:
                descriptor = _opened(path)
            except (FileNotFoundError, ValueError):
                continue  # what stands there is no file of ours: a link, a pipe, or a file that has another name
            try:
                if "wrong_owner" in codes and os.geteuid() == 0:
                    os.fchown(descriptor, owner.st_uid, owner.st_gid)
                if "wrong_mode" in codes:
                    os.fchmod(descriptor, MODE)
            finally:
                os.close(descriptor)

    def _mend_journal(self) -> None:
        path = self._directory / JOURNAL_FILE
        if os.path.lexists(path) and not path.is_file():
            set_aside([path], self._clock)
        lock = HeldLock(self._directory / LOCK_FILE)
        try:
            with lock:
                views = {name: document for name in VIEW_FILES if (document := parsed(self._directory / name)) is not None}
                kept = self._keep_views()
                edits = tuple(path.name for path, _, _ in kept_edits(self._directory))
                shown = Shown(views, shown_seq(self._directory), f"{SET_ASIDE}/{kept.name}/{PLAN_FILE}" if kept else "", edits)
                name = self._directory.name if self._directory.name != LINK else _name_in(views)
                mended = keep(path, name, self._clock.now())
                mend(path, shown, mended, self._choose, self._find_tip)
                for file in _files(self._directory):  # not before the journal is whole: they say what it has lost
                    file.unlink()
        finally:
            lock.close()
        self._told += [Finding("journal_mended", path, note, True) for note in mended.notes]

    def _find_tip(self, spec: TaskSpec, ref: str) -> str | None:
        place = spec.repository
        refs = self._look(Repository(place.git_directory, spec.environment), []) if place else None
        return None if refs is None else refs.names.get(ref)

    def _keep_views(self) -> Path | None:
        """Copies the views to where nobody writes over them, or takes them for somebody's edits."""
        files = _files(self._directory)
        if not files:
            return None
        below = self._directory / SET_ASIDE
        make_directory(below)
        number = nanoseconds(self._clock.now())
        while (place := below / f"{_VIEWS}{number}").exists():
            number += 1
        make_directory(place)
        for file in files:
            write_file(os.fspath(place / file.name), file.read_bytes())
        return place

    def _rewrite(self) -> None:
        reader = Reader(self._directory / JOURNAL_FILE)
        reader.catch_up()
        views = Views(self._directory, self._clock, self._choose)
        try:
            while (edit := views.write(reader.state, reader.offset, {})) is not None:
                self._take_in(edit)
                reader.catch_up()
        finally:
            reader.close()

    def _take_in(self, edit: Edit) -> None:
        try:
            self._commit(lambda state, _now: Decision(edit.events(state), None))
        except (InvalidRequest, Conflict) as error:
            why = error.message
            self._commit(lambda state, _now: Decision(edit.refusal(state, why), None))

    def _put_aside(self) -> None:
        """What stands in the next runner's way, and run directories whose number another attempt may get."""
        state, _ = self._read()
        set_aside((found.path for found in damaged_files(self._directory, state) if found.is_replaceable), self._clock)
        for place in unknown_runs(self._directory, state):
            if not is_held(place / rundir.LOCK_FILE):
                below = self._directory / SET_ASIDE / place.parent.name
                make_directory(below)
                os.rename(place, unused_name(below / place.name, "unknown", nanoseconds(self._clock.now())))

    def _mend_refs(self) -> None:
        """Unpins the bases of tasks that are over, and puts refs back whose commits are there."""
        state, ends = self._read()
        for repository, tasks in by_repository(state):
            salvages = [salvage for task in tasks for salvage in salvages_of(task, ends)]
            refs = self._look(repository, [salvage.tip for salvage in salvages if salvage.tip])
            if refs is None:
                continue
            for task in stale(tasks, refs):
                repository.forget_base(task.task_run_id)
            for salvage in salvages:
                if salvage.ref not in refs.names and salvage.tip is not None and salvage.tip in refs.there:
                    repository.restore(salvage.ref, salvage.tip)

    def _read(self) -> tuple[State, Ends]:
        reader = Reader(self._directory / JOURNAL_FILE, keep=None)
        try:
            reader.catch_up()
            return reader.state, ends_of(reader.recent)
        finally:
            reader.close()

    def _settle(self) -> None:
        writer = Writer(self._directory, self._clock)
        try:
            writer.settle()
        finally:
            writer.close()

    def _commit(self, decide: Decide[None]) -> None:
        writer = Writer(self._directory, self._clock)
        transaction = Transaction(decide)
        writer.commit(lambda: [transaction])
        writer.close()
        if transaction.error is not None:
            raise transaction.error


def _files(directory: Path) -> list[Path]:
    """The views and their books, where they are files."""
    paths = (directory / name for name in (*VIEW_FILES, VIEWS_FILE))
    return [path for path in paths if os.path.lexists(path) and stat.S_ISREG(os.lstat(path).st_mode)]


def _name_in(views: dict[str, Document]) -> str:
    return next((str(view["orchestrationId"]) for view in views.values() if "orchestrationId" in view), LINK)


def _opened(path: Path) -> int:
    """A file that has this one name: who swaps a link in is not followed. FileNotFoundError, ValueError where it is none."""
    try:
        with rundir.open_regular(str(path)) as file:
            _demand_own(os.fstat(file.fileno()), path)
            return os.dup(file.fileno())
    except PermissionError:
        _unlock(path)
    with rundir.open_regular(str(path)) as file:
        _demand_own(os.fstat(file.fileno()), path)
        return os.dup(file.fileno())


def _unlock(path: Path) -> None:
    """Lets its owner read a file whose mode forbids it, which therefore cannot be opened to change the mode."""
    if os.chmod in os.supports_follow_symlinks:
        _demand_own(os.lstat(path), path)
        os.chmod(path, MODE, follow_symlinks=False)
        return
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _demand_own(os.fstat(descriptor), path)
        os.chmod(f"/proc/self/fd/{descriptor}", MODE)  # fchmod refuses such a descriptor
    finally:
        os.close(descriptor)


def _demand_own(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        raise ValueError(f"{path} is no regular file with one name")
