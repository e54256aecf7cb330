"""Everything that can be asked of a server, as one table: the routes, the client, /openapi.json and the tests all come from it.

An operation's parameters are one flat record, whether they stand in the path, the query or the body. `orchestrationId` says which
orchestration is meant, everywhere; without it, it is the one that has the task, else the caller's current one.
"""

from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

from devsh_memory_mcp.domain import answers, exchange, requests
from devsh_memory_mcp.errors import NotFound
from devsh_memory_mcp.faces import http_documents as documents
from devsh_memory_mcp.faces import http_shapes as shapes
from devsh_memory_mcp.faces.claims import Role
from devsh_memory_mcp.ports import Orchestration, Orchestrations

Method = Literal["GET", "POST"]
EVERYBODY: frozenset[Role] = frozenset({"user", "head", "worker"})
HEADS: frozenset[Role] = frozenset({"user", "head"})
USERS: frozenset[Role] = frozenset({"user"})

# What clients of the original send and what means nothing here: it is taken, and named in the answer's warnings.
OF_OTHERS = frozenset({"teamSlugOrId"})
OF_OTHERS_SPAWN = OF_OTHERS | {
    "selectedVariant", "environmentId", "isCloudMode", "supervisorProfileId", "permissionMode", "settingSources",
    "systemPromptPreset", "systemPromptContent", "allowedTools", "disallowedTools",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Call:
    """One call: what the caller reaches, the id in the path, the orchestration that is named, the parameters, and as what he calls."""

    orchestrations: Orchestrations
    any_id: str
    orchestration_id: str | None
    given: Any  # of the operation's `takes`
    role: Role = "user"

    async def holding(self, any_id: str | None = None) -> Orchestration:
        """The orchestration of a task, of the path's where no other is named."""
        if self.orchestration_id is not None:
            return await self.orchestrations.named(self.orchestration_id)
        return await self.orchestrations.holding(any_id or self.any_id)

    async def current(self) -> Orchestration:
        """The one that is named, else the caller's own."""
        if self.orchestration_id is not None:
            return await self.orchestrations.named(self.orchestration_id)
        return await self.orchestrations.current()

    async def meant(self) -> Orchestration:
        """The one that is named, else what the path's id names: its own, or a task's."""
        if self.orchestration_id is not None:
            return await self.orchestrations.named(self.orchestration_id)
        if self.any_id.startswith("orch_"):
            return await self.orchestrations.named(self.any_id)
        try:
            return await self.orchestrations.holding(self.any_id)
        except NotFound as missing:
            try:
                return await self.orchestrations.named(self.any_id)
            except NotFound:
                raise missing from None


def _nothing(_answer: BaseModel) -> Mapping[str, object]:
    return {}


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be asked. `{id}` in the path is a task's or an orchestration's, as `run` takes it.

    A request is repeated safely where `repeats` says by what: `nature` (it changes nothing), `key` (the request has an idempotency
    key), `memory` (the server remembers the answer for a while). One that `lasts` is given up when its client has gone.
    `beside` are fields that other clients look for, `renames` their words for ours, `tolerates` what they send for nothing.
    """

    name: str
    method: Method
    path: str
    text: str
    takes: type[BaseModel]
    answers: type[BaseModel]
    run: Callable[[Call], Awaitable[BaseModel]]
    roles: frozenset[Role] = EVERYBODY
    status: int = 200
    repeats: Literal["nature", "key", "memory"] = "nature"
    lasts: bool = False
    beside: Callable[[Any], Mapping[str, object]] = _nothing
    renames: Mapping[str, str] = field(default_factory=dict)
    tolerates: frozenset[str] = OF_OTHERS


@dataclass(frozen=True, slots=True)
class Stream:
    """Something that goes on: each piece of the answer is one line of JSON."""

    name: str
    path: str
    text: str
    takes: type[BaseModel]
    answers: type[BaseModel]
    run: Callable[[Call], AsyncIterator[BaseModel]]
    roles: frozenset[Role] = EVERYBODY
    method: Method = "GET"


async def spawn(call: Call) -> BaseModel:
    """Admits one task; in the orchestration of what it goes on with, where it goes on."""
    given: requests.SpawnRequest = call.given
    find = call.orchestrations
    if call.orchestration_id is not None:
        where = await find.named(call.orchestration_id)
    else:
        where = await (find.holding(given.resume) if given.resume else find.current(create=True, request=given))
    return await where.spawn(given)


async def spawn_batch(call: Call) -> BaseModel:
    """Admits several tasks."""
    find = call.orchestrations
    where = await (find.named(call.orchestration_id) if call.orchestration_id else find.current(create=True, request=call.given))
    return await where.spawn_batch(call.given)


async def status(call: Call) -> BaseModel:
    """One task."""
    return await (await call.holding()).status(call.any_id)


async def list_tasks(call: Call) -> BaseModel:
    """The tasks of one orchestration; none where nothing was spawned yet."""
    try:
        where = await call.current()
    except NotFound:
        if call.orchestration_id is not None:
            raise
        return answers.ListAnswer(result=())
    return await where.list_tasks(call.given)


async def results(call: Call) -> BaseModel:
    """What all came to."""
    return await (await call.meant()).results()


async def cancel(call: Call) -> BaseModel:
    """Ends a task."""
    return await (await call.holding()).cancel(call.any_id, cascade=call.given.cascade)


async def pull(call: Call) -> BaseModel:
    """What changed since the caller's last pull."""
    return await (await call.current()).pull(full=call.given.full)


async def message(call: Call) -> BaseModel:
    """Sends it, to the receiver's orchestration where it is a task."""
    given = requests.MessageRequest.model_validate(call.given.model_dump(exclude_unset=True))
    if call.orchestration_id is not None or given.to in ("head", "*"):
        return await (await call.current()).message(given)
    try:
        where = await call.orchestrations.holding(given.to)
    except NotFound as missing:
        try:
            where = await call.orchestrations.current()  # an agent's name
        except NotFound:
            raise missing from None
    return await where.message(given)


async def messages(call: Call) -> BaseModel:
    """The caller's own."""
    given: shapes.MessagesParameters = call.given
    return await (await call.current()).messages(
        after=given.after,
        include_read=given.include_read,
        type_=given.type,
        correlation_id=given.correlation_id,
        max_bytes=given.max_bytes,
    )


async def wait(call: Call) -> BaseModel:
    """Until it holds."""
    return await (await call.holding(call.given.ids[0])).wait(call.given)


async def summary(call: Call) -> BaseModel:
    """At a glance."""
    return await (await call.current()).summary()


async def explain(call: Call) -> BaseModel:
    """Why a task is where it is."""
    return await (await call.holding()).explain(call.any_id)


async def work(call: Call) -> BaseModel:
    """Where a task's work is."""
    return await (await call.holding()).work(call.any_id)


async def brief(call: Call) -> BaseModel:
    """For a head that lost its memory."""
    return shapes.Text(text=await (await call.current()).brief())


async def plan(call: Call) -> BaseModel:
    """PLAN.json."""
    return shapes.Plan(plan=await (await call.current()).plan())


async def position(call: Call) -> BaseModel:
    """Of the newest event."""
    return shapes.Position(seq=await (await call.current()).position())


async def remains(call: Call) -> BaseModel:
    """Of a damaged journal."""
    return answers.ListAnswer(result=tuple(await (await call.current()).remains()))


async def current(call: Call) -> BaseModel:
    """The caller's own."""
    return _known(await call.orchestrations.current())


async def demand_current(call: Call) -> BaseModel:
    """The caller's own, made where there is none."""
    given: shapes.CurrentParameters = call.given
    return _known(await call.orchestrations.current(create=True, request=given.spawn or given.batch))


async def named(call: Call) -> BaseModel:
    """By its id."""
    return _known(await call.orchestrations.named(call.any_id))


async def holding(call: Call) -> BaseModel:
    """By a task's id."""
    return _known(await call.orchestrations.holding(call.any_id))


async def active(call: Call) -> BaseModel:
    """Those that matter now."""
    found = await call.orchestrations.active(everything=call.given.everything)
    return shapes.KnownOnes(orchestrations=tuple(map(_known, found)))


async def begin(call: Call) -> BaseModel:
    """A new one."""
    return _known(await call.orchestrations.begin(call.given.description, max_concurrent=call.given.max_concurrent))


def _known(orchestration: Orchestration) -> shapes.Known:
    directory = orchestration.directory
    return shapes.Known(orchestration_id=orchestration.orchestration_id, directory=str(directory) if directory else None)


async def output(call: Call) -> AsyncIterator[BaseModel]:
    """As people read it."""
    async for text in (await call.holding()).output(call.any_id, follow=call.given.follow, last=call.given.last):
        yield shapes.Lines(text=text)


async def printed(call: Call) -> AsyncIterator[BaseModel]:
    """Byte by byte."""
    async for piece in (await call.holding()).printed(call.any_id, follow=call.given.follow):
        yield shapes.Piece(is_error=piece.is_error, content=b64encode(piece.content).decode())


async def push(call: Call) -> BaseModel:
    """What its head decided."""
    return await (await call.current()).push(call.given)


async def mirror(call: Call) -> BaseModel:
    """Its files."""
    return await (await call.current()).mirror(call.given.after)


_AGENT = {"agent": "agentName"}
_TO = {"taskRunId": "to", "messageType": "type"}
_SPAWN = {**_AGENT, "isCloudWorkspace": "cloudWorkspace", "isOrchestrationHead": "cloudWorkspace"}
_API = "/api/orchestrate"

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "spawn", "POST", f"{_API}/spawn", "Admits one task, durably; it starts behind the answer.",
        requests.SpawnRequest, answers.SpawnAnswer, spawn, HEADS, 202, "key", renames=_SPAWN, tolerates=OF_OTHERS_SPAWN,
    ),
    Operation(
        "spawn_batch", "POST", f"{_API}/spawn-batch", "Admits several tasks in one commit, or none.",
        requests.BatchRequest, answers.BatchAnswer, spawn_batch, HEADS, 202, "key",
    ),
    Operation(
        "status", "GET", f"{_API}/status/{{id}}", "One task, with its live facts.",
        shapes.Nothing, answers.TaskRecord, status, beside=documents.beside_status,
    ),
    Operation(
        "list", "GET", f"{_API}/list", "The tasks, newest first.",
        requests.ListRequest, answers.ListAnswer, list_tasks, beside=documents.beside_list,
    ),
    Operation("results", "GET", f"{_API}/results/{{id}}", "What all tasks came to.", shapes.Nothing, answers.ResultsAnswer, results),
    Operation(
        "cancel", "POST", f"{_API}/cancel/{{id}}", "Ends a task; waits at most five seconds for what became true.",
        shapes.CancelParameters, answers.CancelAnswer, cancel, HEADS, repeats="memory", beside=documents.beside_cancel,
    ),
    Operation(
        "pull", "GET", "/api/orchestration/pull", "What changed since this client's last pull.",
        shapes.PullParameters, answers.PullAnswer, pull, repeats="memory", beside=documents.beside_pull,
    ),
    Operation(
        "push", "POST", "/api/orchestration/push", "What a head decided: how far it is, and what came of tasks that it did itself.",
        exchange.PushRequest, exchange.PushAnswer, push, HEADS, repeats="memory",
    ),
    Operation(
        "mirror", "GET", "/api/orchestration/mirror", "The files of an orchestration, and the next lines of its journal.",
        shapes.MirrorParameters, exchange.MirrorAnswer, mirror,
    ),
    Operation(
        "message", "POST", f"{_API}/message", "Sends a message to a task, to `head` or to everyone (`*`).",
        shapes.MessageParameters, answers.MessageAnswer, message, repeats="key", renames=_TO, beside=documents.beside_message,
    ),
    Operation(
        "messages", "GET", f"{_API}/messages", "The caller's messages; those of earlier answers count as read now.",
        shapes.MessagesParameters, answers.MessagesAnswer, messages, repeats="memory",
    ),
    Operation(
        "wait", "POST", f"{_API}/wait", "Until tasks have ended, the time is over, or a message or an agent needs the caller.",
        requests.WaitRequest, answers.WaitAnswer, wait, repeats="memory", lasts=True,
    ),
    Operation("summary", "GET", f"{_API}/summary", "The whole at a glance.", shapes.Nothing, answers.SummaryAnswer, summary),
    Operation(
        "explain", "GET", f"{_API}/explain/{{id}}", "Why a task is where it is.", shapes.Nothing, answers.Explanation, explain
    ),
    Operation("work", "GET", f"{_API}/work/{{id}}", "Where a task's work is.", shapes.Nothing, answers.WorkAnswer, work),
    Operation("brief", "GET", f"{_API}/brief", "What a head that lost its memory has to know.", shapes.Nothing, shapes.Text, brief),
    Operation("plan", "GET", f"{_API}/plan", "PLAN.json as it would be written now.", shapes.Nothing, shapes.Plan, plan),
    Operation("position", "GET", f"{_API}/position", "The newest event's number.", shapes.Nothing, shapes.Position, position),
    Operation(
        "remains", "GET", f"{_API}/remains", "The tasks that a damaged journal still tells of.",
        shapes.Nothing, answers.ListAnswer, remains,
    ),
    Operation(
        "active", "GET", "/api/orchestrations", "Those with unfinished or recent tasks.",
        shapes.ActiveParameters, shapes.KnownOnes, active,
    ),
    Operation(
        "begin", "POST", "/api/orchestrations", "Begins a new orchestration.", shapes.BeginParameters, shapes.Known, begin, USERS,
        201, "memory",
    ),
    Operation("current", "GET", "/api/orchestrations/current", "The caller's own.", shapes.Nothing, shapes.Known, current),
    Operation(
        "demand_current", "POST", "/api/orchestrations/current", "The caller's own, made where there is none.",
        shapes.CurrentParameters, shapes.Known, demand_current, HEADS, repeats="memory",
    ),
    Operation("named", "GET", "/api/orchestrations/{id}", "One by its id.", shapes.Nothing, shapes.Known, named),
    Operation("holding", "GET", "/api/orchestrations/holding/{id}", "The one that has a task.", shapes.Nothing, shapes.Known, holding),
)  # fmt: skip

STREAMS: tuple[Stream, ...] = (
    Stream("output", f"{_API}/output/{{id}}", "What an agent printed, in whole lines.", shapes.OutputParameters, shapes.Lines, output),
    Stream("printed", f"{_API}/printed/{{id}}", "The bytes that it printed.", shapes.OutputParameters, shapes.Piece, printed),
)

BY_NAME: Mapping[str, Operation] = {operation.name: operation for operation in OPERATIONS}
STREAM_BY_NAME: Mapping[str, Stream] = {stream.name: stream for stream in STREAMS}
