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

    `serving` are those that are open, opening, closing, or to be opened again after a pause or when their event is set; `abandoned`
    those that nothing but a person can mend: their shims go on, and the next ring opens them again. The first pause is `again` seconds.
    """

    def __init__(self, log: Log, *, again: float = 1.0) -> None:
        self.log = log
        self._again = again
        self.open: dict[str, Desk] = {}
        self.attempts: dict[tuple[str, int], Attempt] = {}
        self.serving: dict[str, anyio.Event] = {}
        self.abandoned: set[str] = set()
        self.is_complete = False  # those that had work before are among them
        self._launching = anyio.Semaphore(LAUNCHING)

    @property
    def working(self) -> list[Desk]:
        """Those that were taken over and are not being closed."""
        return [desk for desk in self.open.values() if desk.is_taken_over and not desk.tasks.cancel_scope.cancel_called]

    @property
    def are_settled(self) -> bool:
        """Whether all that have work are known and open."""
        return self.is_complete and self.serving.keys() == self.open.keys()

    def take(self, name: str) -> bool:
        """Whether nobody serves it yet; from now on somebody does. Who does and has it not open is rung."""
        if name in self.serving:
            if name not in self.open:
                self.serving[name].set()
            return False
        self.serving[name] = anyio.Event()
        return True

    async def serve(self, name: str, make: Callable[[], Desk], take_over: Callable[[Desk], Awaitable[object]], opened: anyio.Event) -> None:
        """One orchestration that was taken, for as long as it can be worked on. `opened` is set when it was taken over, or could not be.

        After trouble that may pass it is taken over again, by itself: nobody rings where the trouble is the disk's.
        """

        async def open_up(desk: Desk) -> None:
            await take_over(desk)
            opened.set()

        self.abandoned.discard(name)
        pause = self._again
        while True:
            began, desk = anyio.current_time(), make()
            failures = await self.keep(desk, partial(open_up, desk))
            rung = self.serving[name]
            if not failures or (not all(map(_may_pass, failures)) and not rung.is_set()):
                break
            self.log(f"{name} cannot be worked on now: {'; '.join(map(str, failures))}")
            opened.set()
            if anyio.current_time() > began + _LONGEST_PAUSE:
                pause = self._again
            with anyio.move_on_after(pause):
                await rung.wait()
            pause = min(2 * pause, _LONGEST_PAUSE)
            self.serving[name] = anyio.Event()
        for failure in failures:
            self.log(f"{name} is left alone: {''.join(traceback.format_exception(failure))}")
        if failures:
            self.abandoned.add(name)
        del self.serving[name]
        opened.set()

    async def keep(self, desk: Desk, take_over: Callable[[], Awaitable[object]]) -> list[Exception]:
        """Has the desk open from its taking over until something on it fails, which is answered, or somebody cancels.

        Nothing that was begun on it is left behind, and its journal is closed. Fenced is raised.
        """
        self.open[desk.orchestration_id] = desk
        found: list[Exception] = []
        try:
            async with anyio.create_task_group() as desk.tasks:
                await take_over()
        except* Fenced:
            raise
        except* Exception as failures:  # noqa: BLE001  the top of all work on one orchestration: the others go on
            found = list(_leaves(failures))
        finally:
            del self.open[desk.orchestration_id]
            for attempt in list(desk.attempts.values()):
                self.drop(desk, attempt)
            desk.hang_up()
            with anyio.CancelScope(shield=True):
                await desk.journal.aclose()
        return found

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
    """Whether it is the machine's trouble, and not one that only a person can mend. What is gone is not waited for."""
    lasting = (JournalDamaged, FormatTooNew, FileNotFoundError)
    return isinstance(failure, (OSError, Unavailable)) and not isinstance(failure, lasting)


def _leaves(failures: BaseExceptionGroup[Exception]) -> Iterator[Exception]:
    for failure in failures.exceptions:
        if isinstance(failure, BaseExceptionGroup):
            yield from _leaves(failure)
        else:
            yield failure
