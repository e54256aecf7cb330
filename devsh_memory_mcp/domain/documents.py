"""The three views on disk, PLAN.json, AGENTS.json and MAILBOX.json, as projections of the state.

Each is a record, and its dump is the document: a key without a value is left out, times are ISO 8601 in UTC with milliseconds.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, PlainSerializer

from devsh_memory_mcp.domain.answers import StatusCounts
from devsh_memory_mcp.domain.instants import instant_text
from devsh_memory_mcp.domain.letters import Message
from devsh_memory_mcp.domain.names import HEAD
from devsh_memory_mcp.domain.records import (
    CostBasis,
    DiffStat,
    Failure,
    HeadStatus,
    LimitsInForce,
    MessageType,
    Priority,
    Reason,
    Record,
    StatusName,
    Traffic,
)
from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.domain.summary import branch_of, cost_basis_of, overall_status, plan_ids, status_counts, verified

BACKEND = "local"


Instant = Annotated[datetime, PlainSerializer(instant_text, return_type=Annotated[str, Field(json_schema_extra={"format": "date-time"})])]


class View(Record):
    """Bookkeeping of a file that the runner writes: how far in the journal it had read when this content was new."""

    seq: int
    offset: int


class MailboxMessage(Record):
    """One message; `read` says whether the head has it, where it is for the head, else whether anybody has."""

    id: int
    sender: str = Field(alias="from")
    to: str
    type: MessageType
    message: str
    timestamp: Instant
    read: bool
    readers: tuple[str, ...] = ()
    correlation_id: str | None = None
    reply_to: int | None = None
    priority: str | None = None
    metadata: dict[str, object] | None = None
    failed: str | None = None


class PlanTask(Record):
    """One task of the plan. Keys that are not named here are somebody else's, and are kept."""

    id: str
    prompt: str
    agent_name: str
    status: StatusName
    orchestration_task_id: str
    task_run_id: str
    depends_on: tuple[str, ...] | None = None
    priority: Priority
    created_at: Instant
    started_at: Instant | None = None
    completed_at: Instant | None = None
    result: str | None = None
    error_message: str | None = None
    branch: str | None = None
    waiting_for: str | None = None
    needs_input: str | None = None
    held: bool | None = None


class PlanDocument(Record):
    """PLAN.json: the plan as a person reads it. Keys that are not named here are somebody else's, and are kept."""

    version: Literal[1] = 1
    orchestration_id: str
    created_at: Instant | None = None
    updated_at: Instant | None = None
    status: Literal["pending", "running", "completed", "failed", "paused"]
    head_agent: str
    head_agent_status: HeadStatus | None = None
    head_message: str | None = None
    is_orchestration_head: bool
    description: str
    tasks: tuple[PlanTask, ...]
    messages: tuple[MailboxMessage, ...]
    aggregated_status: StatusCounts
    view: View | None = Field(default=None, alias="_view")


class Agent(Record):
    """One task that was spawned, and what its newest attempt came to."""

    orchestration_task_id: str
    task_run_id: str
    agent_name: str
    status: StatusName
    spawned_at: Instant
    started_at: Instant | None = None
    completed_at: Instant | None = None
    prompt: str
    sandbox_id: str | None = None
    attempt: int | None = None
    reason: Reason | None = None
    result: str | None = None
    error_message: str | None = None
    branch: str | None = None
    commits: int | None = None
    diff_stat: DiffStat | None = None
    salvage_refs: tuple[str, ...] | None = None
    exit_code: int | None = None
    verified: bool | None = None
    tool_calls: int | None = None
    commands: int | None = None
    failure: Failure | None = None
    isolation: str | None = None
    limits: LimitsInForce | None = None
    network: Traffic | None = None
    session_id: str | None = None
    cost_usd: float | None = None
    cost_basis: CostBasis | None = None


class AgentsDocument(Record):
    """AGENTS.json: the registry of what was spawned."""

    version: Literal[1] = 1
    orchestration_id: str
    head_agent: str
    agents: tuple[Agent, ...]
    view: View | None = Field(default=None, alias="_view")


class MailboxDocument(Record):
    """MAILBOX.json: every message, with who has it."""

    version: Literal[1] = 1
    orchestration_id: str
    messages: tuple[MailboxMessage, ...]
    view: View | None = Field(default=None, alias="_view")


def _keys(record: type[Record]) -> frozenset[str]:
    return frozenset(field.alias or name for name, field in record.model_fields.items())


