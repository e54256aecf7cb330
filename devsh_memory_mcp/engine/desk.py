"""One orchestration as the runner holds it: its journal, its views, its running attempts.

Every commit goes through `decide_as_runner`: it is decided on a state in which this runner is still the latest, so that one which
was stopped, replaced and resumed does no harm.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from anyio import CancelScope, Event

from devsh_memory_mcp.config import VERSION
from devsh_memory_mcp.domain.events import AgentStarted, AttemptStarted, RunnerStarted
from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.domain.status import Status
from devsh_memory_mcp.ports import Committed, Decide, Decision
from devsh_memory_mcp.shim.rundir import Report, Run
from devsh_memory_mcp.store.journal import FileJournal
from devsh_memory_mcp.store.views import Views

Value = TypeVar("Value")


class Fenced(Exception):
    """Another runner has taken over; this one has to leave."""


@dataclass(eq=False)
class Attempt:
    """A live attempt. `ring` wakes its shim, None while it is not connected; `has_agent` where it was started under an earlier runner.

    `is_launched` from the moment at which there may be a shim, `is_launching` while it holds one of the turns at making checkouts.
    """

    task_id: str
    number: int
    directory: str
    run: Run
    ring: Callable[[], None] | None = None
    last_report: int = 0
    has_agent: bool = False
    is_launched: bool = False
    is_launching: bool = False
    is_ending: bool = False
    escalations: list[CancelScope] = field(default_factory=list)
    sent: set[int] = field(default_factory=set)

    @property
    def key(self) -> tuple[str, int]:
        """What its shim says hello with."""
        return self.run.task_run_id, self.number


@dataclass(eq=False)
class Desk:
    """An orchestration that has work. `pinned` are the tasks whose base may still have its ref in the user's repository."""

    orchestration_id: str
    directory: Path
    journal: FileJournal
    views: Views
    runner_id: str
    wake: Callable[[], None]
    attempts: dict[str, Attempt] = field(default_factory=dict)
    pinned: set[str] = field(default_factory=set)
    views_due: Event = field(default_factory=Event)
    views_seq: int = -1
    trouble: str = ""  # why the last commit could not be made

    async def take_over(self, pid: int) -> State:
        """Commits that this runner is the one from now on."""
        started = RunnerStarted(runner_id=self.runner_id, pid=pid, version=VERSION)
        await self.journal.transact(lambda _state, _now: Decision((started,), None))
        return await self.journal.read()

    async def transact(self, decide: Decide[Value]) -> Committed[Value]:
        """Commits as the runner; Fenced where another one has taken over."""

        def decide_as_runner(state: State, now: datetime) -> Decision[Value]:
            if state.runner_id != self.runner_id:
                raise Fenced(f"runner {state.runner_id} has taken over {state.orchestration_id}")
            return decide(state, now)

        return await self.journal.transact(decide_as_runner)

    def attempt_directory(self, task: Task) -> str:
        """Where the task's current attempt lives."""
        return str(self.directory / "runs" / task.task_run_id / str(task.attempt))


def start_attempts(state: State, task_ids: list[str], is_ready: Callable[[Task], bool]) -> Decision[list[str]]:
    """The events that take places for those of the tasks that may still start."""
    events: list[AttemptStarted] = []
    for task_id in task_ids:
        task = state.tasks.get(task_id)
        if task is None or task.status is not Status.PENDING or task.held or task.cancel_requested or not is_ready(task):
            continue
        events.append(AttemptStarted(orchestration_task_id=task_id, task_run_id=task.task_run_id, attempt=task.attempt + 1))
    return Decision(tuple(events), [event.orchestration_task_id for event in events])


def tell_started(state: State, attempt: Attempt, reports: list[Report]) -> Decision[None]:
    """The event for an agent that has begun to run; nothing where it is known, or no longer the current attempt."""
    task = state.tasks.get(attempt.task_id)
    started = next((report for report in reports if report.type == "agent_started"), None)
    if started is None or task is None or task.live_attempt != attempt.number or task.agent_started:
        return Decision((), None)
    event = AgentStarted(
        orchestration_task_id=attempt.task_id,
        task_run_id=task.task_run_id,
        attempt=attempt.number,
        n=started.n,
        agent_name=task.spec.agent_name,
    )
    return Decision((event,), None)
