"""The eleven tools: what each asks of an orchestration, and how each presents itself to a model."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from mcp.server.mcpserver import Context
from mcp.types import CallToolResult, ToolAnnotations
from pydantic import BaseModel

from devsh_memory_mcp.domain import answers
from devsh_memory_mcp.domain.exchange import PushAnswer
from devsh_memory_mcp.domain.names import EVERYONE, HEAD
from devsh_memory_mcp.domain.requests import ListRequest, WaitRequest
from devsh_memory_mcp.errors import InvalidRequest, NotFound
from devsh_memory_mcp.faces import mcp_arguments as arguments
from devsh_memory_mcp.faces.mcp_resources import brief_of
from devsh_memory_mcp.faces.mcp_result import LIMIT, Json, dumped, fits, fitted, plain, result_of, rows_result
from devsh_memory_mcp.faces.mcp_session import Session
from devsh_memory_mcp.faces.mcp_wait import bound_of, wait_in_slices
from devsh_memory_mcp.faces.mirroring import push_plan
from devsh_memory_mcp.ports import Orchestration, Orchestrations

_OTHER_FIELDS = 500  # bytes

# What is told of each task that is waited for: the model knows what it had asked for, and reads this again with every wait.
_OF_A_WAIT = frozenset(
    {"id", "orchestrationTaskId", "status", "result", "errorMessage", "branch", "attempt", "completedAt"}
    | {"waitingFor", "activity", "needsInput"}
)

# What is told of each task of a batch, the most that fits.
_OF_A_BATCH = (
    ("taskId", "orchestrationTaskId", "taskRunId", "agentName", "status", "waitingFor", "branch", "repo", "baseBranch"),
    ("taskId", "orchestrationTaskId", "status", "branch"),
    ("taskId", "orchestrationTaskId", "status"),
)


@dataclass(frozen=True, slots=True)
class Call:
    """One call: who makes it, on which orchestrations, and the way back to the client."""

    session: Session
    orchestrations: Orchestrations
    context: Context


async def spawn_agent(call: Call, given: arguments.SpawnArguments) -> CallToolResult:
    """Admits one agent."""
    find = call.orchestrations
    request = given.request()
    orchestration = await (find.holding(given.resume) if given.resume else find.current(create=True, request=request))
    return result_of(await orchestration.spawn(request))


async def spawn_batch(call: Call, given: arguments.BatchArguments) -> CallToolResult:
    """Admits all of them, or none. Of each as much is told as there is room for: first of all its id."""
    request = given.request()
    orchestration = await call.orchestrations.current(create=True, request=request)
    answer = await orchestration.spawn_batch(request)
    whole = plain(answer)
    for fields in _OF_A_BATCH:
        rows: list[Json] = [{name: row[name] for name in fields if name in row} for row in map(plain, answer.tasks)]
        if fits(whole | {"tasks": rows}):
            break
    return result_of(whole | {"tasks": rows}, rest=_journal(orchestration))


async def get_agent_status(call: Call, given: arguments.TaskArguments) -> CallToolResult:
    """One agent in full."""
    orchestration = await call.orchestrations.holding(given.orchestration_task_id)
    record = await orchestration.status(given.orchestration_task_id)
    return result_of(record, rest=record.result_path or record.run_directory or _journal(orchestration))


async def list_spawned_agents(call: Call, given: arguments.ListArguments) -> CallToolResult:
    """As many rows as one result holds, and where to go on."""
    try:
        orchestration = await call.orchestrations.current()
    except NotFound:
        return rows_result([], None)
    request = ListRequest(status=given.status, limit=given.limit, cursor=given.cursor)
    while True:
        answer = await orchestration.list_tasks(request)
        rows = [plain(row) for row in answer.result]
        count = _fitting(rows)
        if count == len(rows):
            return rows_result([fitted(row) for row in rows], answer.next_cursor)
        request = request.model_copy(update={"limit": count})


async def wait_for_agent(call: Call, given: arguments.WaitArguments) -> CallToolResult:
    """Until they have ended, or as long as this client can bear."""
    ids = given.ids or ((given.orchestration_task_id,) if given.orchestration_task_id else ())
    if not ids or (given.ids and given.orchestration_task_id):
        raise InvalidRequest("wait_for_agent takes orchestrationTaskId or ids, one of them.", next_step="Give the ids from spawn_agent.")
    orchestration = await call.orchestrations.holding(ids[0])
    request = WaitRequest(ids=ids, mode=given.mode, timeout=given.timeout)
    bound = bound_of(call.session.client_name(call.context), call.session.caller.environment, call.context)
    answer = await wait_in_slices(orchestration, request, call.session.waits, bound, call.context.report_progress)
    rows: list[Json] = [{name: value for name, value in plain(row).items() if name in _OF_A_WAIT} for row in answer.tasks]
    return result_of(plain(answer) | {"tasks": rows}, rest=_journal(orchestration))


async def cancel_agent(call: Call, given: arguments.CancelArguments) -> CallToolResult:
    """Ends an agent."""
    orchestration = await call.orchestrations.holding(given.orchestration_task_id)
    return result_of(await orchestration.cancel(given.orchestration_task_id, cascade=given.cascade))


async def get_orchestration_summary(call: Call, given: arguments.SummaryArguments) -> CallToolResult:
    """The whole at a glance, and where it is asked for the brief: not every client shows its model resources."""
    try:
        orchestration = await call.orchestrations.current()
    except NotFound as error:
        raise (NotFound(await brief_of(call.orchestrations)) if given.brief else error) from error
    answer = plain(await orchestration.summary())
    return result_of(answer | ({"brief": await orchestration.brief()} if given.brief else {}), rest=_journal(orchestration))


async def pull_orchestration_updates(call: Call, given: arguments.PullArguments) -> CallToolResult:
    """What changed, with PLAN.json brought up to date."""
    named = given.orchestration_id
    orchestration = await (call.orchestrations.named(named) if named else call.orchestrations.current())
    answer = await orchestration.pull(full=given.full)
    return result_of(answer, rest=answer.plan_path or _journal(orchestration))


async def push_orchestration_updates(call: Call, given: arguments.PushArguments) -> CallToolResult:
    """The other way: what the head decided, and what it ended or added in PLAN.json itself."""
    named = given.orchestration_id
    orchestration = await (call.orchestrations.named(named) if named else call.orchestrations.current())
    answer = await push_plan(orchestration, status=given.head_agent_status, message=given.message, task_ids=given.task_ids)
    return result_of(answer)


async def send_message(call: Call, given: arguments.SendArguments) -> CallToolResult:
    """One message."""
    return result_of(await (await _addressed(call.orchestrations, given.to)).message(given.request()))


async def get_my_messages(call: Call, given: arguments.MessagesArguments) -> CallToolResult:
    """As many messages as one result holds."""
    try:
        orchestration = await call.orchestrations.current()
    except NotFound:
        return result_of(answers.MessagesAnswer(messages=()))
    answer = await orchestration.messages(
        after=given.after,
        include_read=given.include_read,
        type_=given.type,
        correlation_id=given.correlation_id,
        max_bytes=LIMIT - _OTHER_FIELDS,
    )
    return result_of(answer, rest=_journal(orchestration))


async def _addressed(orchestrations: Orchestrations, to: str) -> Orchestration:
    """Where a message to `to` belongs: the orchestration that has such a task, else the caller's own."""
    if to not in (HEAD, EVERYONE):
        with suppress(NotFound):  # perhaps an agent's name, which the orchestration itself knows
            return await orchestrations.holding(to)
    return await orchestrations.current()


