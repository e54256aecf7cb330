"""What callers ask for; one definition for tools, CLI and HTTP. Unknown fields are refused."""

import json
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError
from pydantic_core import ErrorDetails

from devsh_memory_mcp.domain.records import (
    DEFAULT_PRIORITY,
    DEFAULT_WAIT_MS,
    MAX_TIMEOUT_MS,
    Billing,
    MessageType,
    Network,
    OnExit,
    Permissions,
    Priority,
    Request,
    SandboxMode,
)
from devsh_memory_mcp.domain.sizes import Bytes, Cpus

TimeoutMs = Annotated[int, Field(ge=1, le=MAX_TIMEOUT_MS)]
WaitMs = Annotated[int, Field(ge=0, le=MAX_TIMEOUT_MS)]
Retries = Annotated[int, Field(ge=0, le=10)]
Turns = Annotated[int, Field(ge=1, le=100_000)]
Dollars = Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)]
Places = Annotated[int, Field(ge=1, le=1000)]
Key = Annotated[str, Field(min_length=1, max_length=200)]
Title = Annotated[str, Field(max_length=300, pattern=r"^[^\x00-\x1f\x7f]*$")]
Script = Annotated[str, Field(max_length=64 * 1024)]
CorrelationId = Annotated[str, Field(min_length=1, max_length=200)]
MessageId = Annotated[int, Field(ge=1, le=2**53)]
Cursor = Annotated[str, Field(max_length=20)]
AnyId = Annotated[str, Field(min_length=1, max_length=64)]
Mounts = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=4096)], ...], Field(max_length=50)]
Dependencies = Annotated[tuple[AnyId, ...], Field(max_length=500)]

MAX_METADATA_BYTES = 16 * 1024


def _bounded(metadata: dict[str, object]) -> dict[str, object]:
    if len(json.dumps(metadata, ensure_ascii=False, default=str).encode(errors="replace")) > MAX_METADATA_BYTES:
        raise ValueError(f"has more than {MAX_METADATA_BYTES // 1024} KiB of JSON")
    return metadata


Metadata = Annotated[dict[str, object], AfterValidator(_bounded)]
_WORDS = {
    "missing": "is missing",
    "too_short": "needs at least {min_length}",
    "too_long": "takes at most {max_length}",
    "string_too_short": "is empty",
    "string_too_long": "has more than {max_length} characters",
    "greater_than": "is more than {gt}",
    "greater_than_equal": "is at least {ge}",
    "less_than_equal": "is at most {le}",
}


def faults_of(error: ValidationError) -> list[ErrorDetails]:
    """What a caller is told of. A list whose items are wrong has none left, which is pydantic's business and not his."""
    found = error.errors(include_url=False)
    return [fault for fault in found if fault["type"] != "too_short" or not any(_is_inside(other, fault) for other in found)]


def _is_inside(fault: ErrorDetails, other: ErrorDetails) -> bool:
    return len(fault["loc"]) > len(other["loc"]) and fault["loc"][: len(other["loc"])] == other["loc"]


def fault_in_words(fault: Mapping[str, object]) -> str:
    """What is wrong with a field, from one of pydantic's `errors()`, to stand behind the field's name."""
    context = fault.get("ctx")
    words = _WORDS.get(str(fault["type"]))
    if words is not None:
        return words.format(**(context if isinstance(context, dict) else {}))
    said = str(fault["msg"]).removeprefix("Value error, ")
    return f"{said[:1].lower()}{said[1:]}"


