"""What each tool takes: the names, bounds, defaults and descriptions that a model reads. Unknown arguments are refused.

A list that arrives as a JSON string is read as the list (some clients send them so); an explicit null counts as absent.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from devsh_memory_mcp.domain import requests
from devsh_memory_mcp.domain.records import DEFAULT_PRIORITY, DEFAULT_WAIT_MS, MessageType, Request, StatusName

TaskId = Annotated[requests.AnyId, Field(description="An agent's orchestrationTaskId (or taskRunId, or name).")]


def _listed(value: object) -> object:
    if isinstance(value, str):
        return json.loads(value) if value.lstrip().startswith("[") else [value]
    return value


Ids = Annotated[tuple[requests.AnyId, ...], BeforeValidator(_listed)]


class Arguments(Request):
    """A tool's arguments, in camelCase only: what the schema shows is what is taken."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=False, extra="forbid")

    def sent(self) -> dict[str, Any]:
        """What the client said, without defaults: a repeat is known again by that, also by a release with other defaults."""
        return {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}


class SpawnArguments(Arguments):
    """Arguments of spawn_agent."""

    prompt: Annotated[str, Field(min_length=1, description="The whole task. It must stand alone: the agent sees nothing else of yours.")]
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
    on_dependency_failure: Annotated[Literal["fail", "run"], Field(description="What to do when a dependency fails.")] = "fail"
    retries: Annotated[requests.Retries, Field(description="Further attempts after a failure.")] = 0
    timeout: Annotated[requests.TimeoutMs | None, Field(description="End the agent after this many ms. Default: none.")] = None
    pr_title: Annotated[requests.Title | None, Field(description="Title for a later pull request.")] = None
    setup: Annotated[requests.Script | None, Field(description="Shell script to run in the checkout before the agent.")] = None
    include_dirty: Annotated[bool, Field(description="Give the agent your uncommitted changes too.")] = False
    idempotency_key: Annotated[requests.Key | None, Field(description="A repeated call with the same key spawns nothing new.")] = None

    def request(self) -> requests.SpawnRequest:
        """The same as the engine takes it."""
        return requests.SpawnRequest(**{"timeout_ms" if name == "timeout" else name: value for name, value in self.sent().items()})


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


class NoArguments(Arguments):
    """Arguments of get_orchestration_summary."""


class PullArguments(Arguments):
    """Arguments of pull_orchestration_updates."""

    orchestration_id: Annotated[requests.AnyId | None, Field(description="Default: CMUX_ORCHESTRATION_ID, else your own.")] = None
    full: Annotated[bool, Field(description="All tasks, not only those changed since your last pull.")] = False


class SendArguments(Arguments):
    """Arguments of send_message."""

    to: Annotated[str, Field(min_length=1, max_length=200, description="An agent's id or its unique agentName, head, or * for everyone.")]
    message: Annotated[str, Field(min_length=1, description="The text.")]
    type: Annotated[MessageType, Field(description="What it is.")] = "request"
    correlation_id: Annotated[requests.CorrelationId | None, Field(description="Ties an answer to its question.")] = None
    reply_to: Annotated[requests.MessageId | None, Field(description="id of the message that this answers.")] = None
    priority: Annotated[Literal["high", "normal", "low"] | None, Field(description="How urgent it is.")] = None
    metadata: Annotated[requests.Metadata, Field(description="Anything else, as an object.")] = {}
    interrupt: Annotated[bool, Field(description="Stop what the agent does now, so that it reads this at once.")] = False
    idempotency_key: Annotated[requests.Key | None, Field(description="A repeated call with the same key sends nothing new.")] = None

    def request(self) -> requests.MessageRequest:
        """The same as the engine takes it."""
        return requests.MessageRequest(**self.sent())


class MessagesArguments(Arguments):
    """Arguments of get_my_messages."""

    after: Annotated[int | None, Field(ge=0, description="cursor of the answer before: confirms those you got up to it as read.")] = None
    include_read: Annotated[bool, Field(description="Also those you had already.")] = False
    type: Annotated[MessageType | None, Field(description="Only this type.")] = None
    correlation_id: Annotated[requests.CorrelationId | None, Field(description="Only those with this correlationId.")] = None
