"""What the run directories and the user's repositories say beside what the journal says. Nothing here changes anything."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.shim import rundir
from devsh_memory_mcp.store.lock import is_held

RUNS = "runs"
HasRef = Callable[[str, str], bool]  # git directory, full name of a ref
_TEMPORARY = re.compile(r".*\.(\d+)\.tmp")
_GIT_PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be; `code` is stable, `repaired` says that it is now."""

    code: str
    path: Path
    message: str
    repaired: bool = False


def has_ref(git_directory: str, ref: str) -> bool:
    """Whether the repository has the ref. Asks the user's own repository, never an agent's checkout."""
    command = ["git", f"--git-dir={git_directory}", "show-ref", "--verify", "--quiet", ref]
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_GIT_PATIENCE, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def run_findings(directory: Path, state: State) -> Iterator[Finding]:
    """The run directories of one orchestration against its state."""
    runs = directory / RUNS
    known = {task.task_run_id: task for task in state.tasks.values()}
    for task in state.tasks.values():
        for attempt in range(1, task.attempt + 1):
            yield from _attempt_findings(runs / task.task_run_id / str(attempt), task, attempt)
    for place in sorted(runs.glob("*/*")):
        if place.is_dir() and (place.parent.name not in known or not _is_recorded(known[place.parent.name], place.name)):
            held = " Its lock is held: an agent runs there." if is_held(place / rundir.LOCK_FILE) else ""
            yield Finding("unknown_run_directory", place, f"The journal has no such attempt.{held}")


def _attempt_findings(place: Path, task: Task, attempt: int) -> Iterator[Finding]:
    if not place.is_dir():
        if task.live_attempt != attempt:  # a live one's is perhaps about to be made
            yield Finding("missing_run_directory", place, f"Attempt {attempt} of {task.id} has no directory.")
        return
    held = is_held(place / rundir.LOCK_FILE)
    if task.live_attempt == attempt and not held:
        yield Finding("attempt_not_running", place, f"Attempt {attempt} of {task.id} has ended; the next runner finds out how.")
    if task.live_attempt != attempt and held:
        yield Finding("ended_attempt_running", place, f"Attempt {attempt} of {task.id} is over, but its lock is held.")


def _is_recorded(task: Task, attempt: str) -> bool:
    return attempt.isdigit() and 1 <= int(attempt) <= task.attempt


def ref_findings(directory: Path, state: State, exists: HasRef) -> Iterator[Finding]:
    """Saved work that the journal names and the user's repository no longer has."""
    for task in state.tasks.values():
        if task.spec.repository is None:
            continue
        for ref in task.salvage_refs.values():
            if not exists(task.spec.repository.git_directory, ref):
                message = f"{ref} of task {task.id} is not in {task.spec.repository.git_directory}."
                yield Finding("salvage_ref_missing", directory, message)


def stale_files(directory: Path) -> Iterator[Path]:
    """Temporary files whose writer is gone."""
    for place in (directory, *sorted((directory / RUNS).glob("*/*"))):
        for path in sorted(place.glob("*.tmp")):
            named = _TEMPORARY.fullmatch(path.name)
            if named and not os.path.exists(f"/proc/{named[1]}"):
                yield path
