"""The process between a shim and a command of the agent's: it dies after the tree, and the tree dies with the shim.

It is forked and never executes anything itself. It reads orders from a pipe whose only writer is the shim; the end of that pipe
is the shim's death, upon which it kills everything below it and leaves. It holds the run's lock too, so that the lock is free
only after the tree has gone. What it says goes up the status pipe, a line at a time:

    standing PID (of a sandbox, in which the command waits for its order) · started PID · failed ERRNO ·
    barred (its sandbox could not be made) · ended STATUS (of the command's own process, as wait gives it) ·
    empty (nobody is left; it leaves)

Where the command runs in bubblewrap, `started` tells the pid of that: what is inside ends with it.
"""

import contextlib
import errno
import fcntl
import os
import select
import signal
import sys
import typing

from devsh_memory_mcp.shim import kernel, tree
from devsh_memory_mcp.shim.bounds import Bounds, submit
from devsh_memory_mcp.shim.gate import Gate
from devsh_memory_mcp.shim.rundir import RUN_MARKER
from devsh_memory_mcp.shim.sandbox import GATE_MISSING, GATE_UP

OOM_SCORE = b"500"  # for what goes before its shim and the runner do
GO, OPEN, ASK, KILL = b"g", b"o", b"t", b"k"
_SLOWEST = 0.1  # seconds between sweeps where a killed process does not go, in the middle of a disk's failure for example


class Errand(typing.NamedTuple):
    """What a guard starts: the command, its place, its three descriptors; with `options`, a descriptor too, it is bubblewrap.

    Where it `is_gated` it is let begin once its walls stand.
    """

    program: str
    argv: tuple[str, ...]
    environment: dict[str, str]
    directory: str
    stdin: int
    stdout: int
    stderr: int
    options: int | None = None
    is_gated: bool = False
    bounds: Bounds = Bounds()

    @property
    def descriptors(self) -> tuple[int, ...]:
        """All that the command is given."""
        return (self.stdin, self.stdout, self.stderr, *(() if self.options is None else (self.options,)))


class Line(typing.NamedTuple):
    """A guard's two pipes, and what else it must keep open."""

    orders: int
    status: int
    kept: tuple[int, ...]


def stand(errand: Errand, line: Line) -> typing.NoReturn:
    """The whole life of the guard, in the process just forked for it."""
    try:
        _Guard(errand, line).watch()
    except BaseException:  # noqa: BLE001  (the top of a process: nothing may return into the shim's own code)
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(1)


