"""The state of one orchestration: the fold of its journal.

`State.apply` is the only thing that changes it, event by event in the order of `seq`; every process that reads the journal gets
the same state. Mutable for speed (a long journal is folded at each start), and owned by the journal that folds it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from devsh_memory_mcp.domain import events
from devsh_memory_mcp.domain.instants import parse_instant
from devsh_memory_mcp.domain.letters import Answered, Message
from devsh_memory_mcp.domain.names import HEAD
from devsh_memory_mcp.domain.quota import Limited, noted
from devsh_memory_mcp.domain.records import DEFAULT_PLACES, HeadStatus, Leadership, Reason, StatusName, TaskSpec, Totals
from devsh_memory_mcp.domain.status import Status, Trigger, advance
from devsh_memory_mcp.errors import NotFound

__all__ = ["Answered", "Message", "State", "Task"]


@dataclass(slots=True)
class Task:
    """One task over all its attempts. `live_attempt` is the attempt that holds a place, 0 where none does.

    `reported` are the ended attempts that a shim had told something of; others ended before anything was made for them.
    `is_recovered` says that a repair knows the task from a view alone.
    """

    id: str
    orchestration_task_id: str
    task_run_id: str
    spec: TaskSpec
    admitted: int
    created_at: datetime
    status: Status = Status.PENDING
    held: bool = False
    is_recovered: bool = False
    waiting_for: str | None = None
    login: str | None = None
    started_at: datetime | None = None
    attempt_started_at: datetime | None = None
    completed_at: datetime | None = None
    agent_started: bool = False
    attempt: int = 0
    live_attempt: int = 0
    last_report: int = 0
    not_before: datetime | None = None
    retry_delay_ms: int = 0
    cancel_requested: int = 0
    result: str | None = None
    result_truncated: bool = False
    error_message: str | None = None
    reason: Reason | None = None
    branch: str | None = None
    needs_input: str | None = None
    totals: Totals = field(default_factory=Totals)
    salvage_refs: dict[int, str] = field(default_factory=dict)
    checkouts: set[int] = field(default_factory=set)
    reported: frozenset[int] = frozenset()
    pr_url: str | None = None
    pr_error: str | None = None
    changed: int = 0

    @property
    def is_terminal(self) -> bool:
        """Whether it has ended."""
        return self.status.is_terminal


@dataclass
class State:
    """Everything that the journal says. `seq` is the last event folded in."""

    seq: int = 0
    changed_at: datetime | None = None
    created_at: datetime | None = None
    orchestration_id: str = ""
    format: int = events.FORMAT
    project: str = ""
    session: str | None = None
    head_agent: str = "cli"
    head_agent_status: HeadStatus | None = None
    head_message: str | None = None
    description: str = ""
    is_head: bool = True
    leadership: Leadership | None = None  # of the head whose task run is the session
    head_left: StatusName | None = None  # how that one ended
    paused: bool = False
    max_concurrent: int = DEFAULT_PLACES
    is_max_concurrent_asked: bool = False
    runner_id: str | None = None
    tasks: dict[str, Task] = field(default_factory=dict)
    messages: dict[int, Message] = field(default_factory=dict)
    answered: dict[str, Answered] = field(default_factory=dict)
    unfinished: dict[str, Task] = field(default_factory=dict)
    unread: dict[int, Message] = field(default_factory=dict)
    unopened: dict[str, Task] = field(default_factory=dict)  # completed, and their pull requests are still to be opened
    leaving: dict[str, Task] = field(default_factory=dict)  # ended heads whose end those that they led are still to be told of
    due: dict[int, Message] = field(default_factory=dict)  # for agents, and to all; those to one agent until it has them
    limits: dict[str, Limited] = field(default_factory=dict)  # of providers, by account
    unknown: dict[str, object] = field(default_factory=dict)
    unknown_of_tasks: dict[str, dict[str, object]] = field(default_factory=dict)
    edits: set[str] = field(default_factory=set)  # the names of the edited files that were taken in
    _ids: dict[str, str] = field(default_factory=dict)

    def copy(self) -> "State":
        """The same, sharing nothing with it that changes."""
        tasks = {
            name: replace(task, salvage_refs=dict(task.salvage_refs), checkouts=set(task.checkouts)) for name, task in self.tasks.items()
        }
        messages = {name: replace(message, readers=set(message.readers)) for name, message in self.messages.items()}
        return replace(
            self,
            tasks=tasks,
            messages=messages,
            unfinished={name: tasks[name] for name in self.unfinished},
            unopened={name: tasks[name] for name in self.unopened},
            leaving={name: tasks[name] for name in self.leaving},
            unread={name: messages[name] for name in self.unread},
            due={name: messages[name] for name in self.due},
            answered={key: replace(a, orchestration_task_ids=list(a.orchestration_task_ids)) for key, a in self.answered.items()},
            limits=dict(self.limits),
            unknown=dict(self.unknown),
            unknown_of_tasks=dict(self.unknown_of_tasks),
            edits=set(self.edits),
            _ids=dict(self._ids),
        )

    def find_task(self, any_id: str) -> Task | None:
        """The task with that orchestrationTaskId, plan id or taskRunId."""
        return self.tasks.get(self._ids.get(any_id, ""))

    def get_task(self, any_id: str) -> Task:
        """The same; NotFound where there is none."""
        task = self.find_task(any_id)
        if task is None:
            raise NotFound(f"No task {any_id[:80]!r} in orchestration {self.orchestration_id}.")
        return task

    def dependents(self, task_id: str) -> list[Task]:
        """The unfinished tasks that name `task_id` as a dependency."""
        return [task for task in self.unfinished.values() if task_id in task.spec.depends_on]

    def apply(self, seq: int, at: datetime, event: events.Event) -> None:
        """Folds one event in. An event of an unknown class, or for a task that is not there, changes only `seq`."""
        self.seq, self.changed_at = seq, at
        fold = _FOLDS.get(type(event))
        if fold is not None:
            fold(self, seq, at, event)

    def admit(self, task: Task) -> None:
        """Makes a task known under its three ids."""
        self.tasks[task.orchestration_task_id] = task
        self.unfinished[task.orchestration_task_id] = task
        for name in (task.id, task.task_run_id, task.orchestration_task_id):
            self._ids[name] = task.orchestration_task_id


def _created(state: State, _seq: int, at: datetime, event: events.OrchestrationCreated) -> None:
    state.orchestration_id, state.created_at, state.format = event.orchestration_id, at, event.format
    state.project, state.session, state.description = event.project, event.session, event.description
    state.head_agent, state.is_head, state.leadership = event.head_agent, event.is_orchestration_head, event.leadership


def _settings(state: State, _seq: int, _at: datetime, event: events.SettingsChanged) -> None:
    state.max_concurrent, state.is_max_concurrent_asked = event.max_concurrent, event.source == "request"


def _runner(state: State, _seq: int, _at: datetime, event: events.RunnerStarted) -> None:
    state.runner_id = event.runner_id


def _spawned(state: State, seq: int, at: datetime, event: events.AgentSpawned) -> None:
    task = Task(event.id, event.orchestration_task_id, event.task_run_id, event.spec, seq, at, changed=seq)
    state.admit(task)
    if not state.description:
        state.description = event.spec.prompt.strip().partition("\n")[0][:200]
    if event.idempotency_key is not None:
        answered = state.answered.setdefault(event.idempotency_key, Answered(event.request))
        answered.orchestration_task_ids.append(event.orchestration_task_id)


def _found(state: State, seq: int, at: datetime, event: events.PlanTaskFound) -> None:
    spec = TaskSpec(prompt=event.prompt, agent_name=event.agent_name, depends_on=event.depends_on, priority=event.priority)
    task = Task(event.id, event.orchestration_task_id, event.task_run_id, spec, seq, at, held=True, changed=seq)
    task.status, task.result, task.error_message = Status(event.status), event.result, event.error_message
    task.is_recovered = event.by == "repair"
    state.admit(task)
    if task.is_terminal:
        task.held, task.completed_at = False, at
        del state.unfinished[task.orchestration_task_id]


def _reported(state: State, seq: int, at: datetime, event: events.PlanTaskReported) -> None:
    task = state.tasks.get(event.orchestration_task_id)
    if task is not None and task.held and not task.is_terminal:
        task.status, task.started_at = advance(task.status, Trigger.START), at
        _end(state, seq, at, task.orchestration_task_id, Trigger.COMPLETE)
        task.result = event.result


def _pushed(state: State, _seq: int, _at: datetime, event: events.HeadReported) -> None:
    state.head_agent_status = event.head_agent_status or state.head_agent_status
    state.head_message = event.message or state.head_message


def _edited(state: State, _seq: int, _at: datetime, event: events.PlanEdited) -> None:
    state.edits.update(event.kept.split(", "))
    state.unknown, state.unknown_of_tasks = dict(event.unknown), dict(event.unknown_of_tasks)
    state.paused = state.paused if event.paused is None else event.paused


def _attempt_started(state: State, seq: int, at: datetime, event: events.AttemptStarted) -> None:
    task = state.tasks.get(event.orchestration_task_id)
    if task is None or task.is_terminal:
        return
    task.status = advance(task.status, Trigger.START)
    task.attempt = task.live_attempt = event.attempt
    task.last_report, task.not_before, task.agent_started = 0, None, False
    task.needs_input = task.waiting_for = task.login = None
    task.started_at, task.attempt_started_at = task.started_at or at, at
    task.checkouts.add(event.attempt)
    task.changed = seq


def _agent_started(state: State, seq: int, _at: datetime, event: events.AgentStarted) -> None:
    task = state.tasks.get(event.orchestration_task_id)
    if task is not None and task.live_attempt == event.attempt:
        task.last_report, task.agent_started, task.changed = event.n, True, seq
        task.totals = task.totals.model_copy(update={"isolation": event.isolation, "limits": event.limits})


def _held(state: State, seq: int, _at: datetime, event: events.TaskHeld) -> None:
    task = state.tasks.get(event.orchestration_task_id)
    if task is not None and not task.is_terminal:
        task.waiting_for, task.login, task.changed = event.waiting_for, event.login, seq
        task.needs_input = task.needs_input if task.live_attempt else event.login and event.waiting_for


def _wanted(state: State, seq: int, _at: datetime, event: events.AgentNeedsInput | events.NetworkRefused) -> None:
    task = state.tasks.get(event.orchestration_task_id)
    if task is not None and task.live_attempt == event.attempt:
        task.last_report = max(task.last_report, event.n)
        if isinstance(event, events.AgentNeedsInput):
            task.needs_input, task.changed = event.message, seq


def _attempt_ended(state: State, seq: int, _at: datetime, event: events.AttemptEnded) -> None:
    task = state.tasks.get(event.orchestration_task_id)
    if task is None or task.live_attempt != event.attempt:
        return
    task.live_attempt, task.last_report, task.changed = 0, max(task.last_report, event.n), seq
    task.reason, task.error_message = event.reason, event.error_message
    task.totals, task.needs_input = event.totals, event.totals.needs_input
    task.reported |= {event.attempt} if event.n else set()
    if event.totals.salvage_ref:
        task.salvage_refs[event.attempt] = event.totals.salvage_ref


def _retry(state: State, seq: int, at: datetime, event: events.RetryScheduled) -> None:
    task = state.tasks.get(event.orchestration_task_id)
    if task is None or task.status is not Status.RUNNING:
        return
    task.status = advance(task.status, Trigger.RETRY)
    task.not_before, task.retry_delay_ms, task.changed = parse_instant(event.not_before) or at, event.delay_ms, seq


def _limited(state: State, _seq: int, at: datetime, event: events.ProviderLimited) -> None:
    state.limits[event.account] = noted(state.limits.get(event.account), Limited(at, parse_instant(event.until) or at))


def _end(state: State, seq: int, at: datetime, task_id: str, trigger: Trigger) -> Task | None:
    task = state.tasks.get(task_id)
    if task is None or task.is_terminal:
        return None
    task.status = advance(task.status, trigger)
    task.completed_at, task.live_attempt, task.held, task.changed = at, 0, False, seq
    state.unfinished.pop(task_id, None)
    if task.spec.leads is not None:
        state.leaving[task_id] = task
    return task


def _completed(state: State, seq: int, at: datetime, event: events.AgentCompleted) -> None:
    task = _end(state, seq, at, event.orchestration_task_id, Trigger.COMPLETE)
    if task is not None:
        task.result, task.result_truncated, task.branch = event.result, event.result_truncated, event.branch
        task.reason = task.error_message = None
        if task.spec.open_pr and task.branch:
            state.unopened[task.orchestration_task_id] = task


def _failed(state: State, seq: int, at: datetime, event: events.AgentFailed) -> None:
    task = _end(state, seq, at, event.orchestration_task_id, Trigger.FAIL)
    if task is not None:
        task.reason, task.error_message = event.reason, event.error_message
        task.result, task.result_truncated = event.result, event.result_truncated


def _cancelled(state: State, seq: int, at: datetime, event: events.AgentCancelled) -> None:
    task = _end(state, seq, at, event.orchestration_task_id, Trigger.CANCEL)
    if task is not None:
        task.reason, task.error_message = "cancelled", event.error_message


def _cancel_requested(state: State, seq: int, _at: datetime, event: events.CancelRequested) -> None:
    task = state.tasks.get(event.orchestration_task_id)
    if task is not None and not task.is_terminal:
        task.cancel_requested, task.changed = seq, seq


def _sent(state: State, seq: int, at: datetime, event: events.MessageSent) -> None:
    message = Message(
        seq, event.sender, event.to, event.type, event.message, at,
        event.correlation_id, event.reply_to, event.priority, event.metadata, event.interrupt,
    )  # fmt: skip
    state.messages[seq] = message
    if message.is_for(HEAD):
        state.unread[seq] = message
    if message.to != HEAD:
        state.due[seq] = message
    if event.idempotency_key is not None:
        state.answered[event.idempotency_key] = Answered(event.request, message_id=seq)


def _delivered(state: State, _seq: int, _at: datetime, event: events.MessageDelivered) -> None:
    for message_id in event.message_ids:
        message = state.messages.get(message_id)
        if message is not None:
            message.readers.add(event.reader)
            if event.reader == HEAD:
                state.unread.pop(message_id, None)
            if event.reader == message.to:
                state.due.pop(message_id, None)


def _message_failed(state: State, _seq: int, _at: datetime, event: events.MessageFailed) -> None:
    message = state.messages.get(event.message_id)
    if message is not None:
        message.failed = event.error_message
        state.due.pop(event.message_id, None)


def _checkout_removed(state: State, seq: int, _at: datetime, event: events.CheckoutRemoved) -> None:
    task = state.tasks.get(event.orchestration_task_id)
    if task is not None:
        task.checkouts.discard(event.attempt)
        task.changed = seq


def _pull_request(state: State, seq: int, _at: datetime, event: events.PullRequestOpened | events.PullRequestFailed) -> None:
    task = state.unopened.pop(event.orchestration_task_id, None) or state.tasks.get(event.orchestration_task_id)
    if task is not None:
        task.changed = seq
        if isinstance(event, events.PullRequestOpened):
            task.pr_url, task.pr_error = event.url, None
        else:
            task.pr_error = event.error_message


def _head_ended(state: State, _seq: int, _at: datetime, event: events.HeadLeft | events.LeadershipEnded) -> None:
    if isinstance(event, events.HeadLeft):
        state.head_left = event.status
    else:
        state.leaving.pop(event.orchestration_task_id, None)


_FOLDS: dict[type[events.Event], Callable[[State, int, datetime, Any], None]] = {
    events.OrchestrationCreated: _created,
    events.SettingsChanged: _settings,
    events.RunnerStarted: _runner,
    events.AgentSpawned: _spawned,
    events.PlanTaskFound: _found,
    events.PlanTaskReported: _reported,
    events.HeadReported: _pushed,
    events.PlanEdited: _edited,
    events.AttemptStarted: _attempt_started,
    events.AgentStarted: _agent_started,
    events.TaskHeld: _held,
    events.AgentNeedsInput: _wanted,
    events.NetworkRefused: _wanted,
    events.AttemptEnded: _attempt_ended,
    events.RetryScheduled: _retry,
    events.ProviderLimited: _limited,
    events.AgentCompleted: _completed,
    events.AgentFailed: _failed,
    events.AgentCancelled: _cancelled,
    events.CancelRequested: _cancel_requested,
    events.MessageSent: _sent,
    events.MessageDelivered: _delivered,
    events.MessageFailed: _message_failed,
    events.CheckoutRemoved: _checkout_removed,
    events.PullRequestOpened: _pull_request,
    events.PullRequestFailed: _pull_request,
    events.HeadLeft: _head_ended,
    events.LeadershipEnded: _head_ended,
}
