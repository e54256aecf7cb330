"""What the run directories and the user's repositories say beside what the journal says. Nothing here changes anything."""

import os
import re
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.shim import rundir
from devsh_memory_mcp.shim.rundir import Outcome, Report, Run
from devsh_memory_mcp.store.lock import is_held
from devsh_memory_mcp.store.reference import BASES, Repository

RUNS = "runs"
DAMAGED_FILE = "run_file_damaged"
STALE_BASE = "stale_base_ref"
HasRef = Callable[[str, str], bool]  # git directory, full name of a ref
_TEMPORARY = re.compile(r".*\.(\d+)\.tmp")
_GIT_PATIENCE = 10.0
_ADVICE = {
    rundir.RUN_FILE: "The attempt is over and does not need it any more.",
    rundir.REPORT_FILE: "What it said is passed over; the attempt's end is in outcome.json.",
    rundir.OUTCOME_FILE: "Its end is in the journal; its checkout is kept: look through it, then remove it yourself.",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be; `code` is stable, `repaired` says that it is now."""

    code: str
    path: Path
    message: str
    repaired: bool = False


@dataclass(frozen=True, slots=True)
class DamagedFile:
    """A file of a run directory that cannot be read. One that is replaceable is made anew where it is out of the way."""

    path: Path
    why: str
    is_replaceable: bool


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
    for file in damaged_files(directory, state):
        advice = "`devsh fsck --repair` keeps it aside; the next runner makes it anew." if file.is_replaceable else _ADVICE[file.path.name]
        yield Finding(DAMAGED_FILE, file.path, f"{file.why} {advice}")


def _attempt_findings(place: Path, task: Task, attempt: int) -> Iterator[Finding]:
    if not place.is_dir():
        if attempt in task.reported:
            yield Finding("missing_run_directory", place, f"Attempt {attempt} of {task.id} has no directory.")
        return
    held = is_held(place / rundir.LOCK_FILE)
    if task.live_attempt == attempt and not held:
        message = f"Attempt {attempt} of {task.id} has ended; the next runner finds out how: `devsh orchestrate wait {task.id}` starts one."
        yield Finding("attempt_not_running", place, message)
    if task.live_attempt != attempt and held:
        yield Finding("ended_attempt_running", place, f"Attempt {attempt} of {task.id} is over, but its lock is held.")


def damaged_files(directory: Path, state: State) -> Iterator[DamagedFile]:
    """The files of recorded attempts that are there and are not what they should be."""
    for task in state.tasks.values():
        for attempt in range(1, task.attempt + 1):
            place = directory / RUNS / task.task_run_id / str(attempt)
            is_live = task.live_attempt == attempt and not is_held(place / rundir.LOCK_FILE)
            for name in _ADVICE:
                why = _damage(place / name)
                if why:
                    # Without its report an attempt would look like one that never began, and its agent be started again.
                    yield DamagedFile(place / name, why, is_live and name != rundir.REPORT_FILE)


def _damage(path: Path) -> str:
    """Why a file cannot be read; empty where it can be, or is not there."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return "It is not a regular file."
        if path.name == rundir.REPORT_FILE:
            whole = path.read_bytes().rpartition(b"\n")[0]
            reports, _ = rundir.read_lines(str(path), Report)
            return "" if len(reports) == len(whole.splitlines()) else "Some of its lines are not reports."
        if path.name == rundir.RUN_FILE:
            rundir.read_json(str(path), Run)
        else:
            rundir.read_json(str(path), Outcome)
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        return f"It cannot be read: {str(error)[:200]}."
    return ""


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

    for repository, task in stale_bases(state, exists):
        message = f"{BASES}/{task.task_run_id} in {repository.git_directory} pins the base of {task.id}, which is over;"
        yield Finding(STALE_BASE, directory, f"{message} `devsh fsck --repair` or `devsh gc` removes it.")


def stale_bases(state: State, exists: HasRef) -> Iterator[tuple[Repository, Task]]:
    """The tasks that are over and whose base is pinned still, as a runner leaves them that was killed at their end."""
    for task in state.tasks.values():
        found = task.spec.repository
        if found is not None and task.is_terminal and exists(found.git_directory, f"{BASES}/{task.task_run_id}"):
            yield Repository(found.git_directory, task.spec.environment), task


def stale_files(directory: Path) -> Iterator[Path]:
    """Temporary files whose writer is gone."""
    for place in (directory, *sorted((directory / RUNS).glob("*/*"))):
        for path in sorted(place.glob("*.tmp")):
            named = _TEMPORARY.fullmatch(path.name)
            if named and not os.path.exists(f"/proc/{named[1]}"):
                yield path