def _journal(orchestration: Orchestration) -> str | None:
    return str(orchestration.directory / "EVENTS.jsonl") if orchestration.directory else None


def _fitting(rows: list[dict[str, Json]]) -> int:
    """How many of the rows, from the first on, one result holds beside its other fields; at least one."""
    room = LIMIT - _OTHER_FIELDS
    for count, row in enumerate(rows):
        room -= len(dumped(row).encode()) + 1
        if room < 0:
            return max(1, count)
    return len(rows)


@dataclass(frozen=True, slots=True)
class Face:
    """A tool as it is offered; `shown` are the answer's fields that its schema promises."""

    run: Callable[[Call, Any], Awaitable[CallToolResult]]
    title: str
    text: str
    takes: type[arguments.Arguments]
    answers: type[BaseModel]
    shown: tuple[str, ...]
    hints: ToolAnnotations
    is_for_agents: bool = False

    @property
    def name(self) -> str:
        """The tool's name."""
        return str(getattr(self.run, "__name__"))  # noqa: B009  # a Callable has none for the type checker


def _hints(*, reads: bool = False, destroys: bool = False, repeats: bool = False, is_open: bool = False) -> ToolAnnotations:
    return ToolAnnotations(read_only_hint=reads, destructive_hint=destroys, idempotent_hint=repeats, open_world_hint=is_open)


