"""A copy of an orchestration that is at a server, in the memory root of this machine: the same files, for whoever looks there.

It is no orchestration of this root: nothing here runs its tasks. It lies in `mirrored/<id>`, and the link `orchestration` leads to it.
What a head wrote into PLAN.json himself is kept: tasks that the server does not know stay in the file, and a file that was changed
is kept aside before it is replaced.
"""

import hashlib
import json
import os
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic_core import from_json, to_json

from devsh_memory_mcp.domain.exchange import MirrorAnswer, PushedTask
from devsh_memory_mcp.domain.names import checked_id
from devsh_memory_mcp.errors import MemoryRootUnusable
from devsh_memory_mcp.store.bookkeeping import AGENTS_FILE, JOURNAL_FILE, MAILBOX_FILE, PLAN_FILE, last_seq
from devsh_memory_mcp.store.files import explained, make_directory, replace_file
from devsh_memory_mcp.store.lock import HeldLock
from devsh_memory_mcp.store.root import LINK

MIRRORED = "mirrored"
BOOKS_FILE = "mirror.json"
LOCK_FILE = "mirror.lock"
_ENDED = ("completed", "failed")

Document = dict[str, object]


@dataclass(frozen=True, slots=True)
class _Books:
    """What we wrote: the hash of each file's content."""

    orchestration_id: str = ""
    sha256: dict[str, str] = field(default_factory=dict)


class Mirror:
    """The copy of one orchestration below `root`. Its calls read and write files, and raise what `explained` says."""

    def __init__(self, root: Path, orchestration_id: str) -> None:
        self.orchestration_id = checked_id(orchestration_id, "orchestration id")
        self._root = root
        self.directory = root / MIRRORED / self.orchestration_id

    @property
    def plan_path(self) -> Path:
        """Where its PLAN.json is."""
        return self.directory / PLAN_FILE

    def position(self) -> int:
        """The last event that is in the copy; 0 where there is none, or where the file is not as it was left."""
        path = self.directory / JOURNAL_FILE
        try:
            size = path.stat().st_size
            return (last_seq(path, size) or 0) if size else 0
        except (OSError, ValueError):
            return 0

    def append(self, answer: MirrorAnswer, after: int) -> None:
        """Adds the journal's lines behind `after`; with 0 they are all there is. What another process added meanwhile is there once."""
        path = self.directory / JOURNAL_FILE
        try:
            make_directory(self.directory)
            with closing(HeldLock(self.directory / LOCK_FILE)) as lock, lock:
                have = self.position() if after else 0
                lines = b"".join(to_json(line) + b"\n" for line in answer.events if _seq(line) > have)
                if not after:
                    replace_file(path, lines)
                elif lines and have >= after:
                    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
                    with os.fdopen(descriptor, "wb") as file:
                        file.write(lines)
        except OSError as error:
            raise explained(error, path) from error

    def write(self, answer: MirrorAnswer) -> None:
        """The views as the server has them, and the link to them."""
        plan = answer.plan | {"tasks": [*_tasks(answer.plan), *self._own_tasks(answer.plan)]}
        books = self._books()
        written: dict[str, str] = {}
        try:
            for name, document in ((PLAN_FILE, plan), (AGENTS_FILE, answer.agents), (MAILBOX_FILE, answer.mailbox)):
                content = to_json(document, indent=2) + b"\n"
                self._keep_changed(name, books.sha256.get(name))
                replace_file(self.directory / name, content)
                written[name] = hashlib.sha256(content).hexdigest()
            replace_file(self.directory / BOOKS_FILE, json.dumps(asdict(_Books(self.orchestration_id, written)), indent=2).encode() + b"\n")
            self._point()
        except OSError as error:
            raise explained(error, self.directory) from error

    def _own_tasks(self, plan: Document) -> list[object]:
        """The tasks of the file that the server does not know."""
        known = {task[key] for task in _tasks(plan) if isinstance(task, dict) for key in ("id", "orchestrationTaskId") if key in task}
        try:
            found = _read(self.plan_path)
        except MemoryRootUnusable:
            return []  # it is kept aside as it is
        return [task for task in _tasks(found or {}) if isinstance(task, dict) and task.get("id") not in known and "id" in task]

    def _keep_changed(self, name: str, ours: str | None) -> None:
        """A second name for a file that is not as we left it."""
        path = self.directory / name
        with suppress(FileNotFoundError):
            content = path.read_bytes()
            found = hashlib.sha256(content).hexdigest()
            if found != ours:
                replace_file(self.directory / f"{name}.edited-{found[:12]}", content)

    def _books(self) -> _Books:
        try:
            found = _read(self.directory / BOOKS_FILE)
        except MemoryRootUnusable:
            found = None
        hashes = (found or {}).get("sha256")
        return _Books(self.orchestration_id, hashes if isinstance(hashes, dict) else {})

    def _point(self) -> None:
        """The path that is written in books leads to the copy; a real directory there is somebody's, and stays."""
        link = self._root / LINK
        if link.is_dir() and not link.is_symlink():
            return
        temporary = self._root / f"{LINK}.{os.getpid()}.mirror.tmp"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(Path(MIRRORED) / self.directory.name)
        os.replace(temporary, link)


def decisions_of(path: Path, task_ids: tuple[str, ...] = ()) -> tuple[PushedTask, ...]:
    """What a PLAN.json says that its head did himself or planned: tasks that are done or given up, and those nobody else knows.

    With `task_ids` only these. None where there is no plan; MemoryRootUnusable where it cannot be read.
    """
    plan = _read(path)
    told = []
    for task in _tasks(plan or {}):
        if not isinstance(task, dict) or (task_ids and not {task.get("id"), task.get("orchestrationTaskId")} & set(task_ids)):
            continue
        if task.get("status") in _ENDED or "orchestrationTaskId" not in task:
            told.append(_told(task))
    return tuple(task for task in told if task is not None)


def _told(task: Document) -> PushedTask | None:
    names = ("id", "status", "result", "errorMessage", "prompt", "agentName", "dependsOn")
    try:
        return PushedTask.model_validate({name: task[name] for name in names if task.get(name) is not None})
    except ValueError:
        return None  # no task that anybody could have


def _seq(line: Document) -> int:
    found = line.get("seq")
    return found if isinstance(found, int) else 0


def _tasks(plan: Document) -> list[object]:
    tasks = plan.get("tasks")
    return tasks if isinstance(tasks, list) else []


def _read(path: Path) -> Document | None:
    try:
        found = from_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise explained(error, path) from error
    except ValueError:
        raise MemoryRootUnusable(f"{path} is not JSON.", next_step="Mend it, or pull again: then it is kept aside.") from None
    return found if isinstance(found, dict) else None
