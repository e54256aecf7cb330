"""Whether an attempt's checkout may go: only where it is proved that its work is elsewhere, or that there is none.

Nothing here runs in a checkout, and no git reads its `.git`: an agent may have left anything there. What cannot be proved is kept.
"""

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from devsh_memory_mcp.domain.state import Task
from devsh_memory_mcp.shim import rundir
from devsh_memory_mcp.shim.rundir import Outcome
from devsh_memory_mcp.store.reference import Repository

_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_MOST_REFS = 20_000
_MOST_BYTES = 64 << 20
# What may hold commits that the refs do not name.
_UNREAD = ("modules", "worktrees", "reftable")
# Copies of the user's branches from when the checkout was made; he may have moved his since.
_COPIES = "refs/remotes/"


class Unproved(Exception):
    """Why a checkout is kept."""


@dataclass(frozen=True, slots=True)
class Proof:
    """Why a checkout may go; `kept_in` is the ref that has the work, None where there was none."""

    reason: str
    kept_in: str | None = None


def repository_of(task: Task) -> Repository | None:
    """The user's repository that the task worked for, with the PATH of who spawned it."""
    found = task.spec.repository
    return None if found is None else Repository(found.git_directory, task.spec.environment)


def prove(task: Task, attempt: int, run: Path) -> Proof:
    """Why the checkout of an ended attempt may go. Unproved where it is to be kept."""
    workspace, repository = run / rundir.WORKSPACE_DIRECTORY, repository_of(task)
    if os.path.lexists(workspace) and not _is_directory(workspace):
        raise Unproved("it is not a directory any more")
    if repository is None:
        if workspace.is_dir() and any(workspace.iterdir()):
            raise Unproved("it belongs to no repository, and its files are nowhere else")
        return Proof("it is empty")
    outcome = _outcome(task, attempt, run)
    proof = _work(outcome, repository)
    if workspace.is_dir():
        _demand_untouched(workspace, run / rundir.OUTCOME_FILE)
        known = {found.base_commit for found in (task.spec.repository,) if found} | {outcome.tip}
        if not repository.holds(commit for commit in refs_of(workspace / ".git") if commit not in known):
            raise Unproved("its refs name commits that no ref of the repository has")
    return proof


def _outcome(task: Task, attempt: int, run: Path) -> Outcome:
    """The attempt's outcome, which says that nothing is in the checkout alone: `unsaved` does, and warnings are for people."""
    path = run / rundir.OUTCOME_FILE
    try:
        outcome = rundir.read_json(str(path), Outcome) if _is_file(path) else None
    except (OSError, ValueError):
        outcome = None
    if outcome is None or (outcome.task_run_id, outcome.attempt) != (task.task_run_id, attempt):
        raise Unproved(f"how it ended cannot be read in {path}")
    if outcome.unsaved:
        raise Unproved("something of it could not be saved")
    return outcome


def _work(outcome: Outcome, repository: Repository) -> Proof:
    if outcome.tip is None:
        raise Unproved("it was never looked through")
    if outcome.salvage_ref is None:
        if outcome.changed_file_count or outcome.commits:
            raise Unproved("its work is in no ref")
        return Proof("it changed nothing")
    if repository.find_commit(outcome.salvage_ref) != outcome.tip:
        raise Unproved(f"{outcome.salvage_ref} is not at its work in {repository.git_directory}")
    return Proof(f"its work is in {outcome.salvage_ref}", outcome.salvage_ref)


def _demand_untouched(workspace: Path, outcome: Path) -> None:
    """Whoever works on in a checkout makes it his own; git's own files are looked at by their refs."""
    ended = outcome.stat().st_mtime_ns
    for place, names, files in os.walk(workspace):
        if place == str(workspace) and ".git" in names:
            names.remove(".git")
        for path in (place, *(os.path.join(place, name) for name in files)):
            with contextlib.suppress(OSError):
                if os.lstat(path).st_mtime_ns > ended:
                    raise Unproved(f"{os.path.relpath(path, workspace)} has changed since its end")


def refs_of(directory: Path) -> set[str]:
    """The commits that a `.git` names as its own: HEAD, branches, tags, every stash. Unproved where that cannot be read as text."""
    if not _is_directory(directory) or not _is_directory(directory / "refs"):
        raise Unproved("it is not a repository any more")
    for name in _UNREAD:
        if os.path.lexists(directory / name) and not _is_empty(directory / name):
            raise Unproved(f"its .git/{name} may have commits of its own")
    head = _text(directory / "HEAD")
    stashes = _text(directory / "logs/refs/stash", missing="").splitlines()
    told = [*([] if head.startswith("ref: ") else [head]), *_loose(directory), *_packed(directory)]
    told += [line.split(" ")[1] if " " in line else line for line in stashes]
    if not all(_HASH.fullmatch(word) for word in told):
        raise Unproved("its refs cannot be read")
    return set(told)


def _loose(directory: Path) -> Iterator[str]:
    places, count = [directory / "refs"], 0
    while places:
        for entry in _entries(places.pop()):
            count += 1
            path, name = Path(entry.path), os.path.relpath(entry.path, directory)
            if count > _MOST_REFS or entry.is_symlink():
                raise Unproved("its refs cannot be read")
            if entry.is_dir():
                places += [] if f"{name}/" == _COPIES else [path]
            elif not name.endswith(".lock") and not (text := _text(path)).startswith("ref: "):
                yield text


def _packed(directory: Path) -> Iterator[str]:
    for line in _text(directory / "packed-refs", _MOST_BYTES, missing="").splitlines():
        commit, _, name = line.partition(" ")
        if not line.startswith(("#", "^")) and not name.startswith(_COPIES):
            yield commit


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError as error:
        raise Unproved(f"{directory} cannot be read: {error.strerror}") from error


def _text(path: Path, most: int = _MOST_BYTES, *, missing: str | None = None) -> str:
    """A regular file's text; never that of a pipe, a device or what a link points at."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        if missing is None:
            raise Unproved(f"{path} is not there") from None
        return missing
    except OSError as error:
        raise Unproved(f"{path} cannot be read: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > most:
            raise Unproved(f"{path} is not a file that can be read")
        return os.pread(descriptor, most, 0).decode(errors="replace").strip()
    finally:
        os.close(descriptor)


def _is_empty(directory: Path) -> bool:
    return _is_directory(directory) and not _entries(directory)


def _is_directory(path: Path) -> bool:
    return _has_kind(path, stat.S_IFDIR)


def _is_file(path: Path) -> bool:
    return _has_kind(path, stat.S_IFREG)


def _has_kind(path: Path, kind: int) -> bool:
    try:
        return stat.S_IFMT(os.lstat(path).st_mode) == kind
    except OSError:
        return False
