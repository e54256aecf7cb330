"""The shim's connection to the runner: it rings when there is a report, is rung when there is a letter, and notices its death.

Nothing here ever waits: the agent is supervised whether or not a runner lives. Where none does, a short-lived process of our own
makes sure of one, and the shim connects afterwards.
"""

import json
import os
import socket
import sys
import time

from devsh_memory_mcp.shim import kernel, rundir
from devsh_memory_mcp.shim.loop import Callback, Loop

_SHORTEST, _LONGEST = 0.05, 30.0  # seconds between two attempts to reach a runner
_STAYED = 5.0  # seconds after which a connection was none that the runner only accepted to hang up
_PACKAGES = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_STARTER = "import sys; sys.path.insert(0, sys.argv[1]); from devsh_memory_mcp.shim.doorbell import main; sys.exit(main(sys.argv[2:]))"


class Pulse:
    """`on_ring` is called when there may be something in the inbox."""

    def __init__(self, loop: Loop, run: rundir.Run, version: str, on_ring: Callback) -> None:
        self._loop = loop
        self._run = run
        self._on_ring = on_ring
        self._hello = {"hello": "shim", "format": rundir.FORMAT, "version": version, "taskRunId": run.task_run_id, "attempt": run.attempt}
        self._connection: socket.socket | None = None
        self._pause = _SHORTEST
        self._connected_at = 0.0
        self._starter: int | None = None
        self.strangers: set[int] = set()  # children of this process that are no part of the agent's tree

    def connect(self) -> None:
        """Connects if a runner listens; else one is seen to, later and elsewhere."""
        if not self._reach():
            self._later()

    def _reach(self) -> bool:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(0)
        try:
            connection.connect(self._run.control_socket)
            connection.send(json.dumps(self._hello).encode() + b"\n")
        except OSError:
            connection.close()
            return False
        self._connection = connection
        self._connected_at = time.monotonic()
        self._loop.read(connection.fileno(), self._hear)
        self._on_ring()  # what was written while nobody could ring
        return True

    def ring(self) -> None:
        """Tells the runner to read the reports; without a runner the next one reads them anyway."""
        if self._connection is not None:
            try:
                self._connection.send(f"ring {self._run.orchestration_id}\n".encode())
            except BlockingIOError:
                return  # it has rings enough that it has not heard yet
            except OSError:
                self._lost()

    def leave(self) -> None:
        """The last ring. Where nobody hears it a runner is seen to, since nobody else may be left to do it."""
        self.ring()
        if self._connection is None:
            self._retry()

    def _hear(self) -> None:
        assert self._connection is not None
        try:
            content = self._connection.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            content = b""
        if not content:
            self._lost()
        elif b"ring" in content:
            self._pause = _SHORTEST
            self._on_ring()

    def _lost(self) -> None:
        if self._connection is not None:
            self._loop.close(self._connection.detach())
            self._connection = None
            if time.monotonic() - self._connected_at > _STAYED:
                self._pause = _SHORTEST
            self._later()

    def _later(self) -> None:
        # Many shims lose the same runner at the same instant; by chance one of them is first.
        chance = os.urandom(1)[0] / 255
        self._loop.at(time.monotonic() + self._pause * (0.5 + chance), self._retry)
        self._pause = min(2 * self._pause, _LONGEST)

    def _retry(self) -> None:
        if self._starter is None and not self._reach():
            self._start()

    def _start(self) -> None:
        """Has a runner started. It says hello as a face: a shim's hello would tie this short life to the attempt's."""
        hello = json.dumps({"hello": "face", "version": self._hello["version"]})
        argv = [sys.executable, "-I", "-S", "-c", _STARTER, _PACKAGES, self._run.memory_root, hello, *self._run.runner_command]
        actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
        # The runner forks itself away from its starter, and must not come to us: with the agent's orphans it would be ended.
        kernel.adopt_orphans(wanted=False)
        try:
            self._starter = os.posix_spawn(sys.executable, argv, os.environ, file_actions=actions, setsid=True)
        except OSError:
            kernel.adopt_orphans()
            self._later()
            return
        self.strangers.add(self._starter)
        self._loop.child(self._starter, self._started)

    def _started(self, status: int) -> None:
        kernel.adopt_orphans()
        self.strangers.clear()
        self._starter = None
        if status == 0:
            self.connect()
        else:
            self._later()
