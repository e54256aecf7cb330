"""What callers get; one definition for tools, CLI and HTTP. the documented fields are always there, null where there is no value."""

from datetime import datetime

from pydantic import Field

from devsh_memory_mcp.domain.records import (
    CostBasis,
    DiffStat,
    Failure,
    LimitsInForce,
    MergeConflict,
    MessageType,
    Permissions,
    Reason,
    Record,
    StatusName,
    Traffic,
)


class Answer(Record):
    """An answer; `next` is one sentence that says what to do now."""

    next: str | None = None


class SpawnAnswer(Answer):
    """What was admitted, and on which code it will work."""

    orchestration_task_id: str
    task_id: str
    task_run_id: str
    agent_name: str
    status: StatusName
    orchestration_id: str
    repo: str | None = None
    base_branch: str | None = None
    base_commit: str | None = None
    branch: str | None = None
    waiting_for: str | None = None
    isolation: str | None = None
    permissions: Permissions | None = None
    cost_basis: CostBasis | None = None
    warnings: tuple[str, ...] = ()


class BatchAnswer(Answer):
    """The tasks of a batch in the order in which they were given."""

    orchestration_id: str
    total: int
    tasks: tuple[SpawnAnswer, ...]
    warnings: tuple[str, ...] = ()


class TaskRecord(Answer):
    """One task, flat. Times are ISO 8601 in UTC, durations milliseconds; paths are absolute and on the machine that ran it.

    `verified` is whether the work passed `verify`, null where nothing was verified. `activeMs` is how long its agent itself ran.
    `cancelledDependency` is the one that ended the task by having been cancelled. `activity` says in words what the running agent does,
    `needsInput` what it cannot do without help; `failure` is the class of an agent's failure. `costUsd` of a `costBasis` subscription
    is the list price, which is not billed. `allowedNetwork` (on, off, allow:HOST,…) and `mounts` are those of its sandbox,
    if it has one; `leads` is the orchestration that it leads, if it is a head.
    """

    status: StatusName
    prompt: str
    result: str | None = None
    error_message: str | None = None
    cancelled_dependency: str | None = None
    orchestration_task_id: str
    task_id: str
    task_run_id: str
    id: str
    agent_name: str
    orchestration_id: str
    priority: int
    depends_on: tuple[str, ...] = ()
    reason: Reason | None = None
    waiting_for: str | None = None
    attempt: int = 0
    created_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    repo: str | None = None
    base_branch: str | None = None
    base_commit: str | None = None
    branch: str | None = None
    commits: int = 0
    diff_stat: DiffStat | None = None
    changed_files: tuple[str, ...] = ()
    changed_file_sizes: dict[str, int] = {}
    merge_conflicts: tuple[MergeConflict, ...] = ()
    salvage_refs: tuple[str, ...] = ()
    exit_code: int | None = None
    signal: int | None = None
    duration_ms: int | None = None
    active_ms: int | None = None
    verified: bool | None = None
    tool_calls: int | None = None
    commands: int | None = None
    stop_reason: str | None = None
    isolation: str | None = None
    limits: LimitsInForce | None = None
    network: Traffic | None = None
    allowed_network: str | None = None
    mounts: tuple[str, ...] = ()
    session_id: str | None = None
    usage: dict[str, int] | None = None
    cost_usd: float | None = None
    cost_basis: CostBasis | None = None
    permissions: Permissions | None = None
    failure: Failure | None = None
    activity: str | None = None
    needs_input: str | None = None
    pr_title: str | None = None
    pr_url: str | None = None
    leads: str | None = None
    last_activity_at: datetime | None = None
    cancel_requested: bool = False
    run_directory: str | None = None
    workspace: str | None = None
    result_truncated: bool = False
    result_path: str | None = None
    warnings: tuple[str, ...] = ()


class TaskRow(Record):
    """One task in a list; `prompt` and `result` are cut at 200 characters."""

    id: str
    prompt: str
    status: StatusName
    agent_name: str
    orchestration_task_id: str
    task_id: str
    task_run_id: str
    orchestration_id: str
    result: str | None = None
    error_message: str | None = None
    cancelled_dependency: str | None = None
    waiting_for: str | None = None
    activity: str | None = None
    needs_input: str | None = None
    cost_usd: float | None = None
    cost_basis: CostBasis | None = None
    attempt: int = 0
    diff_stat: DiffStat | None = None
    branch: str | None = None
    priority: int = 5
    depends_on: tuple[str, ...] = ()
    created_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None


class ListAnswer(Record):
    """Newest first; `nextCursor` where there are more."""

    result: tuple[TaskRow, ...]
    next_cursor: str | None = None


class WaitAnswer(Answer):
    """The first task's end, or its true status where it has none yet, and the same of the others under `tasks`.

    `timedOut` is true only where the caller's whole `timeout` is over; `finished` says whether the wait's condition holds.
    """

    orchestration_task_id: str
    status: StatusName
    result: str | None = None
    error_message: str | None = None
    timed_out: bool = False
    finished: bool = False
    tasks: tuple[TaskRow, ...] = ()
    unread_messages: int = 0
    wait_duration: int = 0
    branch: str | None = None
    result_path: str | None = None
    warnings: tuple[str, ...] = ()


