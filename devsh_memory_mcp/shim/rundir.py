"""The run directory of one attempt: the shapes of its files and how they are read and written.

Standard library only, and imported by the engine and the backends too: both ends of every file here are this one definition.
Named tuples and not dataclasses since every attempt pays for its imports. A file is complete or absent (`write_file`), a stream is
whole lines (`append_line`, `read_lines`); unknown keys are ignored, so a newer writer does not stop an older reader of one `format`.
An agent without a sandbox can put anything into its run directory: nothing but a regular file of bounded size is read here.
"""

import contextlib
import errno
import json
import os
import stat
import typing

from devsh_memory_mcp.shim.bounds import InForce, Limits
from devsh_memory_mcp.shim.confinement import GUARD, Confinement
from devsh_memory_mcp.shim.shape import Shape, from_json, to_json

FORMAT = 1
VERSION = "0.1.0"

RUN_FILE = "run.json"
LOCK_FILE = "lock"
OPEN_FILE = "open"  # locked by whoever goes on in the checkout after the end
REPORT_FILE = "report.jsonl"
INBOX_FILE = "inbox.jsonl"
OUTCOME_FILE = "outcome.json"
STDOUT_FILE = "stdout.log"
STDERR_FILE = "stderr.log"
SHIM_LOG_FILE = "shim.log"
RESERVE_FILE = "reserve"
PROMPT_FILE = "prompt"
BRIEFING_FILE = "briefing"
RESULT_FILE = "result.txt"
SETUP_FILE = "setup.log"
VERIFY_FILE = "verify.log"
BUNDLE_FILE = "bundle"
BUNDLE_LOG_FILE = "bundle.log"
BEGAN_FILE = "began-with"  # in the shim's own git directory: the refs of the checkout when the agent started
GIT_DIRECTORY = "git"
WORKSPACE_DIRECTORY = "workspace"
SANDBOX_DIRECTORY = "sandbox"  # the private directories of an agent in a sandbox

BRIEFING_VARIABLE = "DEVSH_BRIEFING"  # the path of BRIEFING_FILE, where there is one
_GLANCE = 32 * 1024
MOST_BYTES = 16 * 1024 * 1024  # of a file, or of a stream at a time

RUN_MARKER = "DEVSH_RUN"  # in the environment of every process below a shim: `<taskRunId>.<attempt>`
ISOLATION_VARIABLE = "DEVSH_ISOLATION"  # in the environment of whatever is in a sandbox: which one
TOKEN_VARIABLE = "CMUX_TASK_RUN_JWT"  # what an agent shows a server; it stands in no file
RUN_ROOT = "DEVSH_RUN_ROOT"  # in the agent's environment: the memory root that its shim sees to a runner of


class Merge(typing.NamedTuple):
    """A dependency's branch to be merged into the checkout before the agent starts."""

    orchestration_task_id: str
    branch: str
    commit: str


class Identity(typing.NamedTuple):
    """Whom git names as author and committer."""

    name: str
    email: str


class Checkout(typing.NamedTuple):
    """Which code the agent works on; all paths are absolute.

    `repository` is the common git directory of the user's repository. Where `url` is set it is a bare mirror of ours, made and
    fetched by the shim. `branch` is the new branch `{prefix}{slug}-{id}`; where it `continues`, it is there already, at `base_commit`, and
    is moved on. `include` are ignored files, relative to `source_tree`, to copy and never to commit.
    """

    repository: str
    base_commit: str
    branch: str
    identity: Identity
    url: str | None = None
    base_branch: str | None = None
    source_tree: str | None = None
    include: tuple[str, ...] = ()
    merges: tuple[Merge, ...] = ()
    continues: bool = False


class AgentSession(typing.NamedTuple):
    """The session that the agent is to have; see `agents.adapter.Session`."""

    id: str
    resumes: str | None = None
    cost_usd: float = 0.0


class Head(typing.NamedTuple):
    """What is put before an agent that leads an orchestration: `directory` is that one's, `api` the socket at which its runner answers.

    `code` are the paths in which `devsh` is found, and `packages` those that it is imported from.
    """

    orchestration_id: str
    directory: str
    api: str
    code: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


