"""What would use up the machine: bombs of processes and a hog of memory, each let go without the wall too."""

import os

import pytest

from devsh_memory_mcp.shim.bounds import Limits
from devsh_memory_mcp.shim.limits import Cage
from devsh_memory_mcp.shim.sandbox import PROCESSES
from tests.doubles.walls import needs_sandbox
from tests.shim.stage import BOMB
from tests.shim.test_escapes import inside, outside
from tests.shim.warden import Warden

pytestmark = needs_sandbox
M = 1 << 20


def _no_groups() -> str | None:
    with Cage.on_trial(Limits(memory=64 * M)) as (kept, missing):
        return missing.why if missing else None if kept.processes else "cgroups here do not count processes"


# In continuous integration root goes without none: what he may make there is what is to be proved.
_LEAVES_OUT = _no_groups() is not None and not (os.environ.get("CI") == "true" and os.geteuid() == 0)


@pytest.mark.skipif(_LEAVES_OUT, reason=str(_no_groups()))
def test_a_fork_bomb_and_a_hog_of_memory_are_held_by_their_groups(warden: Warden) -> None:
    if warden.is_ordinary and os.geteuid() == 0:
        pytest.skip("this user makes no groups here; see the bomb that is held without any")
    assert _no_groups() is None
    hog = "python3 -c 'x = b\"x\" * (500 << 20)' && echo reached; exit 1"
    limits = Limits(memory=200 * M, processes=200)
    assert int(inside(warden, BOMB, limits=limits)[0]) < 200
    assert outside(warden, BOMB) == ["1000"]
    outcome = warden.run(hog, limits=limits)
    assert (outcome.cause, "reached" in (outcome.result or "")) == ("oom", False)
    assert outside(warden, hog) == ["reached"]


# Threads are what a process comes to most cheaply, and count as such.
THREADS = """python3 - <<'END'
import _thread, os, threading
threading.stack_size(1 << 16)
held, count = _thread.allocate_lock(), 1
held.acquire()
try:
    while count < {most}:
        _thread.start_new_thread(held.acquire, ())
        count += 1
except RuntimeError:
    pass
os.write(1, b"reached" if count == {most} else b"held" if count > {most} / 2 else b"too few")
os._exit(0)
END
"""


def test_a_bomb_is_held_without_groups_too(warden: Warden) -> None:
    bomb = THREADS.format(most=PROCESSES)
    assert inside(warden, bomb, limits=None) == ["held"]
    assert outside(warden, bomb, limits=None) == ["reached"]
