"""What a shim is told of a task: its run.json, with the base and the merges that its dependencies gave, and its prompt's preamble.

Pure: from the state to a value. Scripts get the preamble in a file (`Run.briefing`) and their prompt as it is; agents that read get
it in front.
"""

from dataclasses import dataclass
from pathlib import Path

from devsh_memory_mcp.agents.catalogue import find_adapter
from devsh_memory_mcp.agents.figures import counted
from devsh_memory_mcp.domain.letters import Message
from devsh_memory_mcp.domain.lineage import base_of, dependencies, followed, sources
from devsh_memory_mcp.domain.names import session_id as session_id_of
from devsh_memory_mcp.domain.records import TaskSpec
from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.domain.status import Status
from devsh_memory_mcp.domain.summary import cut
from devsh_memory_mcp.engine.bounds import limits_of
from devsh_memory_mcp.engine.instructions import FILE as INSTRUCTIONS
from devsh_memory_mcp.shim.confinement import Confinement, Mount
from devsh_memory_mcp.shim.rundir import FORMAT, AgentSession, Checkout, Head, Identity, Merge, Run
from devsh_memory_mcp.store.root import ORCHESTRATIONS

_RESULT_LENGTH = 4000
_SAID_LENGTH = 20_000  # characters of one text of an earlier session
_MOST_TOLD = 5  # sessions


@dataclass(frozen=True, slots=True)
class HeadSetting:
    """What heads are told beside: at which socket their API answers, how their MCP server is started, of what their `devsh` is made."""

    api: str = ""
    server_command: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Setting:
    """What all shims of a runner are told: the memory root, the runner's socket, how another runner and our MCP server are started."""

    root: Path
    socket: str
    runner_command: tuple[str, ...]
    server_command: tuple[str, ...]
    heads: HeadSetting = HeadSetting()


def make_run(state: State, task: Task, setting: Setting) -> Run:
    """run.json of the task's current attempt."""
    spec = task.spec
    preamble = _preamble(state, task)
    is_script = not find_adapter(spec.agent_name).takes_messages
    return Run(
        format=FORMAT,
        orchestration_id=state.orchestration_id,
        orchestration_task_id=task.orchestration_task_id,
        task_run_id=task.task_run_id,
        attempt=task.attempt,
        agent_name=spec.agent_name,
        prompt=spec.prompt if is_script or preamble is None else f"{preamble}\n\nYour task:\n\n{spec.prompt}",
        environment={**spec.environment, **_identity(state, task, setting.root)},
        memory_root=str(setting.root),
        control_socket=setting.socket,
        runner_command=setting.runner_command,
        checkout=checkout_of(state, task),
        setup=spec.setup,
        verify=spec.verify,
        stall_timeout=spec.stall_timeout_ms / 1000 if spec.stall_timeout_ms else None,
        max_turns=spec.max_turns,
        max_cost_usd=spec.max_cost_usd,
        timeout=spec.timeout_ms / 1000 if spec.timeout_ms else None,
        cancelled=bool(task.cancel_requested),
        briefing=f"{preamble}\n" if is_script and preamble else None,
        session=None if is_script else _session(state, task),
        permissions=spec.permissions,
        allow=spec.allow,
        hide=spec.hide,
        cost_basis=spec.credential.cost_basis if spec.credential else "unknown",
        server_command=() if is_script else setting.heads.server_command if spec.leads else setting.server_command,
        sandbox=_confinement(spec),
        limits=limits_of(spec),
        head=_head(spec, setting),
    )


def _head(spec: TaskSpec, setting: Setting) -> Head | None:
    led = spec.leads
    if led is None:
        return None
    directory = setting.root / ORCHESTRATIONS / led.orchestration_id
    return Head(led.orchestration_id, str(directory), setting.heads.api, setting.heads.code, setting.heads.packages)


def _confinement(spec: TaskSpec) -> Confinement | None:
    if spec.sandbox == "none":
        return None
    mounts = tuple(Mount(mount.path, mount.writable) for mount in spec.mounts)
    return Confinement(spec.network, mounts)


def _session(state: State, task: Task) -> AgentSession:
    """Each attempt's own; where the task goes on from another, with what that one's had said and cost."""
    session_id, old = session_id_of(task.task_run_id, task.attempt), state.tasks.get(task.spec.resume or "")
    if old is None or old.totals.session_id is None or not find_adapter(task.spec.agent_name).keeps_sessions:
        return AgentSession(session_id)
    return AgentSession(session_id, old.totals.session_id, old.totals.session_cost_usd or 0.0)


def _identity(state: State, task: Task, root: Path) -> dict[str, str]:
    """Who the agent is, in the variables that it and our own commands in its hands read."""
    known = {
        "CMUX_ORCHESTRATION_ID": state.orchestration_id,
        "CMUX_TASK_RUN_ID": task.task_run_id,
        "CMUX_HEAD_AGENT": task.spec.agent_name if task.spec.leads else task.spec.head_agent or state.head_agent,
        "CMUX_PARENT_TASK_RUN_ID": _parent_run(state, task),
        "DEVSH_MEMORY_DIR": str(root),
    }
    return {name: value for name, value in known.items() if value}