class Run(typing.NamedTuple):
    """run.json: all that the shim of one attempt needs to know. Durations are seconds, sizes bytes.

    `verify` is the command that an agent's success has to pass, `stall_timeout` how long the agent may print nothing.
    `briefing` is what a script is told in a file: the results of its dependencies, and what became of the attempt before.
    `server_command` starts our MCP server for agents that take one. No credential is ever in here.
    """

    format: int
    orchestration_id: str
    orchestration_task_id: str
    task_run_id: str
    attempt: int
    agent_name: str
    prompt: str
    environment: dict[str, str]
    memory_root: str
    control_socket: str
    runner_command: tuple[str, ...]
    checkout: Checkout | None = None
    setup: str | None = None
    verify: str | None = None
    timeout: float | None = None
    stall_timeout: float | None = None
    max_turns: int | None = None
    max_cost_usd: float | None = None
    cancel_grace: float = 0.7
    timeout_grace: float = 5.0
    output_limit: int = 64 * 1024 * 1024
    cancelled: bool = False
    briefing: str | None = None
    session: AgentSession | None = None
    permissions: str | None = None
    allow: tuple[str, ...] = ()
    hide: tuple[str, ...] = ()
    cost_basis: str = "unknown"
    server_command: tuple[str, ...] = ()
    sandbox: Confinement | None = None
    limits: Limits | None = None
    head: Head | None = None


class Process(typing.NamedTuple):
    """A process that can be recognised later: a pid alone may have been given to another."""

    pid: int
    start_time: str
    boot_id: str
    pid_namespace: str


class Report(typing.NamedTuple):
    """One line of report.jsonl. `n` counts from 1; `type` says which of the optional fields are set.

    started: process · workspace: facts · limits: facts (cgroups) · guard: process, facts (isolation, limits) ·
    agent_started: process · delivered: message_id ·
    activity, session, usage, needs_input: facts, see `agents.adapter.Fact` · verifying: facts, see `ending.Unverified` ·
    ended: facts, see `ending.Ended`.
    """

    n: int
    type: str
    at: str
    process: Process | None = None
    message_id: int | None = None
    facts: dict[str, typing.Any] = {}


class Letter(typing.NamedTuple):
    """One line of inbox.jsonl, from the runner to the shim. `id` is the `seq` of the event behind it; `type` is message or cancel."""

    id: int
    type: str
    sender: str = ""
    text: str = ""
    interrupt: bool = False


class Conflict(typing.NamedTuple):
    """A dependency's branch that could not be merged, and the files that conflicted."""

    branch: str
    files: tuple[str, ...]


class Traffic(typing.NamedTuple):
    """What went through an agent's broker; `refused` has how often, by host."""

    requests: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    refused: dict[str, int] = {}


class Outcome(typing.NamedTuple):
    """outcome.json: how the attempt ended, with all totals, so that nobody has to have read the reports.

    `cause` is exit, timeout, stalled, cancelled, lost, setup, spawn, verify, oom or disk. `succeeded` is the adapter's verdict, never the
    exit code alone, and that of the verification where one was asked for: `verified` is None where it has not come to one.
    `branch` is what was published in the user's repository (completed attempts only), `salvage_ref` where the work is in any case.
    `head` is what the agent began on, the base or the merge of its dependencies into it: commits and changes are counted from there.
    `unsaved` says that something is in the checkout alone, as a warning or the error tells in words: the checkout is to be kept.
    `failure` and what stands beside it are the adapter's verdict; `retry_at` is in epoch seconds. `active_ms` is how long the agent ran,
    `isolation` and `limits` what was really in force.
    `changed_files` are at most 200 paths of `changed_file_count`, `changed_file_sizes` the bytes of those that are still there.
    Times are ISO 8601, durations milliseconds.
    """

    format: int
    task_run_id: str
    attempt: int
    cause: str
    succeeded: bool
    started_at: str
    ended_at: str
    duration_ms: int
    last_report: int
    exit_code: int | None = None
    signal: int | None = None
    result: str | None = None
    result_truncated: bool = False
    error_message: str | None = None
    branch: str | None = None
    salvage_ref: str | None = None
    head: str | None = None
    tip: str | None = None
    commits: int = 0
    files_changed: int = 0
    insertions: int = 0
    deletions: int = 0
    changed_files: tuple[str, ...] = ()
    changed_file_count: int = 0
    changed_file_sizes: dict[str, int] | None = None
    merge_conflicts: tuple[Conflict, ...] = ()
    isolation: str = GUARD
    limits: InForce | None = None
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    warnings: tuple[str, ...] = ()
    usage: dict[str, int] | None = None
    cost_usd: float | None = None
    session_cost_usd: float | None = None
    cost_basis: str | None = None
    session_id: str | None = None
    failure: str | None = None
    retry_at: float | None = None
    needs_input: str | None = None
    unsaved: bool = False
    verified: bool | None = None
    tool_calls: int | None = None
    commands: int | None = None
    active_ms: int | None = None
    stop_reason: str | None = None
    network: Traffic | None = None


