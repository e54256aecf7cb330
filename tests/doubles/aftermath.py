"""What a test leaves behind in a memory root: exact views, no process, nothing for fsck to find."""

import contextlib
import os
import signal
import time
from pathlib import Path

from devsh_memory_mcp.engine.preparation import choose
from devsh_memory_mcp.shim.doorbell import ensure_runner
from devsh_memory_mcp.store.bookkeeping import is_exact
from devsh_memory_mcp.store.fsck import check
from devsh_memory_mcp.store.reader import Reader, fold_file
from devsh_memory_mcp.store.root import MemoryRoot
from devsh_memory_mcp.wiring import SystemClock, runner_command
from tests.doubles.processes import await_end, follows_runner, is_runner, kill, processes_of

BOUND = 30  # seconds for what takes one at most


def end_processes(root: Path) -> dict[int, str]:
    """Ends whoever belongs to the root once its views are exact; answers those that did not end by themselves."""
    work = {pid: words for pid, words in processes_of(root).items() if not is_runner(words) and not follows_runner(words)}
    left = {pid: words for pid, words in work.items() if not await_end(pid, 5.0)}
    _await_views(root)
    for pid, words in processes_of(root).items():
        if not follows_runner(words):
            kill(pid, signal.SIGTERM if is_runner(words) else signal.SIGKILL)
    for pid, words in processes_of(root).items():
        if not await_end(pid, 5.0):
            left[pid] = words
            kill(pid)
    return left


def findings(root: Path) -> set[str]:
    """The codes of what fsck finds."""
    place = MemoryRoot(root, SystemClock(), choose, os.environ)
    # A runner that is ended at a task's end leaves its base pinned for the next one, which takes the ref away.
    return {finding.code for finding in check(place, SystemClock(), choose, repair=False) if not finding.is_note} - {"stale_base_ref"}


def _is_quiet(directory: Path) -> bool:
    """Its views are exact, and no head's end is still to be told."""
    return is_exact(directory) and not fold_file(directory / "EVENTS.jsonl").leaving


def _await_views(root: Path) -> None:
    """Until the views are exact, by whichever runner; not for ever, since what is wrong is told afterwards."""
    until = time.monotonic() + BOUND
    # What a head led hears of its end after its own orchestration does, and that one then of this.
    for directory in [*root.glob("orchestrations/*")] * 2:
        reader = Reader(directory / "EVENTS.jsonl")
        reader.catch_up()
        reader.close()
        while not _is_quiet(directory) and not reader.damage and time.monotonic() < until:
            with ensure_runner(str(root), runner_command(root), {"hello": "face"}) as connection:
                name = directory.name.encode()
                connection.settimeout(1.0)
                connection.sendall(b"follow %s\nring %s\n" % (name, name))
                with contextlib.suppress(TimeoutError, ConnectionError):
                    while not _is_quiet(directory) and time.monotonic() < until and connection.recv(4096):
                        pass
