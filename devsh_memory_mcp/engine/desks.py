"""The orchestrations that a runner has open; what goes wrong with one closes that one, and no other."""

import traceback
from collections.abc import Awaitable, Callable
from typing import TypeVarTuple

from anyio.abc import TaskGroup

from devsh_memory_mcp.engine.desk import Attempt, Desk, Fenced

Arguments = TypeVarTuple("Arguments")
Log = Callable[[str], None]


class Desks:
    """Open desks by orchestration id, and the attempts on them by what their shims call themselves.

    `abandoned` are those that were closed for a fault of theirs: their shims go on, and the next ring opens them again.
    """

    def __init__(self, tasks: TaskGroup, log: Log) -> None:
        self.log = log
        self.open: dict[str, Desk] = {}
        self.attempts: dict[tuple[str, int], Attempt] = {}
        self.abandoned: set[str] = set()
        self._tasks = tasks

    def begin(self, desk: Desk, work: Callable[[*Arguments], Awaitable[object]], *arguments: *Arguments) -> None:
        """Work on one desk, beside everything else."""
        self._tasks.start_soon(self.alone, desk, lambda: work(*arguments))

    async def alone(self, desk: Desk, work: Callable[[], Awaitable[object]]) -> bool:
        """Work on one desk, whose fault it is if it fails; whether it was done."""
        try:
            await work()
        except Fenced:
            raise
        except Exception as error:  # noqa: BLE001  the top of all work on one orchestration: the others go on
            self.abandon(desk, error)
            return False
        return True

    def add(self, desk: Desk, attempt: Attempt) -> None:
        """A place is taken."""
        desk.attempts[attempt.task_id] = attempt
        self.attempts[attempt.key] = attempt

    def drop(self, desk: Desk, attempt: Attempt) -> None:
        """A place is free."""
        desk.attempts.pop(attempt.task_id, None)
        self.attempts.pop(attempt.key, None)

    def of(self, attempt: Attempt) -> Desk | None:
        """The desk of an attempt, None where it was closed."""
        return self.open.get(attempt.run.orchestration_id)

    def abandon(self, desk: Desk, error: Exception) -> None:
        """Closes a desk that cannot be worked on."""
        if self.open.get(desk.orchestration_id) is desk:
            del self.open[desk.orchestration_id]
            self.abandoned.add(desk.orchestration_id)
            self.log(f"{desk.orchestration_id} is left alone: {''.join(traceback.format_exception(error))}")
        for attempt in list(desk.attempts.values()):
            self.attempts.pop(attempt.key, None)
