"""The routes that the existing implementation's clients call beside those that are ours too: same paths, its documents, our answers.

Rows of the table of operations, so that tokens, errors and /openapi.json are as everywhere. Where its own routes did not do what they
said (cancel with a token, the list of a head's agents, a push that updated nothing), these do.
"""

from pydantic import BaseModel, Field, RootModel

from devsh_memory_mcp.domain import answers, requests
from devsh_memory_mcp.domain.exchange import PushRequest
from devsh_memory_mcp.domain.records import Record, Request, StatusName
from devsh_memory_mcp.domain.requests import AnyId
from devsh_memory_mcp.errors import InvalidRequest, NotFound
from devsh_memory_mcp.faces import http_documents as documents
from devsh_memory_mcp.faces.http_shapes import CancelParameters, Nothing
from devsh_memory_mcp.faces.operations import HEADS, Call, Operation

MOST = 500  # tasks in one answer
Document = dict[str, object]


class Sync(Record):
    """An orchestration as a head pulls it: its tasks, the caller's unread messages, and the counts."""

    orchestration_id: str
    tasks: list[Document]
    messages: list[Document]
    aggregated_status: Document


class Pushed(Record):
    """What came of a push."""

    success: bool
    tasks_updated: int
    heartbeat_updated: bool
    message: str
    warnings: tuple[str, ...] = ()


class TasksParameters(Request):
    """Which tasks."""

    status: StatusName | None = None
    limit: int = Field(default=MOST, ge=1, le=MOST)


class Documents(RootModel[list[Document]]):
    """A list of documents."""


class TaskDocument(RootModel[Document]):
    """A task: `_id`, and times in ms since 1970."""


class Metrics(RootModel[Document]):
    """How many tasks there are in each status, and who works."""


class Session(Record):
    """The session of a task's agent, with which it can be continued."""

    found: bool = True
    task_id: AnyId
    orchestration_id: str
    provider: str
    agent_name: str
    mode: str = "worker"
    provider_session_id: str | None = None
    provider_thread_id: str | None = None
    reply_channel: str = "mailbox"
    status: StatusName
    last_active_at: int | None = None


async def sync(call: Call) -> BaseModel:
    """The whole; messages in it stay unread, since whoever looks at the tasks alone asks here too."""
    where = await call.meant()
    plan = await where.plan()
    if call.role == "worker":
        unread = [documents.sync_message(message, "*") for message in (await where.pull()).messages]
    else:
        unread = documents.sync_mail(plan)
    return Sync.model_validate(documents.sync_document(plan, unread))


async def push(call: Call) -> BaseModel:
    """What its head decided. InvalidRequest where path and body name two orchestrations."""
    where = await call.orchestrations.named(call.any_id)
    if call.orchestration_id not in (None, call.any_id):
        raise InvalidRequest("Orchestration ID mismatch: the path names another than the body.")
    given: PushRequest = call.given
    answer = await where.push(given)
    return Pushed(
        success=answer.success,
        tasks_updated=answer.tasks_updated,
        heartbeat_updated=given.head_agent_status is not None,
        message=answer.message,
        warnings=answer.warnings,
    )


async def sync_tasks(call: Call) -> BaseModel:
    """The tasks alone, as an array, which is what its clients hand on."""
    plan = await (await call.meant()).plan()
    wanted = call.given.status
    return Documents([task for task in documents.sync_tasks(plan) if wanted in (None, task["status"])])


async def tasks(call: Call) -> BaseModel:
    """The caller's tasks, with what each waits for."""
    given: TasksParameters = call.given
    try:
        where = await call.current()
    except NotFound:
        if call.orchestration_id is not None:
            raise
        return Documents([])
    everything = await where.list_tasks(requests.ListRequest(limit=MOST))
    shown = [found for found in documents.dependent_documents(everything.result) if given.status in (None, found["status"])]
    return Documents(shown[: given.limit])


async def task(call: Call) -> BaseModel:
    """One."""
    return TaskDocument(documents.task_document(await (await call.holding()).status(call.any_id)))


async def cancel(call: Call) -> BaseModel:
    """Ends it."""
    return await (await call.holding()).cancel(call.any_id, cascade=call.given.cascade)


async def metrics(call: Call) -> BaseModel:
    """Of the caller's own orchestration."""
    return Metrics(documents.metrics_document(await (await call.current()).summary()))


async def session(call: Call) -> BaseModel:
    """NotFound where the agent has none yet."""
    record = await (await call.holding()).status(call.any_id)
    if record.session_id is None:
        raise NotFound(f"The agent of {record.id} has told of no session.")
    provider = record.agent_name.partition("/")[0]
    return Session(
        task_id=record.orchestration_task_id,
        orchestration_id=record.orchestration_id,
        provider=provider,
        agent_name=record.agent_name,
        provider_session_id=None if provider == "codex" else record.session_id,
        provider_thread_id=record.session_id if provider == "codex" else None,
        status=record.status,
        last_active_at=documents.millis(record.last_activity_at or record.completed_at),
    )


_V1 = "/api/v1/cmux/orchestration"

COMPATIBLE: tuple[Operation, ...] = (
    Operation("sync", "GET", f"{_V1}/{{id}}/sync", "The whole of an orchestration, for its head.", Nothing, Sync, sync),
    Operation(
        "sync_push", "POST", f"{_V1}/{{id}}/sync", "What a head decided.", PushRequest, Pushed, push, HEADS, repeats="memory"
    ),
    Operation("sync_tasks", "GET", f"{_V1}/{{id}}/tasks", "The tasks of an orchestration.", TasksParameters, Documents, sync_tasks),
    Operation("session", "GET", f"{_V1}/sessions/{{id}}", "The session of a task's agent.", Nothing, Session, session),
    Operation("tasks", "GET", "/api/orchestrate/tasks", "The tasks, with what each waits for.", TasksParameters, Documents, tasks),
    Operation("task", "GET", "/api/orchestrate/tasks/{id}", "One task.", Nothing, TaskDocument, task),
    Operation(
        "task_cancel", "POST", "/api/orchestrate/tasks/{id}/cancel", "Ends a task.",
        CancelParameters, answers.CancelAnswer, cancel, HEADS, repeats="memory",
    ),
    Operation("metrics", "GET", "/api/orchestrate/metrics", "How many tasks there are, and who works.", Nothing, Metrics, metrics),
)  # fmt: skip
