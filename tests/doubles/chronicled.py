"""An orchestration that is nothing but a journal: events happen when a test says so, and it knows who follows."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio

from devsh_memory_mcp.domain import events
from devsh_memory_mcp.domain.records import TaskSpec, Totals
from devsh_memory_mcp.ports import Change

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Clock:
    def now(self) -> datetime:
        return BEGAN + timedelta(seconds=anyio.current_time())

    def monotonic(self) -> float:
        return anyio.current_time()


class Chronicled:
    def __init__(self, orchestration_id: str = "orch_1") -> None:
        self.orchestration_id, self.directory = orchestration_id, None
        self.journal: list[events.Event] = []
        self.followers, self.readings = 0, 0
        self.fault: Exception | None = None
        self._news = anyio.Event()
        self.happen(events.OrchestrationCreated(orchestration_id=orchestration_id))

    def happen(self, *told: events.Event) -> int:
        """One commit; the last event's number."""
        self.journal.extend(told)
        self._news.set()
        self._news = anyio.Event()
        return len(self.journal)

    def spawn(self, number: int, **more: Any) -> int:
        spec = TaskSpec(prompt=f"task {number}", agent_name="shell/bash", environment={"PATH": "/opt/own"}, **more)
        ids = {"orchestration_task_id": f"ns{number:010}", "task_run_id": f"tr_{number:012}", "id": f"task{number}"}
        return self.happen(events.AgentSpawned(**ids, agent_name="shell/bash", spec=spec))

    def start(self, number: int, attempt: int = 1) -> int:
        ids = {"orchestration_task_id": f"ns{number:010}", "task_run_id": f"tr_{number:012}", "attempt": attempt}
        return self.happen(events.AttemptStarted(**ids))

    def complete(self, number: int, result: str = "done", attempt: int = 1) -> int:
        task = f"ns{number:010}"
        over = events.AttemptEnded(
            orchestration_task_id=task, task_run_id=f"tr_{number:012}", attempt=attempt, reason="exit", succeeded=True
        )
        return self.happen(over, events.AgentCompleted(orchestration_task_id=task, result=result))

    def fail(self, number: int, error: str = "no luck") -> int:
        return self.happen(events.AgentFailed(orchestration_task_id=f"ns{number:010}", reason="exit", error_message=error))

    def cancel(self, number: int) -> int:
        return self.happen(events.AgentCancelled(orchestration_task_id=f"ns{number:010}"))

    def retry(self, number: int, attempt: int = 1) -> int:
        ids = {"orchestration_task_id": f"ns{number:010}", "attempt": attempt}
        ended = events.AttemptEnded(**ids, task_run_id=f"tr_{number:012}", reason="exit", totals=Totals(exit_code=1))
        again = {**ids, "attempt": attempt + 1}
        return self.happen(ended, events.RetryScheduled(**again, reason="exit", not_before="2026-01-02T03:04:06Z", delay_ms=1))

    async def position(self) -> int:
        return len(self.journal)

    async def changes(self, after: int) -> AsyncIterator[Change]:
        self.followers += 1
        self.readings += 1
        try:
            while True:
                news = self._news
                if self.fault is not None:
                    raise self.fault
                for number, event in list(enumerate(self.journal, 1))[after:]:
                    after = number
                    yield Change(number, event.name, None, event, BEGAN + timedelta(seconds=number))
                await news.wait()
        finally:
            self.followers -= 1
