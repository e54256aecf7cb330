"""The shim's end of a guard: start a command behind it, let it go, end its tree, and hear how it ended."""

import contextlib
import errno
import gc
import os
import signal
import time
import typing

from devsh_memory_mcp.shim import census, guard, tree
from devsh_memory_mcp.shim.bounds import Bounds
from devsh_memory_mcp.shim.feed import Feed
from devsh_memory_mcp.shim.loop import Loop
from devsh_memory_mcp.shim.output import Stream
from devsh_memory_mcp.shim.rundir import RUN_MARKER, Process

_OBEYS_WITHIN = 1.0  # seconds for a guard to end its tree
_STANDS_WITHIN = 20.0  # seconds for a sandbox to be made, on a machine that is busy
_DRAIN_SECONDS = 2.0  # a descriptor that was handed to somebody outside the tree may stay open for ever


class Task(typing.NamedTuple):
    """A command of the agent's, and where its input comes from and its output goes. With `is_spoken_to` more input can follow.

    `options` are bubblewrap's, where the command is that. Where it `is_gated` it begins once its walls stand.
    """

    argv: tuple[str, ...]
    environment: dict[str, str]
    directory: str
    stdout: Stream
    stderr: Stream
    stdin: bytes | None = None
    is_spoken_to: bool = False
    options: bytes | None = None
    is_gated: bool = False
    bounds: Bounds = Bounds()


