"""The journal's events: one class each, told apart by `event`.

A line is the envelope (`seq`, `timestamp`, `event`, `end` where a commit has several lines) and the class's fields beside it.
The journal has a line for each change that a person would name; activity and output stay in the run directory.
"""

from typing import ClassVar, Literal

from pydantic import Field

from devsh_memory_mcp.domain.records import (
    HeadStatus,
    Leadership,
    LimitsInForce,
    MessageType,
    OnExit,
    Reason,
    Record,
    StatusName,
    TaskSpec,
    Totals,
)

FORMAT = 1


class Event(Record):
    """What happened. `name` is the value of `event` on the line."""

    name: ClassVar[str]


class OrchestrationCreated(Event):
    """The first line of every journal. `project` is a directory, `session` a head's, None for a shell's or shared one.

    With `leadership` the head is a task itself, of another orchestration, and `session` its task run.
    """

    name = "orchestration_created"
    orchestration_id: str
    format: int = FORMAT
    project: str = ""
    session: str | None = None
    head_agent: str = "cli"
    description: str = ""
    is_orchestration_head: bool = True
    imported_from: str | None = None
    leadership: Leadership | None = None


class SettingsChanged(Event):
    """A limit of this orchestration was set: by a request, or by what the settings say where no request did."""

    name = "settings_changed"
    max_concurrent: int
    source: Literal["request", "settings"] = "request"


class RunnerStarted(Event):
    """A runner took over; each later commit of an earlier one is refused."""

    name = "runner_started"
    runner_id: str
    pid: int
    version: str


class AgentSpawned(Event):
    """A task was admitted. `request` is the hash of what the caller sent, compared when the idempotency key comes again."""

    name = "agent_spawned"
    orchestration_task_id: str
    task_run_id: str
    id: str
    agent_name: str
    spec: TaskSpec
    idempotency_key: str | None = None
    request: str | None = None


class PlanTaskFound(Event):
    """A task that somebody wrote into PLAN.json by hand, or that a repair knows from there alone: shown, and held until it is spawned."""

    name = "plan_task_found"
    orchestration_task_id: str
    task_run_id: str
    id: str
    agent_name: str
    prompt: str
    depends_on: tuple[str, ...] = ()
    priority: int = 5
    status: StatusName = "pending"
    result: str | None = None
    error_message: str | None = None
    by: Literal["hand", "repair"] = "hand"


class PlanTaskReported(Event):
    """A task that nobody was spawned for is done: its head says so."""

    name = "plan_task_reported"
    orchestration_task_id: str
    status: StatusName = "completed"
    result: str | None = None


class HeadReported(Event):
    """A head said how far it is, and what it has decided."""

    name = "orchestration_pushed"
    head_agent_status: HeadStatus | None = None
    message: str | None = None


class PlanEdited(Event):
    """PLAN.json was changed by another hand; the edited file is kept, its unknown keys live on."""

    name = "plan_edited"
    kept: str
    advice: str = ""
    paused: bool | None = None
    unknown: dict[str, object] = {}
    unknown_of_tasks: dict[str, dict[str, object]] = {}


class AttemptStarted(Event):
    """A place is taken and the attempt's directory is being made."""

    name = "attempt_started"
    orchestration_task_id: str
    task_run_id: str
    attempt: int


class AgentStarted(Event):
    """The agent runs."""

    name = "agent_started"
    orchestration_task_id: str
    task_run_id: str
    attempt: int
    n: int
    agent_name: str
    isolation: str | None = None
    limits: LimitsInForce | None = None


class TaskHeld(Event):
    """The task cannot start though it is its turn, or with None it can again. `login` tells which one was refused, and is no secret."""

    name = "task_held"
    orchestration_task_id: str
    waiting_for: str | None = None
    login: str | None = None


class AgentNeedsInput(Event):
    """The agent cannot do something that it wants to, and a person or its head could help. `kind` is permission or login."""

    name = "agent_needs_input"
    orchestration_task_id: str
    attempt: int
    n: int
    kind: str
    message: str


class NetworkRefused(Event):
    """The agent asked for a host that it may not be connected to; told once for each. `why` says what would let it."""

    name = "network_refused"
    orchestration_task_id: str
    attempt: int
    n: int
    host: str
    why: str


class AttemptEnded(Event):
    """The attempt is over and its place is free."""

    name = "attempt_ended"
    orchestration_task_id: str
    task_run_id: str
    attempt: int
    reason: Reason
    succeeded: bool = False
    error_message: str | None = None
    n: int = 0
    totals: Totals = Totals()


