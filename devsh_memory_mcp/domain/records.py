"""The records that are the same on disk, on the wire and in tool schemas.

Frozen; camelCase outside. What we read from disk tolerates unknown keys (`Record`), what a caller sends refuses them (`Request`).
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

MAX_PROMPT_BYTES = 1024 * 1024
MAX_MESSAGE_BYTES = 256 * 1024
MAX_RESULT_BYTES = 64 * 1024
MAX_TIMEOUT_MS = 30 * 24 * 3600 * 1000
DEFAULT_WAIT_MS = 300_000
DEFAULT_PRIORITY = 5
DEFAULT_PLACES = 8
DEFAULT_KEEP_DAYS = 30

Priority = Annotated[int, Field(ge=0, le=10, description="0 is the highest, 10 the lowest.")]
MessageType = Literal["handoff", "request", "status", "response"]
Reason = Literal["exit", "timeout", "lost", "dependency", "cancelled", "setup", "spawn", "verify", "stalled", "budget", "disk", "oom"]
Permissions = Literal["acceptEdits", "bypass"]
CostBasis = Literal["api", "subscription", "unknown"]
Billing = Literal["api", "subscription"]
Failure = Literal["auth", "rate_limit", "overload", "refusal", "context", "permission", "turns", "cost", "api", "crash"]
SandboxMode = Literal["auto", "required", "none"]
Network = Annotated[str, Field(max_length=4096, pattern=r"^(on|off|allow:.+)$")]
HeadStatus = Literal["running", "completed", "failed"]
OnExit = Literal["keep", "cancel"]
StatusName = Literal["pending", "running", "completed", "failed", "cancelled"]


class Record(BaseModel):
    """Something that we wrote ourselves; unknown keys come from a newer release and are ignored."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, extra="ignore", defer_build=True)


class Request(BaseModel):
    """Something that a caller sends; unknown keys are his mistake and are refused."""

    model_config = ConfigDict(
        frozen=True, alias_generator=to_camel, populate_by_name=True, extra="forbid", defer_build=True, str_strip_whitespace=False
    )


class Repository(Record):
    """The code that a task works on, as resolved when it was admitted.

    `name` is what a user would call it (`owner/repo`, a path). `git_directory` is the common git directory of a local repository or
    the bare mirror of `url`. `follows` names the dependency whose published branch is the base once it has one. Where it `continues`,
    `branch` is there already, at `base_commit`, and is moved on instead of made.
    """

    name: str
    git_directory: str
    base_commit: str
    branch: str
    author_name: str
    author_email: str
    base_branch: str | None = None
    url: str | None = None
    work_tree: str | None = None
    follows: str | None = None
    uncommitted: int = 0
    include: tuple[str, ...] = ()
    continues: bool = False


class Credential(Record):
    """With what an agent's CLI is logged in: the name of a variable of its caller, never its value, or None for its own login."""

    variable: str | None = None
    fingerprint: str | None = None
    cost_basis: CostBasis = "unknown"


class Mount(Record):
    """A path of this machine that an agent in a sandbox sees at the same place."""

    path: str
    writable: bool = False


class LimitsInForce(Record):
    """What an agent was kept to: bytes, processors, processes of the whole; `memory_each` of each process alone; `by` says how."""

    memory: int | None = None
    memory_each: int | None = None
    cpus: float | None = None
    processes: int | None = None
    by: str = ""
    disk: int | None = None


class Leadership(Record):
    """What a head that is itself a task leads, and within what bounds: all of it was settled when it was spawned.

    `project` is the directory that its spawner stood in, `repository` the head's own code, on which its agents work as well, and
    `environment` what its launch and its settings had of its spawner. `credentials` are by the program that takes them. Where it
    `is_walled`, no agent of its has less of a wall: neither another network than `network` nor more of the machine than `mounts`.
    """

    orchestration_id: str
    project: str
    repository: Repository | None = None
    environment: dict[str, str] = {}
    credentials: dict[str, tuple[Credential, ...]] = {}
    depth: int = 1
    is_walled: bool = False
    network: Network = "on"
    mounts: tuple[Mount, ...] = ()
    on_exit: OnExit | None = None


class TaskSpec(Record):
    """What was asked for, with all that depends on the caller resolved.

    `resume` is the orchestrationTaskId of the task continued, `depth` 1 for what a head spawned and one more for each agent between,
    `verify` the command that its agent's success has to pass, `keep_days` how long its output is kept, `allow` the repository's own
    rules for what needs no asking, where the caller trusts it, `hide` the MCP servers of his that the agent would see if nobody kept
    them from it. One that `leads` is a head.
    """

    prompt: str
    agent_name: str
    priority: int = DEFAULT_PRIORITY
    depends_on: tuple[str, ...] = ()
    on_dependency_failure: Literal["fail", "run"] = "fail"
    retries: int = 0
    timeout_ms: int | None = None
    repository: Repository | None = None
    setup: str | None = None
    verify: str | None = None
    stall_timeout_ms: int | None = None
    max_turns: int | None = None
    max_cost_usd: float | None = None
    pr_title: str | None = None
    open_pr: bool = False
    keep: bool = False
    permissions: Permissions | None = None
    allow: tuple[str, ...] = ()
    hide: tuple[str, ...] = ()
    credential: Credential | None = None
    resume: str | None = None
    environment: dict[str, str] = {}
    head_agent: str | None = None
    parent: str | None = None
    depth: int = 1
    keep_days: int = DEFAULT_KEEP_DAYS
    sandbox: SandboxMode = "none"
    network: Network = "on"
    mounts: tuple[Mount, ...] = ()
    memory: int | None = None
    cpus: float | None = None
    disk: int | None = None
    leads: Leadership | None = None


class MergeConflict(Record):
    """A dependency's branch that could not be merged into the checkout."""

    branch: str
    files: tuple[str, ...] = ()


class DiffStat(Record):
    """How much a task changed."""

    files: int = 0
    insertions: int = 0
    deletions: int = 0


class Traffic(Record):
    """What went through an agent's broker; `refused` has how often it asked for a host that it may not be connected to."""

    requests: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    refused: dict[str, int] = {}


class Totals(Record):
    """What one attempt came to; see `shim.rundir.Outcome`, from which it is made. `failure` is the class of an agent's failure."""

    exit_code: int | None = None
    signal: int | None = None
    branch: str | None = None
    salvage_ref: str | None = None
    head: str | None = None
    tip: str | None = None
    commits: int = 0
    diff_stat: DiffStat = DiffStat()
    changed_files: tuple[str, ...] = ()
    changed_file_count: int = 0
    changed_file_sizes: dict[str, int] = {}
    merge_conflicts: tuple[MergeConflict, ...] = ()
    isolation: str | None = None
    limits: LimitsInForce | None = None
    duration_ms: int = 0
    usage: dict[str, int] | None = None
    cost_usd: float | None = None
    cost_basis: CostBasis | None = None
    session_cost_usd: float | None = None
    session_id: str | None = None
    failure: Failure | None = None
    needs_input: str | None = None
    verified: bool | None = None
    tool_calls: int | None = None
    commands: int | None = None
    active_ms: int | None = None
    stop_reason: str | None = None
    network: Traffic | None = None
    warnings: tuple[str, ...] = ()