class SpawnRequest(Request):
    """One task. `repo` is owner/repo, a URL, a path or `none`; without it the caller's repository.

    `resume` is an ended task whose session and work this one continues. What is None is left to the settings. `mounts` are absolute paths
    that an agent in a sandbox sees, with `:rw` behind them those that it may write. `memory` and `disk` are in
    bytes, or a text like 4G. With `cloud_workspace` the agent is a head, which leads an orchestration of its own; `on_head_exit` says
    what becomes of the agents that it leaves at work.
    """

    prompt: Annotated[str, Field(min_length=1)]
    agent_name: str | None = None
    repo: str | None = None
    branch: str | None = None
    depends_on: Dependencies = ()
    priority: Priority = DEFAULT_PRIORITY
    name: AnyId | None = None
    on_dependency_failure: Literal["fail", "run"] = "fail"
    retries: Retries = 0
    timeout_ms: TimeoutMs | None = None
    pr_title: Title | None = None
    setup: Script | None = None
    verify: Script | None = None
    stall_timeout_ms: TimeoutMs | None = None
    max_turns: Turns | None = None
    max_cost_usd: Dollars | None = None
    include_dirty: bool = False
    keep: bool = False
    permissions: Permissions | None = None
    billing: Billing | None = None
    open_pr: bool | None = None
    resume: AnyId | None = None
    sandbox: SandboxMode | None = None
    network: Network | None = None
    mounts: Mounts = ()
    memory: Bytes | None = None
    cpus: Cpus | None = None
    disk: Bytes | None = None
    max_concurrent: Places | None = None
    cloud_workspace: bool = False
    on_head_exit: OnExit | None = None
    idempotency_key: Key | None = None


class BatchTask(Request):
    """One task of a batch; `id` is its plan id, which `dependsOn` of the others may name."""

    id: AnyId
    prompt: Annotated[str, Field(min_length=1)]
    agent_name: str | None = None
    repo: str | None = None
    branch: str | None = None
    depends_on: Dependencies = ()
    priority: Priority = DEFAULT_PRIORITY
    on_dependency_failure: Literal["fail", "run"] = "fail"
    retries: Retries = 0
    timeout_ms: TimeoutMs | None = None
    pr_title: Title | None = None
    setup: Script | None = None
    verify: Script | None = None
    stall_timeout_ms: TimeoutMs | None = None
    max_turns: Turns | None = None
    max_cost_usd: Dollars | None = None
    include_dirty: bool = False
    keep: bool = False
    permissions: Permissions | None = None
    billing: Billing | None = None
    open_pr: bool | None = None
    sandbox: SandboxMode | None = None
    network: Network | None = None
    mounts: Mounts = ()
    memory: Bytes | None = None
    cpus: Cpus | None = None
    disk: Bytes | None = None


class BatchDefaults(Request):
    """What the tasks of a batch have where they say nothing themselves."""

    agent_name: str | None = None
    repo: str | None = None
    branch: str | None = None
    sandbox: SandboxMode | None = None
    network: Network | None = None
    memory: Bytes | None = None
    cpus: Cpus | None = None
    disk: Bytes | None = None


class BatchRequest(Request):
    """Tasks that are admitted together, in one commit, or not at all."""

    tasks: Annotated[tuple[BatchTask, ...], Field(min_length=1, max_length=500)]
    defaults: BatchDefaults = BatchDefaults()
    max_concurrent: Places | None = None
    idempotency_key: Key | None = None


class MessageRequest(Request):
    """A message to a task (any of its ids, or an agent name that one task has), to `head` or to everyone (`*`).

    `interrupt` ends what the agent does at the moment, so that it turns to the message at once.
    """

    to: Annotated[str, Field(min_length=1, max_length=200)]
    message: Annotated[str, Field(min_length=1)]
    type: MessageType = "request"
    correlation_id: CorrelationId | None = None
    reply_to: MessageId | None = None
    priority: Literal["high", "normal", "low"] | None = None
    metadata: Metadata = {}
    interrupt: bool = False
    idempotency_key: Key | None = None


class WaitRequest(Request):
    """Until one (`any`) or each (`all`) of the tasks has ended, at most `timeout` ms; 0 answers at once."""

    ids: Annotated[tuple[AnyId, ...], Field(min_length=1, max_length=500)]
    mode: Literal["any", "all"] = "all"
    timeout: WaitMs = DEFAULT_WAIT_MS


class ListRequest(Request):
    """Newest first; `cursor` continues an earlier answer."""

    status: Literal["pending", "running", "completed", "failed", "cancelled"] | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 50
    cursor: Cursor | None = None