class CancelAnswer(Answer):
    """`cancelled` is false, with `ok` true and count 0, for a task that had ended already."""

    ok: bool
    cancelled: bool
    cancelled_count: int
    orchestration_task_id: str
    status: StatusName


class StatusCounts(Record):
    """How many tasks are in each status."""

    total: int = 0
    completed: int = 0
    running: int = 0
    failed: int = 0
    pending: int = 0
    cancelled: int = 0


class ActiveAgent(Record):
    """A running task."""

    orchestration_task_id: str
    id: str
    agent_name: str
    last_activity_at: datetime | None = None
    activity: str | None = None
    needs_input: str | None = None


class Completion(Record):
    """A task that has ended lately; texts are cut at 200 characters."""

    id: str
    orchestration_task_id: str
    status: StatusName
    prompt: str
    result: str | None = None
    error_message: str | None = None
    completed_at: datetime | None = None


class SummaryAnswer(Answer):
    """The whole orchestration at a glance."""

    orchestration_id: str
    status: StatusCounts
    active_agents: tuple[str, ...]
    active_agent_count: int
    agents: tuple[ActiveAgent, ...]
    recent_completions: tuple[Completion, ...]
    all_tasks_complete: bool
    has_failures: bool
    unread_messages: int = 0


class MessageRecord(Record):
    """One message; `id` is its number in the journal. `from` and `to` are `head`, `*` or an orchestrationTaskId."""

    id: int
    sender: str = Field(alias="from")
    to: str
    type: MessageType
    message: str
    timestamp: datetime
    correlation_id: str | None = None
    reply_to: int | None = None
    priority: str | None = None
    metadata: dict[str, object] = {}
    read: bool = False


class MessageAnswer(Answer):
    """The message is durable; `messageId` is its number in the journal. `interrupts` where it ends what a running agent does just now."""

    ok: bool = True
    message_id: int
    to: str
    delivered: bool = False
    interrupts: bool = False


class MessagesAnswer(Answer):
    """Unread messages, oldest first. They count as read with the next call, or at once with `after` = `cursor`."""

    messages: tuple[MessageRecord, ...]
    cursor: int = 0


class PulledTask(Record):
    """A task that changed since the caller last pulled."""

    id: str
    orchestration_task_id: str
    status: StatusName
    agent_name: str
    branch: str | None = None
    result: str | None = None
    error_message: str | None = None
    waiting_for: str | None = None


class PullAnswer(Answer):
    """The state of the orchestration; PLAN.json on disk is at least as new."""

    synced: bool
    orchestration_id: str
    tasks: tuple[PulledTask, ...]
    messages: tuple[MessageRecord, ...]
    aggregated_status: StatusCounts
    plan_path: str | None = None


class TaskResult(Record):
    """What one task came to. Its branch is in `gitDirectory`, which is a mirror of ours where `url` is set."""

    task_id: str
    orchestration_task_id: str
    id: str
    agent_name: str
    status: StatusName
    prompt: str
    result: str | None = None
    error_message: str | None = None
    cancelled_dependency: str | None = None
    task_run_id: str
    branch: str | None = None
    verified: bool | None = None
    base_branch: str | None = None
    commits: int = 0
    diff_stat: DiffStat | None = None
    merge_conflicts: tuple[MergeConflict, ...] = ()
    salvage_refs: tuple[str, ...] = ()
    pr_title: str | None = None
    pr_url: str | None = None
    repo: str | None = None
    git_directory: str | None = None
    url: str | None = None
    session_id: str | None = None
    workspace: str | None = None
    result_path: str | None = None
    warnings: tuple[str, ...] = ()


class BranchConflict(Record):
    """Two published branches of one repository that cannot both be merged without help, and the files in which they meet."""

    branches: tuple[str, str]
    orchestration_task_ids: tuple[str, str]
    files: tuple[str, ...] = ()


class ResultsAnswer(Answer):
    """All results of an orchestration. `status` is pending, running, completed, failed or partial.

    `conflicts` are the pairs of branches that conflict with each other; `warnings` say where that could not be told.
    """

    orchestration_id: str
    status: str
    total_tasks: int
    completed_tasks: int
    results: tuple[TaskResult, ...]
    conflicts: tuple[BranchConflict, ...] = ()
    warnings: tuple[str, ...] = ()
    directory: str | None = None


class WorkAnswer(Answer):
    """Where a task's work is on the machine that ran it, for whoever looks at it, merges it or goes on in its checkout.

    `ref` is the published branch or, without one, the newest salvage ref, and `tip` where it stands now: null where there is no work.
    It is to be compared with `baseCommit`, in which the dependencies that were merged are already. `workspace` is null before there is a
    checkout and once it was removed; `session` is what starts the agent's own interactive session there, null for agents without one.
    """

    orchestration_task_id: str
    id: str
    agent_name: str
    status: StatusName
    repo: str | None = None
    git_directory: str | None = None
    url: str | None = None
    base_branch: str | None = None
    base_commit: str | None = None
    branch: str | None = None
    ref: str | None = None
    tip: str | None = None
    run_directory: str | None = None
    workspace: str | None = None
    session: tuple[str, ...] | None = None


class Explanation(Answer):
    """Why a task is where it is: `because` are sentences, the most important first."""

    orchestration_task_id: str
    id: str
    status: StatusName
    because: tuple[str, ...]
