"""What each tool takes: the names, bounds, defaults and descriptions that a model reads. Unknown arguments are refused.

A list that arrives as a JSON string is read as the list (some clients send them so); an explicit null counts as absent.
"""

import difflib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from devsh_memory_mcp.domain import requests
from devsh_memory_mcp.domain.records import DEFAULT_PRIORITY, DEFAULT_WAIT_MS, HeadStatus, MessageType, Request, SandboxMode, StatusName
from devsh_memory_mcp.domain.requests import fault_in_words, faults_of
from devsh_memory_mcp.errors import InvalidRequest

TaskId = Annotated[requests.AnyId, Field(description="An agent's id or name.")]


def _listed(value: object) -> object:
    if isinstance(value, str):
        return json.loads(value) if value.lstrip().startswith("[") else [value]
    return value


def _read(value: object) -> object:
    """Objects, also those that arrive as JSON text; a null in one counts as absent."""
    found = json.loads(value) if isinstance(value, str) else value
    if isinstance(found, list):
        return [_read(item) if isinstance(item, dict) else item for item in found]
    return {name: item for name, item in found.items() if item is not None} if isinstance(found, dict) else found


def _in_ms(sent: dict[str, Any]) -> dict[str, Any]:
    return {f"{name}_ms" if name in ("timeout", "stall_timeout") else name: value for name, value in sent.items()}


Ids = Annotated[tuple[requests.AnyId, ...], BeforeValidator(_listed)]