_READS = _hints(reads=True, repeats=True)

FACES = (
    Face(
        spawn_agent,
        "Spawn agent",
        "Hand a task to a sub-agent, which works in its own checkout and branch. Answers at once: spawn the rest, then wait_for_agent.",
        arguments.SpawnArguments,
        answers.SpawnAnswer,
        ("orchestrationTaskId", "taskId", "taskRunId", "agentName", "status"),
        _hints(is_open=True),
    ),
    Face(
        spawn_batch,
        "Spawn batch",
        "Hand over many tasks at once, with dependsOn among them: all are admitted, or none. Then wait_for_agent.",
        arguments.BatchArguments,
        answers.BatchAnswer,
        ("orchestrationId", "total", "tasks"),
        _hints(is_open=True),
    ),
    Face(
        get_agent_status,
        "Agent status",
        "One agent in full: status, result, branch, changed files, why it failed. To wait use wait_for_agent, not this in a loop.",
        arguments.TaskArguments,
        answers.TaskRecord,
        ("status", "prompt", "result", "errorMessage", "orchestrationTaskId", "taskRunId", "agentName"),
        _READS,
        is_for_agents=True,
    ),
    Face(
        list_spawned_agents,
        "List agents",
        "The agents of this orchestration, newest first; prompts and results are cut. nextCursor where there are more.",
        arguments.ListArguments,
        answers.ListAnswer,
        ("result", "nextCursor"),
        _READS,
    ),
    Face(
        wait_for_agent,
        "Wait for agents",
        "Block until an agent has ended, or any or all of ids. Where it has not, `next` says to call again; agents are not disturbed.",
        arguments.WaitArguments,
        answers.WaitAnswer,
        ("status", "result", "errorMessage", "orchestrationTaskId", "timedOut", "finished", "tasks"),
        _READS,
    ),
    Face(
        cancel_agent,
        "Cancel agent",
        "End a running or pending agent; what it had done is kept on a salvage branch.",
        arguments.CancelArguments,
        answers.CancelAnswer,
        ("ok", "cancelled", "cancelledCount"),
        _hints(destroys=True, repeats=True),
    ),
    Face(
        get_orchestration_summary,
        "Summary",
        "The whole orchestration at a glance: counts, running agents, latest ends; with brief what you owe and should call next.",
        arguments.SummaryArguments,
        answers.SummaryAnswer,
        (
            *("orchestrationId", "status", "activeAgents", "activeAgentCount"),
            *("recentCompletions", "allTasksComplete", "hasFailures"),
        ),
        _READS,
    ),
    Face(
        pull_orchestration_updates,
        "Pull updates",
        "What changed since your last pull, and unread messages; brings PLAN.json up to date.",
        arguments.PullArguments,
        answers.PullAnswer,
        ("synced", "orchestrationId", "tasks", "messages", "aggregatedStatus"),
        _hints(repeats=True),
    ),
    Face(
        push_orchestration_updates,
        "Push updates",
        "Tell how far you are, and what became of tasks of PLAN.json that you did yourself; agents' tasks end by themselves.",
        arguments.PushArguments,
        PushAnswer,
        ("success", "orchestrationId", "headAgentStatus", "tasksPushed", "tasksUpdated", "message"),
        _hints(),
    ),
    Face(
        send_message,
        "Send message",
        "Send a message to an agent, the head or everyone; it is durable when answered.",
        arguments.SendArguments,
        answers.MessageAnswer,
        ("ok", "messageId", "to", "delivered"),
        _hints(),
        is_for_agents=True,
    ),
    Face(
        get_my_messages,
        "My messages",
        "Messages for you that you have not had yet; they count as read with your next call.",
        arguments.MessagesArguments,
        answers.MessagesAnswer,
        ("messages", "cursor"),
        _hints(),  # it confirms what the call before answered, so it changes something, and the next call answers something else
        is_for_agents=True,
    ),
)