def write_file(path: str, content: bytes, *, mode: int = 0o600, before: typing.Callable[[], object] = lambda: None) -> None:
    """Puts `content` at `path`, whole and durable or not at all; `before` is called when it has its room and is not in place yet."""
    temporary = f"{path}.{os.getpid()}.tmp"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        _write_all(descriptor, content)
        os.fsync(descriptor)
    except OSError:
        os.unlink(temporary)
        raise
    finally:
        os.close(descriptor)
    before()
    os.replace(temporary, path)
    sync_directory(os.path.dirname(path))


def sweep(directory: str) -> None:
    """Removes the temporary files of a directory, for whoever knows that nobody of ours writes there now: their writers were killed."""
    for name in os.listdir(directory):
        _, _, writer = name.removesuffix(".tmp").rpartition(".")
        if name.endswith(".tmp") and writer.isdecimal():
            with contextlib.suppress(FileNotFoundError):
                if not stat.S_ISDIR(os.lstat(f"{directory}/{name}").st_mode):  # an agent's, for example: it is nothing of ours
                    os.unlink(f"{directory}/{name}")


def sync_directory(path: str) -> None:
    """Makes the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def write_json(path: str, value: Run | Outcome, *, before: typing.Callable[[], object] = lambda: None) -> None:
    """Puts a shape at `path` as 2-space JSON; see `write_file`."""
    write_file(path, json.dumps(to_json(value), indent=2, ensure_ascii=False).encode(errors="replace") + b"\n", before=before)


def open_regular(path: str) -> typing.BinaryIO:
    """A regular file for reading; ValueError where it is a link or a pipe, which may take for ever or end somewhere else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise ValueError(f"{path} is not a regular file") from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{path} is not a regular file")
    return open(descriptor, "rb")


def create_private(path: str, flags: int) -> int:
    """An opener for files of the shim's own, since its umask is the agent's."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def read_json(path: str, shape: type[Shape]) -> Shape | None:
    """The shape at `path`, None where there is no file. ValueError where it does not parse, is no regular file or too large."""
    try:
        with open_regular(path) as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    if len(content) > MOST_BYTES:
        raise ValueError(f"{path} is larger than {MOST_BYTES} bytes")
    return _parse(content, shape)


def append_line(descriptor: int, value: Report | Letter) -> None:
    """Appends one line, durable. The descriptor is open with O_APPEND and has one writer."""
    _write_all(descriptor, json.dumps(to_json(value), ensure_ascii=False, separators=(",", ":")).encode(errors="replace") + b"\n")
    getattr(os, "fdatasync", os.fsync)(descriptor)


def read_lines(path: str, shape: type[Shape], offset: int = 0) -> tuple[list[Shape], int]:
    """The whole lines from `offset` on and the offset behind them, at most 16 MB of them; no regular file, or no whole line, gives none.

    A line that is not `shape` is left out: these files have one writer of ours, so it is a newer release's or a disk's.
    """
    try:
        with open_regular(path) as file:
            file.seek(offset)
            content = file.read(MOST_BYTES)
    except (FileNotFoundError, ValueError):
        return [], offset
    whole = content[: content.rfind(b"\n") + 1]
    return [shaped for line in whole.splitlines() if (shaped := _parsed(line, shape)) is not None], offset + len(whole)


def last_lines(path: str, shape: type[Shape]) -> list[Shape]:
    """The whole lines in the file's last 32 KB, for what a glance needs."""
    try:
        size = os.stat(path).st_size
    except FileNotFoundError:
        return []
    return read_lines(path, shape, max(0, size - _GLANCE))[0]


def _parsed(line: bytes, shape: type[Shape]) -> Shape | None:
    try:
        return _parse(line, shape)
    except ValueError:
        return None


def _parse(content: bytes, shape: type[Shape]) -> Shape:
    try:
        return from_json(shape, json.loads(content))
    except RecursionError as error:
        raise ValueError(f"not a {shape.__name__}: it is nested too deeply") from error
