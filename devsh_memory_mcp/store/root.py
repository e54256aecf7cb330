"""The memory root: its orchestrations, which of them is whose, and the symlink that names the newest.

What changes the set of orchestrations happens under `root.lock`.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

from devsh_memory_mcp.domain.events import OrchestrationCreated
from devsh_memory_mcp.domain.names import Choose, checked_id, new_orchestration_id
from devsh_memory_mcp.errors import MemoryRootUnusable, NotFound, Unavailable
from devsh_memory_mcp.ports import Clock
from devsh_memory_mcp.shim.rundir import sweep, sync_directory
from devsh_memory_mcp.store.adoption import adopt
from devsh_memory_mcp.store.bookkeeping import VIEW_FILES
from devsh_memory_mcp.store.files import explained, make_directory
from devsh_memory_mcp.store.journal import create
from devsh_memory_mcp.store.line import Entry, own_lines
from devsh_memory_mcp.store.lock import PATIENCE, HeldLock
from devsh_memory_mcp.store.mount import demand_local
from devsh_memory_mcp.store.reader import JOURNAL_FILE, fold_file, look_into

LOCK_FILE = "root.lock"
LINK = "orchestration"
ORCHESTRATIONS = "orchestrations"
MIRRORS = "mirrors"
RUNS = "runs"


@dataclass(frozen=True, slots=True)
class Found:
    """One orchestration as the first line of its journal tells it; `directory` is its own, never the symlink."""

    orchestration_id: str
    directory: Path
    created_at: datetime
    created: OrchestrationCreated


class MemoryRoot:
    """One memory root. Raises MemoryRootUnusable, RemoteFileSystem where it cannot be one."""

    def __init__(self, path: Path, clock: Clock, choose: Choose, environment: Mapping[str, str]) -> None:
        self.path = path
        self._clock = clock
        self._choose = choose
        try:
            for name in (ORCHESTRATIONS, MIRRORS):
                _make_private(path / name)
        except OSError as error:
            raise explained(error, path) from error
        if not os.access(path, os.W_OK | os.X_OK):
            raise MemoryRootUnusable(f"The memory root {path} cannot be written.")
        demand_local(path, environment)

    @property
    def link(self) -> Path:
        """The path under which the newest orchestration is found by hand."""
        return self.path / LINK

    @contextmanager
    def locked(self, patience: float = PATIENCE) -> Iterator[None]:
        """Holds `root.lock`. Raises JournalBusy."""
        lock = HeldLock(self.path / LOCK_FILE, patience=patience)
        try:
            with lock:
                yield
        finally:
            lock.close()

    def begin(self, created: OrchestrationCreated | None = None, **fields: object) -> Found:
        """Makes a new orchestration, durable, and points the symlink at it. For callers that do not hold the lock."""
        with self.locked():
            return self.begin_locked(created or OrchestrationCreated.model_validate({"orchestration_id": self.new_id(), **fields}))

    def begin_led(self, created: OrchestrationCreated) -> Found:
        """The one that a head leads who is a task, made where it is not there; the symlink stays with its spawner's."""
        with self.locked():
            found = _first(self.path / ORCHESTRATIONS / checked_id(created.orchestration_id, "orchestration id"))
            return found or self.begin_locked(created, is_newest=False)

    def begin_locked(self, created: OrchestrationCreated, *, is_newest: bool = True) -> Found:
        """The same for who holds the lock already, having looked whether there is one."""
        directory = self.path / ORCHESTRATIONS / checked_id(created.orchestration_id, "orchestration id")
        now = self._clock.now()
        create(directory, created, now)
        if is_newest:
            self.point_to(directory)
        for place in (self.path, self.path.parent):  # whoever made the names in them may have been killed before they were durable
            with suppress(PermissionError):
                sync_directory(str(place))
        return Found(created.orchestration_id, directory, now, created)

    def new_id(self) -> str:
        """An id that no orchestration here has."""
        while (self.path / ORCHESTRATIONS / (name := new_orchestration_id(self._choose))).exists():
            pass
        return name

    def point_to(self, directory: Path) -> bool:
        """Points the symlink at an orchestration; False where a real directory with unfinished tasks stands in its place."""
        if self.link.is_dir() and not self.link.is_symlink() and not self._move_finished():
            return False
        temporary = self.path / f"{LINK}.{os.getpid()}.tmp"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(Path(ORCHESTRATIONS) / directory.name)
        os.replace(temporary, self.link)
        return True

    def adopt(self) -> Found | None:
        """Makes a real directory `orchestration` an orchestration of ours, as it is; None where there is none."""
        if self.link.is_symlink() or not self.link.is_dir():
            return None
        found = _first(self.link)
        if found is None:
            with self.locked():
                found = _first(self.link) or self._adopt()
        return found

    def tidy(self) -> None:
        """Puts right what creations left that were killed: temporary files, directories without a journal, the symlink. JournalBusy."""
        with self.locked():
            sweep(str(self.path))
            for place in (self.path / ORCHESTRATIONS).iterdir():
                if place.is_dir() and not (place / JOURNAL_FILE).exists():
                    sweep(str(place))
                    with suppress(OSError):  # it holds something, which is not ours to judge
                        place.rmdir()
            newest = next(iter(self.all()), None)
            if newest is not None and not self.link.exists():
                self.point_to(newest.directory)

    def all(self) -> list[Found]:
        """Every orchestration that can be read, newest first."""
        return _newest_first(_readable(place) for place in self._places())

    def _places(self) -> list[Path]:
        places = [entry for entry in (self.path / ORCHESTRATIONS).iterdir() if entry.is_dir()]
        if not self.link.is_symlink() and self.link.is_dir():
            places.append(self.link)
        return places

    def of_project(self, project: str, *, demand: bool = False) -> list[Found]:
        """Those of one project, newest first; one that names no project, such as an imported one, is everybody's.

        Unavailable where one cannot be read and they are to be all, for who begins one where there is none.
        """
        found = _newest_first(_first(place) for place in self._places()) if demand else self.all()
        return [one for one in found if one.created.project in (project, "")]

    def get(self, orchestration_id: str) -> Found:
        """The one with that id. NotFound, InvalidId."""
        name = checked_id(orchestration_id, "orchestration id")
        found = _first(self.path / ORCHESTRATIONS / name)
        if found is None and not self.link.is_symlink():
            found = _first(self.link)
        if found is None or found.orchestration_id != name:
            raise NotFound(f"No orchestration {name} in {self.path}.", next_step="`devsh orchestrate list --all` shows every one.")
        return found

    def find_task(self, any_id: str) -> Found | None:
        """The newest orchestration that has a task with that orchestrationTaskId, plan id or taskRunId.

        Where none has, one that is damaged and speaks of it: whoever asks that one is told so.
        """
        needle = f'"{checked_id(any_id)}"'.encode()
        doubtful = None
        for found in self.all():
            path = found.directory / JOURNAL_FILE
            if needle not in path.read_bytes():
                continue
            state, damage = look_into(path)
            if state.find_task(any_id) is not None:
                return found
            doubtful = doubtful or (found if damage else None)
        return doubtful

    def _move_finished(self) -> bool:
        found = _first(self.link)
        if found is None or fold_file(self.link / JOURNAL_FILE).unfinished:
            return False
        place = self.path / ORCHESTRATIONS / found.orchestration_id
        if place.exists():
            return False
        os.rename(self.link, place)
        return True

    def _adopt(self) -> Found | None:
        adopt(self.link, self.new_id(), self._clock, self._choose)
        return _first(self.link)


