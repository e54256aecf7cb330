"""Our MCP server for an agent in a sandbox: whoever connects to a socket that is shown inside gets one of his own, which runs outside.

Inside there is neither a memory root nor a runner, so the agent's CLI is given a bridge as its server: an interpreter, and a file that
needs nothing of ours.
"""

import collections
import os
import resource
import shutil
import signal
import sys
import time
import typing

from devsh_memory_mcp.shim import bridge
from devsh_memory_mcp.shim.bounds import lowered
from devsh_memory_mcp.shim.guard import OOM_SCORE
from devsh_memory_mcp.shim.loop import Loop
from devsh_memory_mcp.shim.relay import listen_in
from devsh_memory_mcp.shim.rundir import SANDBOX_DIRECTORY

INSIDE = "/run/devsh"  # where the agent finds it, if it can be shown at another place than its own
_SOCKET, _BRIDGE = "socket", "bridge.py"
_MOST = 2  # servers at a time, which are no part of what the agent's limits count
_MOST_STARTS, _WITHIN = 20, 60.0  # in so many seconds; a CLI starts one for a session
_DATA = 512 * 1024 * 1024  # bytes; it has some 60 MB
_LEAVES_WITHIN = 0.5  # seconds, for what it was just told


def place_in(directory: str) -> str:
    """Where it lies outside, of the attempt in that run directory."""
    return f"{directory}/{SANDBOX_DIRECTORY}/mcp"


def socket_in(place: str) -> str:
    """What is connected to there."""
    return f"{place}/{_SOCKET}"


def bridge_command(place: str = INSIDE) -> tuple[str, ...]:
    """What the agent's CLI starts as our server, which it finds at `place`."""
    return os.path.realpath(sys.executable), "-I", "-S", f"{place}/{_BRIDGE}", socket_in(place)


class McpSocket:
    """Listens from now on in `directory`, which is to be shown to the agent; each connection starts `command` with this `environment`."""

    def __init__(self, loop: Loop, directory: str, command: typing.Sequence[str], environment: typing.Mapping[str, str]) -> None:
        self._loop = loop
        self._command = command
        self._environment = environment
        self._servers: set[int] = set()
        self._starts: collections.deque[float] = collections.deque(maxlen=_MOST_STARTS)
        os.makedirs(directory, exist_ok=True)
        with open(bridge.__file__, "rb") as source, open(f"{directory}/{_BRIDGE}", "wb") as target:
            shutil.copyfileobj(source, target)
        self._listener = listen_in(directory, _SOCKET)
        loop.read(self._listener.fileno(), self._accept)

    def end(self) -> None:
        """After the agent's tree: the servers leave when nobody is connected any more, or are ended."""
        self._loop.close(self._listener.detach())
        self._loop.wait(lambda: not self._servers, time.monotonic() + _LEAVES_WITHIN)
        for pid in self._servers:
            os.kill(pid, signal.SIGKILL)  # still ours to be buried, so it is no other process
        self._loop.wait(lambda: not self._servers)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # who connected has gone
            return
        with connection:
            if len(self._servers) < _MOST and self._may_start(time.monotonic()):
                self._start(connection.fileno())

    def _may_start(self, now: float) -> bool:
        """Whether it is not one start too many; who comes and goes in a loop is hung up on."""
        if len(self._starts) == _MOST_STARTS and now - self._starts[0] < _WITHIN:
            return False
        self._starts.append(now)
        return True

    def _start(self, connection: int) -> None:
        actions = [
            (os.POSIX_SPAWN_DUP2, connection, 0),
            (os.POSIX_SPAWN_DUP2, connection, 1),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ]
        try:
            words = _bound(self._command)
            pid = os.posix_spawn(words[0], words, self._environment, file_actions=actions, setsid=True)
        except OSError:  # the agent's CLI tells of a server that hangs up
            return
        self._servers.add(pid)
        self._loop.child(pid, lambda _status: self._servers.discard(pid))


def _bound(command: typing.Sequence[str]) -> list[str]:
    """The command under its bounds, before its first word: it is no part of what the agent's limits count."""
    data, _ = lowered(resource.RLIMIT_DATA, _DATA)
    return ["/bin/sh", "-c", f'ulimit -d {data // 1024}; echo {OOM_SCORE.decode()} >/proc/self/oom_score_adj; exec "$@"', "sh", *command]
