"""One orchestration as the runner holds it: its journal, its views, its running attempts.

Every commit goes through `decide_as_runner`: it is decided on a state in which this runner is still the latest, so that one which
was stopped, replaced and resumed does no harm.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from anyio import CancelScope, Event, to_thread
from anyio.abc import TaskGroup

from devsh_memory_mcp.agents.catalogue import find_adapter
from devsh_memory_mcp.config import VERSION
from devsh_memory_mcp.domain.events import (
    AgentNeedsInput,
    AgentStarted,
    AttemptStarted,
    NetworkRefused,
    OrchestrationCreated,
    RunnerStarted,
    TaskHeld,
)
from devsh_memory_mcp.domain.events import Event as JournalEvent
from devsh_memory_mcp.domain.records import Credential
from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.domain.status import Status
from devsh_memory_mcp.domain.totals import limits_of
from devsh_memory_mcp.engine.correspondence import mark_read, message_text
from devsh_memory_mcp.engine.refusals import Refusals, advice, has_expired, renewal_advice
from devsh_memory_mcp.engine.vault import Vault, missing
from devsh_memory_mcp.ports import Committed, Decide, Decision
from devsh_memory_mcp.shim.confinement import GUARD
from devsh_memory_mcp.shim.limits import in_force_in
from devsh_memory_mcp.shim.rundir import Letter, Report, Run, sweep
from devsh_memory_mcp.store.journal import FileJournal
from devsh_memory_mcp.store.views import Views

Value = TypeVar("Value")
TOLD = frozenset({"agent_started", "needs_input", "network", "delivered"})  # the reports that the journal has a line for


class Fenced(Exception):
    """Another runner has taken over; this one has to leave."""


@dataclass(eq=False)
class Attempt:
    """A live attempt. `ring` wakes its shim, None while it is not connected; `has_agent` once its agent runs.

    `is_launched` from the moment at which there may be a shim, `is_launching` while it holds one of the turns at making checkouts.
    `is_starting` while one is being launched, `is_awaited` while its lock is waited for; `has_gone` once its shim was said to have ended.
    `is_unwanted` once it was to be cancelled; `unreadable` is how often its reports could not be read.
    `leads` is what it is to lead, if it is a head, and `token` the variable of its token, where it has one.
    `launches` is how often this runner has started one, since a process may die before it is a shim. `is_inherited` where an earlier
    runner may have started one.
    """

    task_id: str
    number: int
    directory: str
    run: Run
    ring: Callable[[], None] | None = None
    last_report: int = 0
    has_agent: bool = False
    is_launched: bool = False
    launches: int = 0
    is_inherited: bool = False
    is_starting: bool = False
    is_awaited: bool = False
    has_gone: bool = False
    is_launching: bool = False
    is_unwanted: bool = False
    unreadable: int = 0
    is_ending: bool = False
    escalations: list[CancelScope] = field(default_factory=list)
    sent: set[int] = field(default_factory=set)
    credential: Credential | None = None
    leads: OrchestrationCreated | None = None
    token: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def is_busy(self) -> bool:
        """Whether somebody sees to its start or its end already."""
        return self.is_starting or self.is_awaited or self.is_ending

    @property
    def key(self) -> tuple[str, int]:
        """What its shim says hello with."""
        return self.run.task_run_id, self.number

    @property
    def has_begun(self) -> bool:
        """Whether the journal knows of something that its shim has reported, whatever has become of the report since."""
        return self.has_agent or self.last_report > 0


@dataclass(eq=False)
class Desk:
    """An orchestration that has work. `pinned` are the tasks whose base may still have its ref in the user's repository."""

    orchestration_id: str
    directory: Path
    journal: FileJournal
    views: Views
    runner_id: str
    wake: Callable[[], None]
    is_taken_over: bool = False  # nothing is started before what an earlier runner started is taken up
    attempts: dict[str, Attempt] = field(default_factory=dict)
    pinned: set[str] = field(default_factory=set)
    opening: set[str] = field(default_factory=set)  # the tasks whose pull requests are being opened
    views_due: Event = field(default_factory=Event)
    views_seq: int = -1
    has_views: Event = field(default_factory=Event)  # they were written once
    trouble: str = ""  # why the last commit could not be made
    is_tended: bool = False  # somebody decides what is due there
    look_at: datetime | None = None  # when time alone changes that
    tasks: TaskGroup = field(init=False)  # all that is being done on it
    visitors: set[CancelScope] = field(default_factory=set)  # of those whose lines are open

    def hang_up(self) -> None:
        """It is closed: who is on a line here has to call again."""
        for scope in self.visitors:
            scope.cancel()

    async def take_over(self, pid: int) -> State:
        """Commits that this runner is the one from now on, and takes away what an earlier one was killed over."""
        started = RunnerStarted(runner_id=self.runner_id, pid=pid, version=VERSION)
        await self.journal.transact(lambda _state, _now: Decision((started,), None))
        await to_thread.run_sync(sweep, str(self.directory))
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