def _newest_first(found: Iterable[Found | None]) -> list[Found]:
    return sorted((one for one in found if one), key=lambda one: (one.created_at, one.orchestration_id), reverse=True)


def _make_private(directory: Path) -> None:
    """Nobody else gets through it, whatever the modes of what is below, and whoever made it; the root itself may be shared."""
    make_directory(directory)
    if directory.stat().st_mode & 0o077:
        with suppress(PermissionError):  # it is another user's, who shares it
            directory.chmod(0o700)


def _readable(directory: Path) -> Found | None:
    """The same for who looks at all of them: what cannot be read is passed over."""
    try:
        return _first(directory)
    except Unavailable:
        return None


def unreadable(root: Path) -> list[Path]:
    """The orchestrations of which nothing can be said: their journals do not begin as one does, or are gone and the rest is there."""
    places = (root / ORCHESTRATIONS).iterdir() if (root / ORCHESTRATIONS).is_dir() else ()
    return sorted(place for place in places if _is_begun(place) and _readable(place) is None)


def _is_begun(place: Path) -> bool:
    return any(os.path.lexists(place / name) for name in (JOURNAL_FILE, *VIEW_FILES, RUNS))


def _first(directory: Path) -> Found | None:
    """What the first line of a journal says; foreign lines before it are passed over. Unavailable where it is there and cannot be read."""
    path = directory / JOURNAL_FILE
    try:
        if not path.is_file():
            return None  # a pipe would be waited for
        with path.open("rb") as file:
            first = next((entry for line in islice(file, 100) for entry in own_lines(line)), None)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise explained(error, path) from error
    if not isinstance(first, Entry) or not isinstance(first.event, OrchestrationCreated):
        return None
    return Found(first.event.orchestration_id, directory, first.timestamp, first.event)
