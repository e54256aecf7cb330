"""The process between a shim and a command of the agent's: it dies after the tree, and the tree dies with the shim.

It is forked and never executes anything itself. It reads orders from a pipe whose only writer is the shim; the end of that pipe
is the shim's death, upon which it kills everything below it and leaves. It holds the run's lock too, so that the lock is free
only after the tree has gone. What it says goes up the status pipe, a line at a time:

    started PID · failed ERRNO · ended STATUS (of the command's own process, as wait gives it) · empty (nobody is left; it leaves)
"""

import contextlib
import os
import select
import signal
import sys
import typing

from devsh_memory_mcp.shim import kernel, tree
from devsh_memory_mcp.shim.rundir import RUN_MARKER

GO, ASK, KILL = b"g", b"t", b"k"
_SLOWEST = 0.1  # seconds between sweeps where a killed process does not go, in the middle of a disk's failure for example


class Errand(typing.NamedTuple):
    """What a guard starts: the command, its place, its three descriptors."""

    program: str
    argv: tuple[str, ...]
    environment: dict[str, str]
    directory: str
    stdin: int
    stdout: int
    stderr: int


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
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # only the shim's orders count, or its death
        _close_all_but({0, 1, 2, *errand[4:], line.orders, line.status, *line.kept})
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
            if self._line.orders in ready:
                self._obey(os.read(self._line.orders, 1))

    def _obey(self, order: bytes) -> None:
        if order == GO:
            self._start()
        elif order == ASK:
            tree.ask(os.getpid(), self._marker)
        else:  # KILL, or the end of the pipe: the shim is dead
            self._end_tree()
            self._leave()

    def _start(self) -> None:
        guard = os.getpid()
        pid = os.fork()
        if pid == 0:
            _become(self._errand, self._line.status, guard)
        self._command = pid
        for descriptor in set(self._errand[4:]):
            os.close(descriptor)  # or the shim would never see the end of the output

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
                self._say(f"ended {status}")

    def _end_tree(self) -> None:
        pause = 0.001
        while not self._is_empty():
            tree.strike(os.getpid(), self._marker)
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


def _close_all_but(kept: set[int]) -> None:
    """Nothing of the shim's stays open here: an order pipe with a second writer would never end."""
    low = 0
    for descriptor in sorted(kept):
        if low < descriptor:  # an empty range, 0 to 0, is taken for all there are
            os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, max(low, os.sysconf("SC_OPEN_MAX")))


def _become(errand: Errand, status: int, guard: int) -> typing.NoReturn:
    """Turns the process just forked into the command: its own session, the default signals, nothing inherited.

    Until it dies with its guard it is of the guard's session, by which it is found if the guard is killed over it.
    """
    try:
        kernel.die_with_parent()
        if os.getppid() != guard:
            os._exit(127)
        os.setsid()
        _raise_oom_score()
        signal.set_wakeup_fd(-1)
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            with contextlib.suppress(OSError, ValueError):  # two belong to the C library
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        # Twice, since one of the three may stand where another has to go.
        high = [os.dup(descriptor) for descriptor in errand[4:]]
        for target, descriptor in enumerate(high):
            os.dup2(descriptor, target)
        os.chdir(errand.directory)
        # Said here and not by the guard, which what comes next may stop before it gets to a word.
        os.write(status, f"started {os.getpid()}\n".encode())
        os.execve(errand.program, errand.argv, errand.environment)
    except OSError as error:
        os.write(status, f"failed {error.errno}\n".encode())
    finally:
        os._exit(127)


def _raise_oom_score() -> None:
    """When memory runs out it is the agent that goes, not its shim or the runner."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "wb", buffering=0) as file:
        file.write(b"500")