PLAN_KEYS = _keys(PlanDocument)
PLAN_TASK_KEYS = _keys(PlanTask)


def plan_document(state: State, waiting: dict[str, str]) -> dict[str, object]:
    """PLAN.json, with the unknown keys that somebody wrote into it."""
    overall = overall_status(state)
    document = _dump(
        PlanDocument(
            orchestration_id=state.orchestration_id,
            created_at=state.created_at,
            updated_at=state.changed_at,
            status="paused" if state.paused else {"partial": "failed"}.get(overall, overall),
            head_agent=state.head_agent,
            head_agent_status=state.head_agent_status,
            head_message=state.head_message,
            is_orchestration_head=state.is_head,
            description=state.description,
            tasks=(),
            messages=tuple(_message(message) for message in state.unread.values()),
            aggregated_status=status_counts(state),
        )
    )
    document["tasks"] = [_plan_task(state, task, waiting.get(task.orchestration_task_id)) for task in state.tasks.values()]
    return document | {key: value for key, value in state.unknown.items() if key not in PLAN_KEYS}


def _plan_task(state: State, task: Task, waiting_for: str | None) -> dict[str, object]:
    document = _dump(
        PlanTask(
            id=task.id,
            prompt=task.spec.prompt,
            agent_name=task.spec.agent_name,
            status=task.status.value,
            orchestration_task_id=task.orchestration_task_id,
            task_run_id=task.task_run_id,
            depends_on=plan_ids(state, task) or None,
            priority=task.spec.priority,
            created_at=task.created_at,
            started_at=task.started_at,
            completed_at=task.completed_at,
            result=task.result,
            error_message=task.error_message,
            branch=branch_of(task),
            waiting_for=waiting_for,
            needs_input=task.needs_input,
            held=task.held or None,
        )
    )
    unknown = state.unknown_of_tasks.get(task.id, {})
    return document | {key: value for key, value in unknown.items() if key not in PLAN_TASK_KEYS}


def agents_document(state: State) -> dict[str, object]:
    """AGENTS.json."""
    agents = tuple(_agent(task) for task in state.tasks.values() if not task.held)
    return _dump(AgentsDocument(orchestration_id=state.orchestration_id, head_agent=state.head_agent, agents=agents))


def _agent(task: Task) -> Agent:
    totals = task.totals
    return Agent(
        orchestration_task_id=task.orchestration_task_id,
        task_run_id=task.task_run_id,
        agent_name=task.spec.agent_name,
        status=task.status.value,
        spawned_at=task.created_at,
        started_at=task.started_at,
        completed_at=task.completed_at,
        prompt=task.spec.prompt,
        sandbox_id=f"{BACKEND}_{task.task_run_id}_{task.attempt}" if task.attempt else None,
        attempt=task.attempt or None,
        reason=task.reason,
        result=task.result,
        error_message=task.error_message,
        branch=branch_of(task),
        commits=totals.commits or None,
        diff_stat=totals.diff_stat if totals.diff_stat != DiffStat() else None,
        salvage_refs=tuple(task.salvage_refs.values()) or None,
        exit_code=totals.exit_code,
        verified=verified(task),
        tool_calls=totals.tool_calls,
        commands=totals.commands,
        failure=totals.failure,
        isolation=totals.isolation,
        limits=totals.limits,
        network=totals.network,
        session_id=totals.session_id,
        cost_usd=totals.cost_usd,
        cost_basis=cost_basis_of(task),
    )


def mailbox_document(state: State) -> dict[str, object]:
    """MAILBOX.json."""
    messages = tuple(_message(message) for message in state.messages.values())
    return _dump(MailboxDocument(orchestration_id=state.orchestration_id, messages=messages))


def message_document(message: Message) -> dict[str, object]:
    """One message as it stands in the files."""
    return _dump(_message(message))


def _message(message: Message) -> MailboxMessage:
    return MailboxMessage(
        id=message.id,
        sender=message.sender,
        to=message.to,
        type=message.type,
        message=message.text,
        timestamp=message.sent_at,
        read=HEAD in message.readers if message.is_for(HEAD) else bool(message.readers),
        readers=tuple(sorted(message.readers)),
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        priority=message.priority,
        metadata=message.metadata or None,
        failed=message.failed,
    )


def _dump(record: Record) -> dict[str, object]:
    return record.model_dump(mode="json", by_alias=True, exclude_none=True)