class _Guard:
    def __init__(self, errand: Errand, line: Line) -> None:
        self._errand = errand
        self._line = line
        self._command: int | None = None
        self._marker = errand.environment[RUN_MARKER]
        os.setsid()
        kernel.adopt_orphans()
        kernel.reset_signals(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # only the shim's orders count, or its death
        self._gate: Gate | None = None
        self._is_buried = False  # the command's own process
        kernel.close_all_but({0, 1, 2, *errand.descriptors, line.orders, line.status, *line.kept})
        self._children, wakeup = os.pipe()
        for descriptor in (self._children, wakeup):
            os.set_blocking(descriptor, False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)  # without a handler nothing would reach the descriptor
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        self._poll = select.poll()
        self._poll.register(line.orders, select.POLLIN)
        self._poll.register(self._children, select.POLLIN)

    def watch(self) -> None:
        """Carries out orders until nobody is left."""
        while True:
            ready = {descriptor for descriptor, _ in self._poll.poll()}
            if self._children in ready:
                self._drain()
                if self._is_empty() and self._command is not None:
                    self._leave()
            if self._gate is not None and self._gate.word in ready and not self._gate.has_spoken:
                self._hear_gate(self._gate)
            if self._line.orders in ready:
                self._obey(os.read(self._line.orders, 1))

    def _obey(self, order: bytes) -> None:
        if order == GO:
            self._start()
        elif order == OPEN:
            self._open()
        elif order == ASK:
            # bubblewrap would die of it, and what is inside with it, unasked.
            tree.ask(os.getpid(), self._marker, () if self._errand.options is None else (self._command,))
        else:  # KILL, or the end of the pipe: the shim is dead
            self._end_tree()
            self._leave()

    def _start(self) -> None:
        guard = os.getpid()
        gate = Gate(is_around=self._errand.options is not None) if self._errand.is_gated else None
        pid = os.fork()
        if pid == 0:
            _become(self._errand, self._line.status, guard, gate)
        self._command = pid
        for descriptor in set(self._errand.descriptors):
            os.close(descriptor)  # or the shim would never see the end of the output
        if gate is not None:
            gate.stand()
            self._gate = gate
            self._poll.register(gate.word, select.POLLIN)

    def _hear_gate(self, gate: Gate) -> None:
        """The sandbox stands and the command may begin, or it cannot be found there; or there was no sandbox to say so."""
        word = gate.hear()
        self._poll.unregister(gate.word)
        if word == GATE_UP and self._command is not None:
            self._say(f"standing {self._command}")
        elif word == GATE_MISSING:
            self._say(f"failed {errno.ENOENT}")
        else:
            self._say("barred")

    def _open(self) -> None:
        """Lets the command in the sandbox begin, unless that has fallen meanwhile."""
        if self._gate is not None and self._command is not None and not self._is_buried:
            self._gate.open(self._command)
            self._say(f"started {self._command}")

    def _is_empty(self) -> bool:
        """Buries the dead; whether nobody is left. Orphans come to us, so no child means no descendant."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return kernel.ADOPTS or not tree.members(os.getpid(), self._marker)
            if not pid:
                return False
            if pid == self._command:
                if self._gate is not None:
                    if not self._gate.has_spoken:
                        self._hear_gate(self._gate)
                    status = self._gate.true_status(status)
                self._is_buried = True
                self._say(f"ended {status}")

    def _end_tree(self) -> None:
        pause = 0.001
        while not self._is_empty():
            if not tree.strike(os.getpid(), self._marker) and tree.is_others(os.getpid(), self._marker):
                return
            if select.select([self._children], [], [], pause)[0]:
                self._drain()
            pause = min(2 * pause, _SLOWEST)

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._children, 4096)

    def _say(self, what: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # the shim has died, which the other pipe tells
            os.write(self._line.status, what.encode() + b"\n")

    def _leave(self) -> typing.NoReturn:
        self._say("empty")
        os._exit(0)


def _become(errand: Errand, status: int, guard: int, gate: Gate | None) -> typing.NoReturn:
    """Turns the process just forked into the command: its own session, the default signals, nothing inherited.

    Until it dies with its guard it is of the guard's session, by which it is found if the guard is killed over it.
    """
    try:
        kernel.die_with_parent()
        if os.getppid() != guard:
            os._exit(127)
        os.setsid()
        _raise_oom_score()
        if gate is not None:
            kernel.forget_keys()
        submit(errand.bounds)
        kernel.reset_signals(numbers=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
        if errand.bounds.file is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write that fails says why, a process that is killed leaves a core
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        # Twice, since one of them may stand where another has to go.
        given = (*errand.descriptors, *(() if gate is None else gate.inside))
        status, *high = [_dup_high(descriptor) for descriptor in (status, *given)]
        for target, descriptor in enumerate(high):
            os.dup2(descriptor, target)
        os.chdir(errand.directory)
        # Said here and not by the guard, which what comes next may stop before it gets to a word.
        if gate is None:
            os.write(status, f"started {os.getpid()}\n".encode())
        os.execve(errand.program, errand.argv, errand.environment)
    except OSError as error:
        os.write(status, f"failed {error.errno}\n".encode())
    finally:
        os._exit(127)


def _dup_high(descriptor: int) -> int:
    """A copy, with a number behind those that the command is given."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)


def _raise_oom_score() -> None:
    """When memory runs out it is the agent that goes."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "wb", buffering=0) as file:
        file.write(OOM_SCORE)