class Arguments(Request):
    """A tool's arguments, in camelCase only: what the schema shows is what is taken."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=False, extra="forbid")

    def sent(self) -> dict[str, Any]:
        """What the client said, without defaults: a repeat is known again by that, also by a release with other defaults."""
        return {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}


class SpawnArguments(Arguments):
    """Arguments of spawn_agent."""

    prompt: Annotated[str, Field(min_length=1, description="The whole task: the agent sees nothing else of yours.")]
    agent_name: Annotated[str | None, Field(description="provider/model.")] = None
    repo: Annotated[str | None, Field(description="owner/repo, URL, path, or none for an empty directory. Default: this project.")] = None
    branch: Annotated[str | None, Field(description="Base branch. Default: main, for a path what is checked out.")] = None
    depends_on: Annotated[
        requests.Dependencies,
        BeforeValidator(_listed),
        Field(description="Ids of agents that must complete first; their branches are merged in."),
    ] = ()
    priority: Annotated[int, Field(ge=0, le=10, description="0 = highest, 10 = lowest.")] = DEFAULT_PRIORITY
    name: Annotated[requests.AnyId | None, Field(description="Short id of your own, for dependsOn and lists.")] = None
    on_dependency_failure: Annotated[Literal["fail", "run"], Field(description="When a dependency fails.")] = "fail"
    retries: Annotated[requests.Retries, Field(description="Attempts after a failure.")] = 0
    timeout: Annotated[requests.TimeoutMs | None, Field(description="Ends the agent after so many ms.")] = None
    pr_title: Annotated[requests.Title | None, Field(description="Title for a later pull request.")] = None
    open_pr: Annotated[bool | None, Field(description="Open it at the end (owner/repo or URL).")] = None
    setup: Annotated[requests.Script | None, Field(description="Script to run in the checkout first.")] = None
    verify: Annotated[requests.Script | None, Field(description="Command that its work has to pass; else it failed, or is retried.")] = None
    stall_timeout: Annotated[requests.TimeoutMs | None, Field(description="Ends it when it prints nothing for so many ms.")] = None
    max_turns: Annotated[requests.Turns | None, Field(description="Ends it after so many turns.")] = None
    max_cost_usd: Annotated[requests.Dollars | None, Field(description="Ends it when it has cost so much.")] = None
    include_dirty: Annotated[bool, Field(description="With uncommitted changes.")] = False
    sandbox: Annotated[SandboxMode | None, Field(description="bubblewrap.")] = None
    resume: Annotated[requests.AnyId | None, Field(description="An ended agent: go on with its session and branch.")] = None
    idempotency_key: Annotated[requests.Key | None, Field(description="For a safe repeat of the call.")] = None

    def request(self) -> requests.SpawnRequest:
        """The same as the engine takes it."""
        return requests.SpawnRequest(**_in_ms(self.sent()))


class BatchItem(Arguments):
    """One task of spawn_batch; what is not described here is as in spawn_agent, so that a model reads it once."""

    id: requests.AnyId
    prompt: Annotated[str, Field(min_length=1)]
    agent_name: str | None = None
    repo: str | None = None
    branch: str | None = None
    depends_on: Annotated[requests.Dependencies, BeforeValidator(_listed)] = ()
    priority: Annotated[int, Field(ge=0, le=10)] = DEFAULT_PRIORITY
    on_dependency_failure: Literal["fail", "run"] = "fail"
    retries: requests.Retries = 0
    timeout: requests.TimeoutMs | None = None
    pr_title: requests.Title | None = None
    setup: requests.Script | None = None
    verify: requests.Script | None = None
    stall_timeout: requests.TimeoutMs | None = None
    max_turns: requests.Turns | None = None
    max_cost_usd: requests.Dollars | None = None
    include_dirty: bool = False

    def task(self) -> requests.BatchTask:
        """The same as the engine takes it."""
        return requests.BatchTask(**_in_ms(self.sent()))


class BatchDefaults(Arguments):
    """What the tasks of a batch have where they say nothing themselves."""

    agent_name: str | None = None
    repo: str | None = None
    branch: str | None = None


class BatchArguments(Arguments):
    """Arguments of spawn_batch."""

    tasks: Annotated[
        tuple[BatchItem, ...],
        BeforeValidator(_read),
        Field(min_length=1, max_length=500, description="As in spawn_agent; id is a name of yours, which dependsOn of others may name."),
    ]
    defaults: Annotated[BatchDefaults | None, BeforeValidator(_read), Field(description="For tasks that say nothing themselves.")] = None
    max_concurrent: Annotated[requests.Places | None, Field(description="At most so many run at once.")] = None
    idempotency_key: Annotated[requests.Key | None, Field(description="For a safe repeat of the call.")] = None

    def request(self) -> requests.BatchRequest:
        """The same as the engine takes it."""
        sent = self.sent() | {"tasks": tuple(item.task() for item in self.tasks)}
        if self.defaults is not None:
            sent["defaults"] = requests.BatchDefaults(**self.defaults.sent())
        return requests.BatchRequest(**sent)


class TaskArguments(Arguments):
    """Arguments of get_agent_status."""

    orchestration_task_id: TaskId


class CancelArguments(Arguments):
    """Arguments of cancel_agent."""

    orchestration_task_id: TaskId
    cascade: Annotated[bool, Field(description="Also cancel all that depend on it; else they fail.")] = False


class ListArguments(Arguments):
    """Arguments of list_spawned_agents."""

    status: Annotated[StatusName | None, Field(description="Only agents in this status.")] = None
    limit: Annotated[int, Field(ge=1, le=500, description="At most so many, newest first.")] = 50
    cursor: Annotated[requests.Cursor | None, Field(description="nextCursor of the answer before.")] = None


class WaitArguments(Arguments):
    """Arguments of wait_for_agent."""

    orchestration_task_id: Annotated[requests.AnyId | None, Field(description="The agent to wait for; or give ids.")] = None
    ids: Annotated[Ids, Field(max_length=500, description="Several agents to wait for in one call.")] = ()
    mode: Annotated[Literal["any", "all"], Field(description="With ids: until one has ended, or all.")] = "all"
    timeout: Annotated[requests.WaitMs, Field(description="Longest wait in ms; 0 answers at once.")] = DEFAULT_WAIT_MS


class SummaryArguments(Arguments):
    """Arguments of get_orchestration_summary."""

    brief: Annotated[bool, Field(description="Adds `brief`, all that a head needs to know who lost its memory.")] = False


class PullArguments(Arguments):
    """Arguments of pull_orchestration_updates."""

    orchestration_id: Annotated[requests.AnyId | None, Field(description="Default: CMUX_ORCHESTRATION_ID, else your own.")] = None
    full: Annotated[bool, Field(description="All tasks, not only those that changed.")] = False


class PushArguments(Arguments):
    """Arguments of push_orchestration_updates."""

    orchestration_id: Annotated[requests.AnyId | None, Field(description="Default: CMUX_ORCHESTRATION_ID, else your own.")] = None
    head_agent_status: Annotated[HeadStatus | None, Field(description="How far you, the head, are.")] = None
    message: Annotated[requests.Script | None, Field(description="A word on it.")] = None
    task_ids: Annotated[tuple[requests.AnyId, ...], Field(max_length=500, description="Only these of PLAN.json; else all.")] = ()


class SendArguments(Arguments):
    """Arguments of send_message."""

    to: Annotated[str, Field(min_length=1, max_length=200, description="An agent's id, head, or * for everyone.")]
    message: Annotated[str, Field(min_length=1, description="The text.")]
    type: Annotated[MessageType, Field(description="What it is.")] = "request"
    correlation_id: Annotated[requests.CorrelationId | None, Field(description="Ties an answer to its question.")] = None
    reply_to: Annotated[requests.MessageId | None, Field(description="id of the message that this answers.")] = None
    priority: Annotated[Literal["high", "normal", "low"] | None, Field(description="How urgent it is.")] = None
    metadata: Annotated[requests.Metadata, Field(description="Anything else, as an object.")] = {}
    interrupt: Annotated[bool, Field(description="Stop what the agent does now, so that it reads this at once.")] = False
    idempotency_key: Annotated[requests.Key | None, Field(description="For a safe repeat of the call.")] = None

    def request(self) -> requests.MessageRequest:
        """The same as the engine takes it."""
        return requests.MessageRequest(**self.sent())


class MessagesArguments(Arguments):
    """Arguments of get_my_messages."""

    after: Annotated[int | None, Field(ge=0, description="cursor of the answer before: those up to it count as read.")] = None
    include_read: Annotated[bool, Field(description="Also those you had already.")] = False
    type: Annotated[MessageType | None, Field(description="Only this type.")] = None
    correlation_id: Annotated[requests.CorrelationId | None, Field(description="Only those with this correlationId.")] = None


_INSIDE: dict[object, type[Arguments]] = {"tasks": BatchItem, "defaults": BatchDefaults}


def parsed(takes: type[Arguments], given: Mapping[str, object]) -> Arguments:
    """The arguments, checked. InvalidRequest names every wrong one, and the nearest where a name is unknown."""
    known = _names(takes)
    try:
        return takes.model_validate({name: value for name, value in given.items() if value is not None or name not in known})
    except ValidationError as error:
        faults = [_fault(fault, takes) for fault in faults_of(error)]
        raise InvalidRequest("; ".join(faults) + ".", next_step="Correct the arguments and call again.") from error


def _names(takes: type[Arguments]) -> set[str]:
    return {field.alias or name for name, field in takes.model_fields.items()}


def _fault(fault: Mapping[str, Any], takes: type[Arguments]) -> str:
    *inside, last = fault["loc"] or ("",)
    where = ".".join(str(part) for part in (*inside, last))[:80]
    if fault["type"] != "extra_forbidden":
        return f"{where}: {fault_in_words(fault)}"
    known = _names(_INSIDE[inside[0]] if inside else takes)
    near = difflib.get_close_matches(str(last), known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known)) or 'none'}"
    return f"{where}: unknown argument, {hint}"
