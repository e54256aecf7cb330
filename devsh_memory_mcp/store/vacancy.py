"""The runner's place, taken by who mends: an idle runner is asked to leave, one with agents at work is not."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from devsh_memory_mcp.errors import Conflict, DevshError
from devsh_memory_mcp.shim.doorbell import NoRunner, ask_to_leave
from devsh_memory_mcp.shim.rundir import LOCK_FILE
from devsh_memory_mcp.store.inspection import RUNS
from devsh_memory_mcp.store.lock import is_held, try_lock
from devsh_memory_mcp.store.reader import JOURNAL_FILE, fold_file

_LEAVES_WITHIN = 5.0  # seconds
_POLL = 0.02
_NAMED = 5  # agents that are named


def take_place(path: Path, places: list[Path]) -> tuple[int, bool]:
    """The runner's lock, held, and whether a runner was asked to leave for it. Conflict where one has to stay, or does not leave."""
    lock = try_lock(path)
    if lock is not None:
        return lock, False
    living = [name for place in places for name in _living(place)]
    if living:
        more = f" and {len(living) - _NAMED} more" if len(living) > _NAMED else ""
        raise Conflict(
            f"Agents are at work in this memory root: {', '.join(living[:_NAMED])}{more}.",
            next_step=f"`devsh orchestrate wait {living[0]}` waits for it, `devsh orchestrate cancel {living[0]}` ends it; then repair.",
        )
    until = time.monotonic() + (_LEAVES_WITHIN if _is_asked(path.parent) else 0)
    while (lock := try_lock(path)) is None:
        if time.monotonic() >= until:
            pid = _holder(path)
            end = f"`kill {pid}` ends it" if pid else f"`lsof {path}` shows its process: end it"
            raise Conflict("A runner is at work in this memory root, and does not leave.", next_step=f"{end}, and no agent; then repair.")
        time.sleep(_POLL)
    return lock, True


def _living(directory: Path) -> Iterator[str]:
    """The tasks whose agents run, by the id that no other task has; a run directory where the journal has none for it."""
    held = [lock.parent for lock in sorted((directory / RUNS).glob(f"*/*/{LOCK_FILE}")) if is_held(lock)]
    if not held:
        return
    try:
        state = fold_file(directory / JOURNAL_FILE)
    except DevshError:
        yield from map(str, held)
        return
    for place in held:
        task = state.find_task(place.parent.name)
        yield task.orchestration_task_id if task else str(place)


def _is_asked(root: Path) -> bool:
    try:
        return ask_to_leave(str(root))
    except (NoRunner, OSError):
        return False


def _holder(path: Path) -> int:
    text = path.read_text(errors="replace").strip() if os.path.isfile(path) else ""
    return int(text) if text.isdecimal() else 0