def tell_reports(state: State, attempt: Attempt, reports: list[Report]) -> Decision[None]:
    """The events for what a shim reports of its agent: that it runs, which messages it has, what it cannot do without help.

    Nothing for what is known, or comes from another attempt than the current one.
    """
    task = state.tasks.get(attempt.task_id)
    if task is None or task.live_attempt != attempt.number:
        return Decision((), None)
    events: list[JournalEvent] = []
    had: list[int] = []
    for report in reports:
        if report.type == "agent_started" and not task.agent_started:
            names = {"orchestration_task_id": attempt.task_id, "task_run_id": task.task_run_id, "agent_name": task.spec.agent_name}
            isolation = str(report.facts.get("isolation") or GUARD)
            limits = limits_of(in_force_in(report.facts))
            events.append(AgentStarted(attempt=attempt.number, n=report.n, isolation=isolation, limits=limits, **names))
        elif report.type == "needs_input" and report.n > task.last_report:
            kind, message = str(report.facts.get("kind")), str(report.facts.get("message"))
            events.append(
                AgentNeedsInput(orchestration_task_id=attempt.task_id, attempt=attempt.number, n=report.n, kind=kind, message=message)
            )
        elif report.type == "network" and report.facts.get("kind") == "refused" and report.n > task.last_report:
            host, why = str(report.facts.get("host")), str(report.facts.get("why"))
            events.append(NetworkRefused(orchestration_task_id=attempt.task_id, attempt=attempt.number, n=report.n, host=host, why=why))
        elif report.type == "delivered" and report.message_id is not None:
            had.append(report.message_id)
    return Decision((*events, *mark_read(state, attempt.task_id, tuple(had), "push").events), None)


def hold(state: State, attempt: Attempt) -> Decision[None]:
    """The event that says which credential an attempt with a place waits for; none for one that is over."""
    task = state.tasks.get(attempt.task_id)
    if task is None or task.live_attempt != attempt.number or attempt.credential is None:
        return Decision((), None)
    return Decision((TaskHeld(orchestration_task_id=attempt.task_id, waiting_for=missing(attempt.credential)),), None)


def hold_back(state: State, task_ids: list[str], now: datetime, vault: Vault, refusals: Refusals) -> Decision[list[str]]:
    """The events for tasks whose credential is not there, was refused or is over, and for held ones that may go on; the value may start."""
    events: list[JournalEvent] = []
    lacking: set[str] = set()
    names = [*task_ids, *(name for name, task in state.unfinished.items() if task.waiting_for)]
    for task in (state.tasks[name] for name in dict.fromkeys(names) if name in state.tasks):
        credential, only = task.spec.credential, {"orchestration_task_id": task.orchestration_task_id}
        held = TaskHeld(**only)
        if credential is not None and not vault.has(credential):
            held = TaskHeld(**only, waiting_for=missing(credential))
        elif not task.live_attempt and has_expired(task.spec, now):
            held = TaskHeld(**only, waiting_for=renewal_advice(task.spec), login=refusals.login_of(task.spec))
        elif refusals.is_refused(task):
            held = TaskHeld(**only, waiting_for=advice(task.spec), login=refusals.login_of(task.spec))
        if held.waiting_for:
            lacking.add(task.orchestration_task_id)
        if held.waiting_for != task.waiting_for:
            events.append(held)
    return Decision(tuple(events), [name for name in task_ids if name not in lacking])


def letters_due(state: State, attempt: Attempt) -> list[Letter]:
    """The messages that its agent has not had and that were not sent to its shim by this runner."""
    task = state.tasks[attempt.task_id]
    reader = task.orchestration_task_id
    if task.is_terminal or not find_adapter(task.spec.agent_name).takes_messages:
        return []
    return [
        Letter(message.id, "message", message.sender, message_text(message), message.interrupt)
        for message in state.due.values()
        if message.is_for(reader) and message.id > task.admitted and message.id not in attempt.sent and reader not in message.readers
    ]