def _parent_run(state: State, task: Task) -> str:
    parent = state.tasks.get(task.spec.parent or "")
    return parent.task_run_id if parent else (state.session or "") if state.leadership else ""


def checkout_of(state: State, task: Task) -> Checkout | None:
    """The base is the followed dependency's published branch where it has one; the other dependencies' branches are merged."""
    repository = task.spec.repository
    if repository is None:
        return None
    finished = sources(state, task, repository)
    leader, base = followed(state, task), base_of(state, task)
    return Checkout(
        repository=repository.git_directory,
        base_commit=base.commit or repository.base_commit,
        branch=repository.branch,
        identity=Identity(repository.author_name, repository.author_email),
        url=repository.url,
        base_branch=base.branch,
        source_tree=repository.work_tree,
        include=repository.include,
        continues=repository.continues,
        merges=tuple(
            Merge(dependency.orchestration_task_id, dependency.branch or "", dependency.totals.tip or "")
            for dependency in finished
            if dependency is not leader
        ),
    )


def _preamble(state: State, task: Task) -> str | None:
    """What its dependencies came to, what its author mentions by id, and what became of the attempt before; None where nothing did."""
    parts = [_account(dependency) for dependency in dependencies(state, task)]
    mentioned = [
        _mention(other)
        for other in state.tasks.values()
        if other is not task and other.orchestration_task_id not in task.spec.depends_on and other.orchestration_task_id in task.spec.prompt
    ]
    if task.attempt > 1:
        refs = ", ".join(task.salvage_refs.values())
        told = [f"- message {message.id} from {message.sender}: {message.text}" for message in _read_before(state, task)]
        begun = f"This is attempt {task.attempt}; the one before ended: {task.error_message or task.reason}. Its work: {refs or 'none'}."
        parts.insert(0, "\n".join([begun, *(["It had been told:", *told] if told else [])]))
    earlier = ["Results of earlier tasks:", *parts, *mentioned] if parts or mentioned else []
    return "\n\n".join([*_before(state, task), *_head_word(task), *earlier]) or None


def _head_word(task: Task) -> list[str]:
    led = task.spec.leads
    if led is None or not find_adapter(task.spec.agent_name).takes_messages:
        return []
    where = f"$DEVSH_MEMORY_DIR/{'orchestration' if led.is_walled else f'{ORCHESTRATIONS}/{led.orchestration_id}'}/{INSTRUCTIONS}"
    again = " It has work already, of an earlier attempt of yours: begin with `devsh orchestrate list`." if task.attempt > 1 else ""
    return [f"You are the head of orchestration {led.orchestration_id}: you coordinate agents of your own. How: {where}.{again}"]


def _before(state: State, task: Task) -> list[str]:
    """For one that goes on: that its old directory is not where its work is now and, where its CLI does not remember, what was said."""
    if task.spec.resume is None:
        return []
    where = "a new checkout of your work as you left it" if task.spec.repository else "a new and empty directory"
    told = f"You go on from your earlier task {task.spec.resume}. Your current directory is {where}; do not use the directory of before."
    if find_adapter(task.spec.agent_name).keeps_sessions:
        return [told]
    return [f"{told} You remember nothing of it, so here is what was said then.", *_said(state, task)]


def _said(state: State, task: Task) -> list[str]:
    """The conversations of the tasks that this one goes on from, the first of them first; no more of them than a model can use."""
    told: list[str] = []
    earlier = state.tasks.get(task.spec.resume or "")
    while earlier is not None and len(told) < _MOST_TOLD:
        told.insert(0, _conversation(state, earlier))
        earlier = state.tasks.get(earlier.spec.resume or "")
    return told


def _conversation(state: State, task: Task) -> str:
    asked = f"You were asked:\n{cut(task.spec.prompt.strip(), _SAID_LENGTH)}"
    heard = [f"You were told by {message.sender}:\n{cut(message.text, _SAID_LENGTH)}" for message in _read_before(state, task)]
    answered = f"You answered:\n{cut(task.result.strip(), _SAID_LENGTH)}" if task.result else ""
    ended = f"You ended without an answer: {task.error_message or task.reason or task.status.value}"
    return "\n\n".join((asked, *heard, answered or ended))


def _read_before(state: State, task: Task) -> list[Message]:
    reader = task.orchestration_task_id
    return [message for message in state.messages.values() if message.is_for(reader) and reader in message.readers]


def _account(dependency: Task) -> str:
    lines = [f"- {dependency.id} ({dependency.spec.agent_name}): {dependency.status.value}"]
    if dependency.branch:
        lines.append(f"  branch origin/{dependency.branch}: {_changes(dependency)}")
    if dependency.status is not Status.COMPLETED:
        lines.append(f"  {dependency.error_message or ''}")
    if dependency.result:
        lines.append(f"  result: {cut(dependency.result.strip(), _RESULT_LENGTH)}")
    return "\n".join(lines)


def _mention(other: Task) -> str:
    where = f", branch origin/{other.branch}, {_changes(other)}" if other.branch else ""
    return f"{other.orchestration_task_id} is a task of {other.spec.agent_name}: {other.status.value}{where}."


def _changes(task: Task) -> str:
    stat = task.totals.diff_stat
    return f"{counted(stat.files, 'file')}, +{stat.insertions} -{stat.deletions}"
