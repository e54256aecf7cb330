"""The runner's place, taken by who mends: an idle runner is asked to leave, one with agents at work is not."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from devsh_memory_mcp.errors import Conflict, DevshError
from devsh_memory_mcp.shim.doorbell import NoRunner, ask_to_leave, socket_path
from devsh_memory_mcp.shim.rundir import LOCK_FILE
from devsh_memory_mcp.store.cut import lost_end
from devsh_memory_mcp.store.inspection import RUNS
from devsh_memory_mcp.store.lock import is_held, try_lock
from devsh_memory_mcp.store.reader import JOURNAL_FILE, look_into

_LEAVES_WITHIN = 20.0  # seconds; what it has begun, such as a checkout, it ends before
_POLL = 0.02
_NAMED = 5  # agents that are named


@contextmanager
def taken_place(path: Path, places: list[Path], sent_away: Callable[[], None]) -> Iterator[None]:
    """Holds the runner's lock. Conflict where agents are at work, whether their runner lives or not, or it does not leave.

    Whoever was asked to leave may do so later, too: `sent_away` is called behind the end in each of these cases.
    """
    with ExitStack() as stack:
        lock = try_lock(path)
        if lock is None:
            _demand_idle(places)
            lock = _awaited(path, sent_away, stack)
        stack.callback(os.close, lock)
        _demand_idle(places)  # again: the supervisors of a runner that was killed go on without it
        yield


def _awaited(path: Path, sent_away: Callable[[], None], stack: ExitStack) -> int:
    if _is_reached(path.parent):
        stack.callback(sent_away)
    until = time.monotonic() + (_LEAVES_WITHIN if _is_asked(path.parent) else 0)
    while (lock := try_lock(path)) is None:
        if time.monotonic() >= until:
            pid = _holder(path)
            end = f"`kill {pid}` ends it" if pid else f"`lsof {path}` shows its process: end it"
            raise Conflict("A runner is at work in this memory root, and does not leave.", next_step=f"{end}, and no agent; then repair.")
        time.sleep(_POLL)
    return lock


def _demand_idle(places: list[Path]) -> None:
    """Conflict where agents are at work: those of a damaged journal cannot be named to a command, and end by themselves."""
    living = [found for place in places for found in _living(place)]
    if not living:
        return
    more = f" and {len(living) - _NAMED} more" if len(living) > _NAMED else ""
    named = ", ".join(name for name, _ in living[:_NAMED])
    task = next((name for name, is_known in living if is_known), None)
    if task:
        advice = f"`devsh orchestrate wait {task}` waits for it, `devsh orchestrate cancel {task}` ends it; then repair."
    else:
        advice = (
            f"Repair when they have ended: what they did is read then. `lsof {Path(living[0][0]) / LOCK_FILE}` shows who supervises it."
        )
    raise Conflict(f"Agents are at work in this memory root: {named}{more}.", next_step=advice)


def _living(directory: Path) -> Iterator[tuple[str, bool]]:
    """The tasks whose agents run, by the id that no other task has, with True; else the run directory, with False:

    where the journal is damaged, so that no command answers of it.
    """
    held = [lock.parent for lock in sorted((directory / RUNS).glob(f"*/*/{LOCK_FILE}")) if is_held(lock)]
    if not held:
        return
    try:
        state, damage = look_into(directory / JOURNAL_FILE)
    except (DevshError, OSError):
        yield from ((str(place), False) for place in held)
        return
    is_sound = not damage and not lost_end(directory) and bool(state.orchestration_id)
    for place in held:
        task = state.find_task(place.parent.name) if is_sound else None
        if not is_sound:
            yield str(place), False
        elif task is not None and str(task.live_attempt) == place.name:  # a lock of another attempt is a finding, and stops nobody
            yield task.orchestration_task_id, True


def _is_reached(root: Path) -> bool:
    """Whether there is a door to ask at."""
    try:
        return os.path.exists(socket_path(str(root)))
    except (NoRunner, OSError):
        return False


def _is_asked(root: Path) -> bool:
    try:
        return ask_to_leave(str(root))
    except (NoRunner, OSError):
        return False


def _holder(path: Path) -> int:
    text = path.read_text(errors="replace").strip() if os.path.isfile(path) else ""
    return int(text) if text.isdecimal() else 0
