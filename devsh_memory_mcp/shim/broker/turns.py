"""Coroutines that wait for descriptors, taking turns in one thread.

Not asyncio: that costs each broker five megabytes more of its own and five times the start.
"""

import select
import sys
import time
import traceback
import types
import typing

READ, WRITE = select.POLLIN, select.POLLOUT
_TROUBLE = select.POLLERR | select.POLLHUP | select.POLLNVAL


class Wish(typing.NamedTuple):
    """What a coroutine waits for: a descriptor, another's end, or, with neither, its next turn."""

    descriptor: int | None = None
    event: int = 0
    task: "Task | None" = None
    until: float | None = None


Coroutine = typing.Coroutine[Wish, None, typing.Any]


class Task:
    """One coroutine, and what it waits for now."""

    def __init__(self, coroutine: Coroutine) -> None:
        self.coroutine = coroutine
        self.wish: Wish | None = None
        self.is_over = False
        self.waiters: list[Task] = []


@types.coroutine
def _wait(wish: Wish) -> typing.Generator[Wish, None, None]:
    yield wish


async def ready(descriptor: int, event: int, until: float | None = None) -> None:
    """Until the descriptor can be read or written, or has come to its end; TimeoutError at the instant `until`."""
    await _wait(Wish(descriptor, event, until=until))


async def joined(task: Task) -> None:
    """Until the other is over, however it ended."""
    if not task.is_over:
        await _wait(Wish(task=task))


async def breathe() -> None:
    """Lets the others have their turn."""
    await _wait(Wish())


class Turns:
    """The one loop. What a task does happens in its own turn alone: starting, stopping and interrupting only put it down for one."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._waiting: dict[tuple[int, int], Task] = {}
        self._timed: set[Task] = set()
        self._soon: dict[Task, Exception | None] = {}  # in their order, and nobody twice: a second turn would be another wish's

    def start(self, coroutine: Coroutine) -> Task:
        """Has its first turn soon."""
        task = Task(coroutine)
        self._soon[task] = None
        return task

    def stop(self, task: Task) -> None:
        """Ends another at what it waits for; its `finally` runs now and cannot wait."""
        if not task.is_over:
            task.coroutine.close()
            self._bury(task)

    def interrupt(self, task: Task, error: Exception) -> None:
        """Has it wake up with this error."""
        if not task.is_over:
            self._forget(task)
            self._soon[task] = error

    def run(self, last: Task) -> None:
        """Until that task is over."""
        while not last.is_over:
            for task in tuple(self._soon):
                if task in self._soon:  # or another has stopped it
                    self._step(task, self._soon.pop(task))
            if not last.is_over:
                self._look()

    def _step(self, task: Task, error: BaseException | None) -> None:
        try:
            wish = task.coroutine.throw(error) if error is not None else task.coroutine.send(None)
        except StopIteration:
            self._bury(task)
        except Exception:  # noqa: BLE001  the top of one task: the others go on
            traceback.print_exc(file=sys.stderr)
            self._bury(task)
        else:
            self._note(task, wish)

    def _note(self, task: Task, wish: Wish) -> None:
        task.wish = wish
        if wish.task is not None:
            wish.task.waiters.append(task)
        elif wish.descriptor is None:
            self._soon[task] = None
        else:
            self._waiting[wish.descriptor, wish.event] = task
            self._watch(wish.descriptor)
        if wish.until is not None:
            self._timed.add(task)

    def _forget(self, task: Task) -> None:
        wish, task.wish = task.wish, None
        self._timed.discard(task)
        if wish is None:
            return
        if wish.task is not None and task in wish.task.waiters:
            wish.task.waiters.remove(task)
        if wish.descriptor is not None and self._waiting.get((wish.descriptor, wish.event)) is task:
            del self._waiting[wish.descriptor, wish.event]
            self._watch(wish.descriptor)

    def _watch(self, descriptor: int) -> None:
        wanted = sum(event for event in (READ, WRITE) if (descriptor, event) in self._waiting)
        if wanted:
            self._poll.register(descriptor, wanted)
        else:
            self._poll.unregister(descriptor)

    def _look(self) -> None:
        instants = [task.wish.until for task in self._timed if task.wish is not None and task.wish.until is not None]
        pause = None if not instants else max(0, int((min(instants) - time.monotonic()) * 1000) + 1)
        for descriptor, events in self._poll.poll(0 if self._soon else pause):
            for event in (READ, WRITE):
                task = self._waiting.get((descriptor, event))
                if task is not None and events & (event | _TROUBLE):
                    self._forget(task)
                    self._soon[task] = None
        now = time.monotonic()
        for task in [task for task in self._timed if task.wish is not None and task.wish.until is not None and task.wish.until <= now]:
            self.interrupt(task, TimeoutError("it took too long"))

    def _bury(self, task: Task) -> None:
        task.is_over = True
        self._soon.pop(task, None)
        self._forget(task)
        waiters, task.waiters = task.waiters, []
        for waiter in waiters:
            self._forget(waiter)
            self._soon[waiter] = None
