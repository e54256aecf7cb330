"""How much of the disk an attempt's commands may come to hold: counted now and then by a child, since a loop cannot wait for a disk.

Of the checkout and of the private directories of a sandbox only what has come since the command began counts.
"""

import gc
import os
import signal
import time
import typing

from devsh_memory_mcp.shim import kernel, rundir
from devsh_memory_mcp.shim.bounds import size_words
from devsh_memory_mcp.shim.footprint import held, held_before
from devsh_memory_mcp.shim.loop import Timer
from devsh_memory_mcp.shim.place import Place
from devsh_memory_mcp.shim.process import Interrupted

DISK = "disk"
_SHORTEST = 2.0  # seconds between two counts
_SHARE = 20  # of the time, of which counting takes one part
_RAREST = 300.0  # seconds between two counts, however long they take: in more an agent fills any disk
_LONGEST = 600  # seconds, for one count


class Allowance:
    """`over` is called with the cause when there is more than `size` bytes; without a size nothing is counted.

    `warn` is told once when that could not be counted.
    """

    def __init__(
        self,
        place: Place,
        size: int | None,
        over: typing.Callable[[str], object],
        warn: typing.Callable[[str], object],
        count: typing.Callable[[typing.Sequence[str], float], int] = held,
    ) -> None:
        self._place = place
        self._loop = place.loop
        self._size = size
        self._over = over
        self._warn = warn
        self._held_now = count
        self._is_warned = False
        self._private = f"{place.directory}/{rundir.SANDBOX_DIRECTORY}"
        self._roots = (f"{place.directory}/{rundir.WORKSPACE_DIRECTORY}", self._private)
        self._before: int | None = None
        self._held = 0
        self._child: _Child | None = None
        self._timer: Timer | None = None
        self._pause = _SHORTEST

    def begin(self) -> None:
        """Counts what is there before a command that it is not of. OSError where that is not to be had, Interrupted."""
        if self._size is None:
            return
        self._before = None
        child = self._count(lambda: held_before(self._roots))
        self._loop.wait(lambda: child.is_over or self._place.door.is_unwanted())
        is_given_up = not child.is_over
        self.rest()
        if is_given_up:
            raise Interrupted
        if child.answer is None:
            raise OSError("What its checkout holds could not be counted, and so no limit of it be kept.")
        self._before = child.answer
        self._set_pause(child)

    def watch(self) -> None:
        """Looks at it from now on, less often where a look takes longer."""
        if self._before is not None:
            self._timer = self._loop.at(time.monotonic() + self._pause, self._look)

    def rest(self) -> None:
        """Looks no more, whatever is under way."""
        if self._timer is not None:
            self._loop.cancel(self._timer)
        if self._child is not None:
            self._child.end()

    def why_ended(self) -> str:
        """How much it was."""
        more, most = size_words(self._held), size_words(self._size or 0)
        return f"It was ended: {self._where()} held {more} more than when it began, of which it has {most}; give it more with --disk."

    def _where(self) -> str:
        return "its checkout, HOME and /tmp" if os.path.isdir(self._private) else "its checkout"

    def _look(self) -> None:
        before, size = self._before or 0, self._size or 0
        try:
            self._count(lambda: self._held_now(self._roots, before + size), self._judge)
        except OSError as error:  # no room for another process
            self._note_failure(str(error))
            self.watch()

    def _judge(self, child: "_Child") -> None:
        self._set_pause(child)
        if child.answer is None:
            self._note_failure("the process that counted it has died")
        self._held = (child.answer or 0) - (self._before or 0)
        if self._held > (self._size or 0):
            self._over(DISK)
        else:
            self.watch()

    def _note_failure(self, why: str) -> None:
        self._place.door.note(f"the disk's room is not counted: {why}")
        if not self._is_warned:
            most = size_words(self._size or 0)
            self._warn(f"What {self._where()} held could not be counted ({why}), so that its limit of {most} was not always kept.")
            self._is_warned = True

    def _count(self, count: typing.Callable[[], int], heard: typing.Callable[["_Child"], object] = lambda _child: None) -> "_Child":
        self._child = _Child(self._place, count, heard)
        return self._child

    def _set_pause(self, child: "_Child") -> None:
        self._pause = pause_after(child.seconds)


def pause_after(seconds: float) -> float:
    """How long nothing is looked at after a look that took so long."""
    return min(max(_SHORTEST, _SHARE * seconds), _RAREST)


class _Child:
    """One count; `heard` is called with it when it is over. OSError where there can be no child."""

    def __init__(self, place: Place, count: typing.Callable[[], int], heard: typing.Callable[["_Child"], object]) -> None:
        self._loop = place.loop
        self._heard = heard
        self._began = time.monotonic()
        self._reading, writing = os.pipe()
        self.answer: int | None = None  # None where it has died over it
        self.is_over = False
        self.seconds = 0.0
        shim = os.getpid()
        try:
            self._pid: int | None = os.fork()
        except OSError:
            os.close(self._reading)
            raise
        else:
            if self._pid == 0:
                _become(writing, count, shim)
        finally:
            os.close(writing)
        self._loop.child(self._pid, self._note_end)
        self._loop.read(self._reading, self._take)

    def end(self) -> None:
        """Gives it up, where it is not over."""
        if not self.is_over:
            self.is_over = True
            self._loop.close(self._reading)
        if self._pid is not None:
            os.kill(self._pid, signal.SIGKILL)

    def _take(self) -> None:
        content = os.read(self._reading, 64)
        self._loop.close(self._reading)
        self.answer = int(content) if content else None
        self.is_over, self.seconds = True, time.monotonic() - self._began
        self._heard(self)

    def _note_end(self, _status: int) -> None:
        self._pid = None


def _become(writing: int, count: typing.Callable[[], int], shim: int) -> typing.NoReturn:
    """Turns the process just forked into one that counts: nothing of the shim's is open, and it yields to all others."""
    try:
        kernel.die_with_parent()
        if os.getppid() != shim:
            os._exit(1)
        kernel.reset_signals(signal.SIGINT)
        kernel.close_all_but({writing})
        gc.disable()  # it would touch, and so copy, every page that the two share
        signal.alarm(_LONGEST)
        os.nice(10)
        os.write(writing, str(count()).encode())
        os._exit(0)
    finally:
        os._exit(1)  # nothing may return into the shim's own code