class RetryScheduled(Event):
    """Another attempt will be made, not before `not_before`; the delay is `delay_ms` even when the clock steps."""

    name = "retry_scheduled"
    orchestration_task_id: str
    attempt: int
    reason: Reason
    not_before: str
    delay_ms: int


class ProviderLimited(Event):
    """An account of a provider has used up its limit: none of its tasks starts before `until`."""

    name = "provider_limited"
    account: str
    until: str


class AgentCompleted(Event):
    """The task has done its work."""

    name = "agent_completed"
    orchestration_task_id: str
    status: StatusName = "completed"
    result: str | None = None
    result_truncated: bool = False
    branch: str | None = None


class AgentFailed(Event):
    """The task is over without success."""

    name = "agent_failed"
    orchestration_task_id: str
    reason: Reason
    status: StatusName = "failed"
    error_message: str = ""
    result: str | None = None
    result_truncated: bool = False


class AgentCancelled(Event):
    """The task was cancelled, and nothing of it runs."""

    name = "agent_cancelled"
    orchestration_task_id: str
    status: StatusName = "cancelled"
    error_message: str = "Cancelled."


class CancelRequested(Event):
    """A running task is to end; it keeps its place until its tree is gone."""

    name = "cancel_requested"
    orchestration_task_id: str
    cascade: bool = False


class MessageSent(Event):
    """A message; its id is this line's `seq`. `from` and `to` are `head`, `*` or an orchestrationTaskId; `request` as in AgentSpawned."""

    name = "message_sent"
    sender: str = Field(alias="from")
    to: str
    type: MessageType
    message: str
    correlation_id: str | None = None
    reply_to: int | None = None
    priority: str | None = None
    metadata: dict[str, object] = {}
    interrupt: bool = False
    idempotency_key: str | None = None
    request: str | None = None


class MessageDelivered(Event):
    """A reader has it. `via` is push (into the agent's session) or pull."""

    name = "message_delivered"
    message_ids: tuple[int, ...]
    reader: str
    via: str


class MessageFailed(Event):
    """It can no longer be delivered."""

    name = "message_failed"
    message_id: int
    reader: str
    error_message: str


class LateReport(Event):
    """Somebody reported to a task that was over, or for an attempt that is not the current one; nothing changes."""

    name = "late_report"
    orchestration_task_id: str
    attempt: int
    report: str


class CheckoutRemoved(Event):
    """The attempt's checkout is gone; its work is where `kept_in` says."""

    name = "checkout_removed"
    orchestration_task_id: str
    attempt: int
    kept_in: str | None = None


class PullRequestOpened(Event):
    """The pull request of a task that completed is there."""

    name = "pull_request_opened"
    orchestration_task_id: str
    url: str


class PullRequestFailed(Event):
    """A pull request was asked for and could not be opened; the branch is where it was published."""

    name = "pull_request_failed"
    orchestration_task_id: str
    error_message: str


class HeadLeft(Event):
    """The task that led this orchestration has ended so; `policy` says what becomes of what it left at work."""

    name = "head_left"
    task_run_id: str
    status: StatusName
    policy: OnExit


class LeadershipEnded(Event):
    """A head that had ended, and the orchestration that it led knows: nothing is left to do for it."""

    name = "leadership_ended"
    orchestration_task_id: str
    orchestration_id: str


class JournalRepaired(Event):
    """The end of a commit that was cut off was moved aside; nobody had been told that it was done."""

    name = "journal_repaired"
    kept: str
    bytes: int


class ForeignLines(Event):
    """Lines that are not ours stand in the journal; they are left where they are and mean nothing."""

    name = "foreign_lines"
    count: int
    after: int


ALL: tuple[type[Event], ...] = (
    OrchestrationCreated, SettingsChanged, RunnerStarted, AgentSpawned, PlanTaskFound, PlanTaskReported, HeadReported, PlanEdited,
    AttemptStarted, AgentStarted,
    TaskHeld, AgentNeedsInput, NetworkRefused, AttemptEnded, RetryScheduled, ProviderLimited, AgentCompleted, AgentFailed, AgentCancelled,
    CancelRequested, MessageSent, MessageDelivered, MessageFailed, LateReport, CheckoutRemoved, PullRequestOpened,
    PullRequestFailed, HeadLeft, LeadershipEnded, JournalRepaired, ForeignLines,
)  # fmt: skip
BY_NAME: dict[str, type[Event]] = {event.name: event for event in ALL}