class Wall:
    """One guard and the tree behind it. Nothing runs before `go`."""

    def __init__(self, loop: Loop, task: Task, lock: int) -> None:
        self._loop = loop
        self._streams = {task.stdout, task.stderr}
        self._spoken = b""
        self._is_enclosed = task.is_gated
        self._marker = task.environment[RUN_MARKER]
        self._sandbox: int | None = None  # the pid of what was started, when its walls stand
        self.command: int | None = None  # the pid of the command's own process
        self.status: int | None = None  # how it ended, as wait gives it
        self.failure: int | None = None  # the errno for which it could not be started
        self.is_barred = False  # there was no sandbox to start it in
        self.is_empty = False  # nobody is left behind the guard
        self.is_gone = False  # the guard itself has ended
        self._feed: Feed | None = None
        guard_pid = self._fork(task, lock)
        loop.keep_going(guard_pid)  # or what it guards could keep its own end from being told
        self.process: Process | None = census.identify(guard_pid)

    def _fork(self, task: Task, lock: int) -> int:
        orders, self._orders = os.pipe()
        self._status, status = os.pipe()
        stdin, feed = _open_input(task.stdin)
        pipes = {stream: os.pipe() for stream in self._streams}
        options = None if task.options is None else _laid_out(task.options)
        errand = guard.Errand(
            find_program(task.argv[0], task.environment), task.argv, task.environment, task.directory,
            stdin, pipes[task.stdout][1], pipes[task.stderr][1], options, task.is_gated, task.bounds,
        )  # fmt: skip
        gc.freeze()  # or the collector would touch, and so copy, every page that the two share
        pid = os.fork()
        if pid == 0:
            guard.stand(errand, guard.Line(orders, status, (lock,)))
        for descriptor in {orders, status, *errand.descriptors}:
            os.close(descriptor)
        for stream, (reading, _) in pipes.items():
            stream.attach(self._loop, reading)
        os.set_blocking(self._status, False)
        self._loop.read(self._status, self._listen)
        if feed is not None and task.stdin is not None:
            self._feed = Feed(self._loop, feed, task.stdin, stays_open=task.is_spoken_to)
        return pid

    def say(self, content: bytes) -> None:
        """More input for the command."""
        if self._feed is not None:
            self._feed.write(content)

    def hush(self) -> None:
        """The command's input ends here."""
        if self._feed is not None:
            self._feed.close()

    def dismiss(self) -> None:
        """The command has nothing more to do, and its tree is ended."""
        if not self.has_ended:
            self._order(guard.KILL)

    @property
    def has_ended(self) -> bool:
        """Whether the command's own process is over, or nobody is left to say so."""
        return self.status is not None or self.is_gone

    @property
    def has_run(self) -> bool:
        """Whether the command was started and has come to its own end, by all that the guard has said until now."""
        if not self.is_gone:
            self._listen()
        return self.status is not None and self.failure is None

    def go(self, furnish: typing.Callable[[int], object] = lambda _sandbox: None) -> bool:
        """Lets the command start and waits until it has, or could not; whether it has.

        `furnish` is called with the pid of a sandbox that stands, before anything runs in it.
        """
        self._order(guard.GO)
        until = time.monotonic() + _STANDS_WITHIN if self._is_enclosed else None
        is_in_time = self._loop.wait(lambda: self._sandbox is not None or self._has_begun, until)
        if self._sandbox is not None and not self._has_begun:
            furnish(self._sandbox)
            self._order(guard.OPEN)
            is_in_time = self._loop.wait(lambda: self._has_begun, until)
        if not is_in_time:
            self.is_barred, self.failure = True, errno.ETIMEDOUT
        return self.command is not None and self.failure is None

    @property
    def _has_begun(self) -> bool:
        """Whether there is nothing left to wait for before it."""
        return self.command is not None or self.failure is not None or self.has_ended

    def why_not_started(self, name: str, said: str) -> str:
        """Why the command, called `name`, has a `failure`; `said` is the end of what was printed."""
        if not self.is_barred:
            return f"{name} cannot be started: {os.strerror(self.failure or 0)}"
        words = said.strip().rpartition("\n")[2][:500] or os.strerror(self.failure or 0)
        return f"Its sandbox could not be made: {words}. `--sandbox none` is without one."

    def end(self, grace: float, spared: typing.Container[int] = ()) -> None:
        """Ends the tree: SIGTERM, `grace` seconds, SIGKILL. Returns when nobody is left and the output has been read.

        A guard that does not obey, being stopped, is killed. Where it was killed its orphans have come to the shim, which then
        ends them itself.
        """
        if not self.is_empty and not self.is_gone and self.command is not None:
            self._demand(guard.ASK)
            self._loop.wait(lambda: self.is_empty or self.is_gone, time.monotonic() + grace)
        if not self.is_empty and not self.is_gone:
            self._demand(guard.KILL)
            self._loop.wait(lambda: self.is_empty or self.is_gone, time.monotonic() + _OBEYS_WITHIN)
        if not self.is_empty and not self.is_gone and self.process is not None:
            census.end(self.process, _OBEYS_WITHIN)
        if not self.is_empty:
            self._end_orphans(spared)
        self._loop.wait(lambda: all(stream.is_closed for stream in self._streams), time.monotonic() + _DRAIN_SECONDS)
        for stream in self._streams:
            stream.finish()
        if self._feed is not None:
            self._feed.abandon()
        self._loop.close(self._orders)

    def _end_orphans(self, spared: typing.Container[int]) -> None:
        pause = 0.001
        while tree.strike(os.getpid(), self._marker, spared) or self._strike_marked():
            self._loop.wait(lambda: False, time.monotonic() + pause)
            pause = min(2 * pause, 0.1)

    def _strike_marked(self) -> bool:
        """Orphans that did not come to us, since a runner was being started when they became some."""
        return tree.kill(census.marked(self._marker))

    def _order(self, order: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # the status pipe tells that the guard has gone
            os.write(self._orders, order)

    def _demand(self, order: bytes) -> None:
        """The same for the end, which comes about without the guard as well."""
        with contextlib.suppress(OSError):
            self._order(order)

    def _listen(self) -> None:
        try:
            content = os.read(self._status, 4096)
        except BlockingIOError:
            return  # it was listened to in between
        if not content:
            self.is_gone = True
            self._loop.close(self._status)
            return
        *lines, self._spoken = (self._spoken + content).split(b"\n")
        for line in lines:
            word, _, number = line.partition(b" ")
            if word == b"standing":
                self._sandbox = int(number)
            elif word == b"started":
                self.command = int(number)
            elif word == b"failed":
                self.failure = int(number)
            elif word == b"barred":
                self.is_barred, self.failure = True, errno.EPERM
            elif word == b"ended":
                self.status = int(number)
            elif word == b"empty":
                self.is_empty = True


def decode_status(status: int | None) -> tuple[int | None, int | None]:
    """Exit code and signal of a wait status; one of them is set, none where it is not known."""
    if status is None:
        return None, None
    code = os.waitstatus_to_exitcode(status)
    return (code, None) if code >= 0 else (None, -code)


def find_program(name: str, environment: typing.Mapping[str, str]) -> str:
    """The program as this environment's PATH has it; `name` itself where it is a path or is not found."""
    if "/" in name:
        return name
    for directory in environment.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(directory, name)
        if directory and os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    return name


def describe_signal(number: int) -> str:
    """SIGTERM for 15, and the number where it has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _open_input(content: bytes | None) -> tuple[int, int | None]:
    if content is None:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), None
    return os.pipe()


def _laid_out(content: bytes) -> int:
    """A descriptor to read it from, which has no name."""
    descriptor = os.memfd_create("options")
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
