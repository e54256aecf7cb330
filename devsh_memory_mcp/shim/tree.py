"""Ending every process below one of ours, however it was started: new sessions, double forks, fork loops.

Nothing can be missed for ever: whoever loses his parent becomes a child of the process that adopts orphans, so the sweep is
repeated until there is nobody left.
"""

import errno
import os
import signal
import typing

from devsh_memory_mcp.shim import census, kernel

_ROUNDS = 20  # sweeps of SIGSTOP until nobody new is found; a fork loop that outruns them is met by the next kill


def ask(root: int, marker: str, unasked: typing.Container[int | None] = ()) -> None:
    """Sends SIGTERM to everything below `root` but those `unasked`; SIGCONT too, since a stopped process would not hear it."""
    for entry in members(root, marker):
        if entry.pid in unasked:
            continue
        send(entry.pid, signal.SIGTERM)
        send(entry.pid, signal.SIGCONT)


def strike(root: int, marker: str, spared: typing.Container[int] = ()) -> bool:
    """Kills everything below `root` that can be found now; whether there was anything that may be killed.

    First all are stopped, until a look finds nobody new: a stopped process forks no more. Groups are signalled as such, because
    the kernel then misses none of their members, not even one that is being forked.
    """
    stopped: set[int] = set()
    found = members(root, marker, spared)
    for _ in range(_ROUNDS):
        new = [entry for entry in found if entry.pid not in stopped]
        if not new:
            break
        for entry in new:
            send(entry.pid, signal.SIGSTOP)
        stopped.update(entry.pid for entry in new)
        found = members(root, marker, spared)
    ours = os.getpgid(0)
    for group in {entry.group for entry in found} - {ours, 0}:
        send(-group, signal.SIGKILL)
    return kill(found)


def members(root: int, marker: str, spared: typing.Container[int] = ()) -> list[census.Entry]:
    """Who is below `root`; where the system leaves no orphans to us, also who carries the mark."""
    found = census.descendants(root, spared)
    return found if kernel.ADOPTS else found + [entry for entry in census.marked(marker) if entry not in found]


def is_others(root: int, marker: str) -> bool:
    """Whether there is somebody below `root`, and nobody whom we may end."""
    found = members(root, marker)
    return bool(found) and not any(send(entry.pid, 0) for entry in found)


def kill(entries: typing.Iterable[census.Entry]) -> bool:
    """Kills all of them; whether there was one that may be killed."""
    return sum(send(entry.pid, signal.SIGKILL) for entry in entries) > 0


def send(pid: int, number: int) -> bool:
    """Signals a process, or a group where `pid` is negative; False where it is another user's, who alone may.

    What is refused for another reason is repeated with the sweep.
    """
    try:
        os.kill(pid, number)
    except OSError as error:
        return error.errno != errno.EPERM
    return True
