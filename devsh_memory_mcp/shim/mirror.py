"""The bare mirror of a remote repository: made and brought up to date once for all attempts, under a lock beside it."""

import fcntl
import os
import time

from devsh_memory_mcp.shim.git import marker
from devsh_memory_mcp.shim.loop import Loop
from devsh_memory_mcp.shim.process import Door
from devsh_memory_mcp.shim.rundir import RUN_MARKER, Checkout, Run

_FETCH_SECONDS = 1800.0
_LOCK_PAUSE = 0.05


def refresh(loop: Loop, door: Door, run: Run, checkout: Checkout) -> None:
    """Makes sure that the mirror is there and has the base commit; without one, or with it, nothing is fetched.

    Git runs with the user's environment here, since only that knows how to reach the remote and as whom.
    """
    if checkout.url is None:
        return
    environment = {**run.environment, "GIT_TERMINAL_PROMPT": "0", RUN_MARKER: marker(run)}
    os.makedirs(os.path.dirname(checkout.repository), exist_ok=True)
    lock = os.open(f"{checkout.repository}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not _take(lock) and not door.is_unwanted():
            loop.wait(door.is_unwanted, time.monotonic() + _LOCK_PAUSE)
        _bring(door, checkout, environment)
    finally:
        os.close(lock)


def _take(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _bring(door: Door, checkout: Checkout, environment: dict[str, str]) -> None:
    here = ["git", f"--git-dir={checkout.repository}"]
    if not os.path.exists(f"{checkout.repository}/HEAD"):
        # Through a temporary name: half a mirror would be taken for a whole one.
        fresh = f"{checkout.repository}.tmp"  # what a killed shim left of it is gone over again
        door.check(["git", "init", "-q", "--bare", "--template=", fresh], environment)
        os.rename(fresh, checkout.repository)
    if door.run([*here, "cat-file", "-e", f"{checkout.base_commit}^{{commit}}"], environment).code:
        # Nothing is pruned: published branches of ours live among those of the remote.
        fetch = ["fetch", "-q", "--no-write-fetch-head", "--no-auto-maintenance", checkout.url or "", "+refs/heads/*:refs/heads/*"]
        door.check([*here, "-c", "gc.auto=0", *fetch], environment, seconds=_FETCH_SECONDS)
