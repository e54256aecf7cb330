"""The orchestrations that a runner has open; what goes wrong with one closes that one, and no other."""

import traceback
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from functools import partial
from typing import Any, TypeVarTuple

import anyio

from devsh_memory_mcp.engine.desk import Attempt, Desk, Fenced
from devsh_memory_mcp.errors import FormatTooNew, JournalDamaged, Unavailable

Arguments = TypeVarTuple("Arguments")
Log = Callable[[str], None]
LAUNCHING = 4  # checkouts that are made at the same time
_LONGEST_PAUSE = 60.0  # seconds between two tries to take an orchestration over


class Desks:
    """Open desks by orchestration id, and the attempts on them by what their shims call themselves.

    `troubled` are those that are to be opened again, after a pause or when their event is set; `abandoned` those that nothing but a
    person can mend: their shims go on, and the next ring opens them again. The first pause is `again` seconds.
    """

    def __init__(self, log: Log, *, again: float = 1.0) -> None:
        self.log = log
        self._again = again
        self.open: dict[str, Desk] = {}
        self.attempts: dict[tuple[str, int], Attempt] = {}
        self.troubled: dict[str, anyio.Event] = {}
        self.abandoned: set[str] = set()
        self._launching = anyio.Semaphore(LAUNCHING)

    async def serve(self, make: Callable[[], Desk], take_over: Callable[[Desk], Awaitable[object]], opened: anyio.Event) -> None:
        """One orchestration for as long as it can be worked on. `opened` is set when it was taken over, or could not be.

        After trouble that may pass it is taken over again, by itself: nobody rings where the trouble is the disk's.
        """

        async def open_up(desk: Desk) -> None:
            await take_over(desk)
            opened.set()

        for pause in _pauses(self._again):
            desk = make()
            name = desk.orchestration_id
            self.abandoned.discard(name)
            failure = await self.keep(desk, partial(open_up, desk))
            if failure is None or not _may_pass(failure):
                break
            self.log(f"{name} cannot be worked on now: {failure}")
            rung = self.troubled[name] = anyio.Event()
            opened.set()
            with anyio.move_on_after(pause):
                await rung.wait()
            del self.troubled[name]
        if failure is not None:
            self.log(f"{name} is left alone: {''.join(traceback.format_exception(failure))}")
            self.abandoned.add(name)
        opened.set()

    async def keep(self, desk: Desk, take_over: Callable[[], Awaitable[object]]) -> Exception | None:
        """Has the desk open from its taking over until something on it fails, which is answered, or somebody cancels.

        Nothing that was begun on it is left behind, and its journal is closed. Fenced is raised.
        """
        self.open[desk.orchestration_id] = desk
        failure = None
        try:
            async with anyio.create_task_group() as desk.tasks:
                await take_over()
        except* Fenced:
            raise
        except* Exception as failures:  # noqa: BLE001  the top of all work on one orchestration: the others go on
            failure = _first(failures)
        finally:
            del self.open[desk.orchestration_id]
            for attempt in list(desk.attempts.values()):
                self.drop(desk, attempt)
            desk.hang_up()
            with anyio.CancelScope(shield=True):
                await desk.journal.aclose()
        return failure

    def begin(self, desk: Desk, work: Callable[[*Arguments], Coroutine[Any, Any, object]], *arguments: *Arguments) -> None:
        """Work on one desk, beside everything else; none where it has been closed.

        Nor where it is about to be: anyio does not cancel what is started in a group of which it has cancelled all.
        """
        if self.open.get(desk.orchestration_id) is desk and not desk.tasks.cancel_scope.cancel_called:
            desk.tasks.start_soon(work, *arguments)

    async def alone(self, desk: Desk, work: Callable[[], Awaitable[object]]) -> bool:
        """Work on one desk for somebody who has others as well; whether it was done. Its fault closes the desk."""
        try:
            await work()
        except Fenced:
            raise
        except Exception as error:  # noqa: BLE001  it is raised where the desk is kept
            self.begin(desk, _fail, error)
            return False
        return True

    def add(self, desk: Desk, attempt: Attempt) -> None:
        """A place is taken."""
        desk.attempts[attempt.task_id] = attempt
        self.attempts[attempt.key] = attempt

    def drop(self, desk: Desk, attempt: Attempt) -> None:
        """A place is free."""
        self.release(attempt)
        desk.attempts.pop(attempt.task_id, None)
        self.attempts.pop(attempt.key, None)

    async def await_turn(self, attempt: Attempt) -> None:
        """Waits until its checkout may be made; `release` gives the turn back."""
        await self._launching.acquire()
        attempt.is_launching = True

    def release(self, attempt: Attempt) -> None:
        """Its checkout is made, or is not made any more."""
        if attempt.is_launching:
            attempt.is_launching = False
            self._launching.release()

    def of(self, attempt: Attempt) -> Desk | None:
        """The desk of an attempt, None where it was closed."""
        desk = self.open.get(attempt.run.orchestration_id)
        return desk if desk is not None and desk.attempts.get(attempt.task_id) is attempt else None


async def _fail(error: Exception) -> None:
    raise error


def _may_pass(failure: Exception) -> bool:
    """Whether it is the machine's trouble, and not one that only a person can mend."""
    return isinstance(failure, (OSError, Unavailable)) and not isinstance(failure, (JournalDamaged, FormatTooNew))


def _pauses(first: float) -> Iterator[float]:
    """Seconds between tries to take an orchestration over, for ever."""
    while True:
        yield min(first, _LONGEST_PAUSE)
        first *= 2


def _first(failures: BaseExceptionGroup[Exception]) -> Exception:
    """The first of them that is no group."""
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
