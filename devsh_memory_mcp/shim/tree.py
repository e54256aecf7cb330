"""Ending every process below one of ours, however it was started: new sessions, double forks, fork loops.

Nothing can be missed for ever: whoever loses his parent becomes a child of the process that adopts orphans, so the sweep is
repeated until there is nobody left.
"""

import os
import signal
import typing

from devsh_memory_mcp.shim import census

_ROUNDS = 20  # sweeps of SIGSTOP until nobody new is found; a fork loop that outruns them is met by the next kill


def ask(root: int, spared: typing.Container[int] = ()) -> None:
    """Sends SIGTERM to everything below `root`; SIGCONT too, since a stopped process would not hear it."""
    for entry in census.descendants(root, spared):
        send(entry.pid, signal.SIGTERM)
        send(entry.pid, signal.SIGCONT)


def strike(root: int, spared: typing.Container[int] = ()) -> bool:
    """Kills everything below `root` that can be found now; whether there was anything.

    First all are stopped, until a look finds nobody new: a stopped process forks no more. Groups are signalled as such, because
    the kernel then misses none of their members, not even one that is being forked.
    """
    stopped: set[int] = set()
    members = census.descendants(root, spared)
    for _ in range(_ROUNDS):
        new = [entry for entry in members if entry.pid not in stopped]
        if not new:
            break
        for entry in new:
            send(entry.pid, signal.SIGSTOP)
        stopped.update(entry.pid for entry in new)
        members = census.descendants(root, spared)
    ours = os.getpgid(0)
    for group in {entry.group for entry in members} - {ours, 0}:
        send(-group, signal.SIGKILL)
    for entry in members:
        send(entry.pid, signal.SIGKILL)
    return bool(members)


def send(pid: int, number: int) -> bool:
    """Signals a process, or a group where `pid` is negative; False where it has gone or is not ours to signal."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
