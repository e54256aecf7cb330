"""What may be removed: checkouts whose work is safe, and the output of tasks that ended long ago. Journals and outcomes stay.

Safe means that the salvage ref is there in the user's repository, read back now, or that the attempt changed nothing.
"""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from anyio import to_thread

from devsh_memory_mcp.domain.events import CheckoutRemoved
from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.ports import Clock, Decision
from devsh_memory_mcp.shim import rundir
from devsh_memory_mcp.shim.rundir import Outcome
from devsh_memory_mcp.store.journal import FileJournal

KEEP_CHECKOUT = timedelta(hours=24)
KEEP_OUTPUT = timedelta(days=30)
_GIT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Removed:
    """Something that was removed, or would be: sizes in bytes. `kept_in` is where the work is."""

    path: Path
    bytes: int
    reason: str
    orchestration_task_id: str
    attempt: int
    kept_in: str | None = None


async def collect(journal: FileJournal, clock: Clock, *, older_than: timedelta = KEEP_CHECKOUT, dry_run: bool = False) -> list[Removed]:
    """Removes, or with `dry_run` only names, what an orchestration no longer needs."""
    state = await journal.read()
    found = await to_thread.run_sync(lambda: list(_removable(state, journal.directory, clock.now(), older_than)))
    if dry_run:
        return found
    for removed in found:
        await to_thread.run_sync(_remove, removed.path)
        if removed.path.name == rundir.WORKSPACE_DIRECTORY:
            event = CheckoutRemoved(orchestration_task_id=removed.orchestration_task_id, attempt=removed.attempt, kept_in=removed.kept_in)
            await journal.transact(lambda _state, _now, event=event: Decision((event,), None))  # type: ignore[misc]
            await to_thread.run_sync(forget_base, state.tasks[removed.orchestration_task_id])
    return found


def _removable(state: State, directory: Path, now: datetime, older_than: timedelta) -> Iterator[Removed]:
    for task in state.tasks.values():
        if not task.is_terminal or task.completed_at is None:
            continue
        age = now - task.completed_at
        for attempt in sorted(task.checkouts):
            run = directory / "runs" / task.task_run_id / str(attempt)
            if age >= older_than and not task.spec.keep:
                yield from _checkout(task, attempt, run)
        if age >= max(KEEP_OUTPUT, older_than):
            yield from _output(task, directory / "runs" / task.task_run_id)


def _checkout(task: Task, attempt: int, run: Path) -> Iterator[Removed]:
    workspace = run / rundir.WORKSPACE_DIRECTORY
    safe, kept_in = _is_safe(task, run, workspace)
    if not safe:
        return
    reason = f"its work is in {kept_in}" if kept_in else "it changed nothing"
    for path in (run / rundir.GIT_DIRECTORY, workspace):
        if path.exists():
            yield Removed(path, _size(path), reason, task.orchestration_task_id, attempt, kept_in)


def _is_safe(task: Task, run: Path, workspace: Path) -> tuple[bool, str | None]:
    try:
        outcome = rundir.read_json(str(run / rundir.OUTCOME_FILE), Outcome)
    except ValueError:
        outcome = None
    if task.spec.repository is None:
        return workspace.is_dir() and not any(workspace.iterdir()), None
    if outcome is None:
        return not workspace.exists(), None
    if outcome.salvage_ref is None:
        return outcome.changed_file_count == 0 and outcome.commits == 0 and outcome.tip is not None, None
    return _has_ref(task.spec.repository.git_directory, outcome.salvage_ref, outcome.tip), outcome.salvage_ref


def _has_ref(git_directory: str, ref: str, tip: str | None) -> bool:
    try:
        answer = subprocess.run(
            ["git", f"--git-dir={git_directory}", "rev-parse", "-q", "--verify", f"{ref}^{{commit}}"],
            capture_output=True, timeout=_GIT_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and answer.stdout.decode().strip() == tip


def _output(task: Task, runs: Path) -> Iterator[Removed]:
    for attempt in range(1, task.attempt + 1):
        for name in (rundir.STDOUT_FILE, rundir.STDERR_FILE, rundir.SHIM_LOG_FILE):
            path = runs / str(attempt) / name
            if path.exists():
                yield Removed(path, path.stat().st_size, "output older than 30 days", task.orchestration_task_id, attempt)


def _size(path: Path) -> int:
    return sum(file.lstat().st_blocks * 512 for file in path.rglob("*"))


def _remove(path: Path) -> None:
    """A tree is renamed first, so that half a checkout is never taken for one."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    going = path.with_name(f"{path.name}.going")
    path.rename(going)
    shutil.rmtree(going, ignore_errors=True)


def forget_base(task: Task) -> None:
    """Takes away the ref that pinned the base for an attempt's checkout; the salvage ref pins what has to last.

    Where it cannot be done now, it is done again with the checkout's removal.
    """
    repository = task.spec.repository
    if repository is None:
        return
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(
            ["git", f"--git-dir={repository.git_directory}", "update-ref", "-d", f"refs/devsh/base/{task.task_run_id}"],
            capture_output=True, timeout=_GIT_SECONDS, check=False,
        )  # fmt: skip
