"""A process that has imported the shim and forks it for each attempt: a start costs a fork, not an interpreter and its imports.

It belongs to one runner and ends with it; the shims go on without both. Single-threaded, so that forking is safe. Over one stream:

    runner → server   <directory>             with three descriptors: the run's lock, held, the shim's log, and a pipe with the
                                              agent's credentials as a JSON object of variables, which stand nowhere else
    server → runner   started <directory>     the shim has its own copy of the lock
    server → runner   ended <directory>       the shim has ended
"""

import array
import gc
import json
import os
import select
import signal
import socket
import sys
import time
import traceback

from devsh_memory_mcp.shim import kernel
from devsh_memory_mcp.shim.__main__ import main as run_shim
from devsh_memory_mcp.shim.probe import Missing, probe

_LONGEST = 65536
_DESCRIPTORS = 3


def main(arguments: list[str]) -> int:
    """`ROOT --socket-fd N`; the root is there for whoever reads a list of processes."""
    connection = socket.socket(fileno=int(arguments[-1]))
    connection.set_inheritable(False)
    kernel.call_oneself("devsh-fork")
    _Server(connection).serve()
    return 0


class _Server:
    """Requests and ended children, one at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._children: dict[int, str] = {}
        found = probe(os.environ.get("PATH", os.defpath))
        self._walls = None if isinstance(found, Missing) else found  # one that comes later is found by each shim itself
        self._woken, self._wakes = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wakes, False)
        signal.set_wakeup_fd(self._wakes)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)

    def serve(self) -> None:
        """Until the runner's end of the connection is closed."""
        gc.freeze()  # what is there now is shared by all children, and no collection has to touch it
        while True:
            ready, _, _ = select.select([self._connection.fileno(), self._woken], [], [])
            if self._woken in ready:
                self._reap()
            if self._connection.fileno() in ready and not self._answer():
                return

    def _answer(self) -> bool:
        try:
            content, descriptors = _receive(self._connection)
        except ConnectionError as error:  # the runner was killed, which is its end like any other
            sys.stderr.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} the fork server follows its runner: {error.strerror}\n")
            return False
        if not content:
            return False
        directory = os.fsdecode(content.rstrip(b"\n"))
        child = os.fork()
        if not child:
            self._become(directory, *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        self._children[child] = directory
        return self._tell(f"started {directory}\n")

    def _reap(self) -> None:
        while os.read(self._woken, _LONGEST) == b"\0" * _LONGEST:
            continue
        while self._children:
            child, _ = os.waitpid(-1, os.WNOHANG)
            if not child:
                return
            self._tell(f"ended {self._children.pop(child)}\n")

    def _tell(self, line: str) -> bool:
        try:
            self._connection.sendall(os.fsencode(line))
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def _become(self, directory: str, lock: int, log: int, credentials: int) -> None:
        """The child: as if it had been started by itself, in its own session and with nothing of the server's."""
        try:
            os.setsid()
            kernel.call_oneself("devsh-shim")
            kernel.reset_signals()
            self._connection.close()
            os.close(self._woken)
            os.close(self._wakes)
            nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            os.dup2(nothing, 0)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.close(nothing)
            os.close(log)
            os.chdir(directory)
            with open(credentials, encoding="utf-8") as file:
                secrets = json.load(file)
            os._exit(run_shim([directory, "--lock-fd", str(lock)], secrets, self._walls))
        except BaseException:  # noqa: BLE001  the top of a process: whatever it was, the log has it and the server's loop is not entered
            traceback.print_exc(file=sys.stderr)
            sys.stderr.flush()
            os._exit(1)


def _receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    """One request and its descriptors; the runner sends the next only when this one was answered."""
    descriptors = array.array("i")
    room = socket.CMSG_SPACE(_DESCRIPTORS * descriptors.itemsize)
    content, ancillary, _, _ = connection.recvmsg(_LONGEST, room)
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    return content, list(descriptors)
