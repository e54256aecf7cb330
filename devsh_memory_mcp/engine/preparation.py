"""From a request to a task that can be admitted: the agent checked, the code resolved, ids made, the caller's environment recorded."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from devsh_memory_mcp.agents.catalogue import DEFAULT_AGENT, find_adapter
from devsh_memory_mcp.config import Caller
from devsh_memory_mcp.domain.names import ALPHABET, HEAD, branch_name, checked_id, new_task_id, new_task_run_id
from devsh_memory_mcp.domain.records import MAX_PROMPT_BYTES, Repository, TaskSpec
from devsh_memory_mcp.domain.requests import BatchRequest, BatchTask, SpawnRequest
from devsh_memory_mcp.domain.state import State
from devsh_memory_mcp.engine.admission import Prepared, check_name, in_order
from devsh_memory_mcp.engine.credentials import check_program, checked_permissions, find_credential, login_warnings, trusted_rules
from devsh_memory_mcp.engine.repository import Wanted, resolve, without_repository
from devsh_memory_mcp.engine.resumption import continued, resumed_task
from devsh_memory_mcp.errors import InvalidRequest

Preparing = tuple[tuple[Prepared, ...], tuple[str, ...]]


def choose(length: int) -> str:
    """Random characters for an id."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


@dataclass(frozen=True, slots=True)
class Preparation:
    """What is resolved for one caller, from his directory and with his environment."""

    caller: Caller
    mirrors: Path

    async def one(self, state: State, request: SpawnRequest) -> Preparing:
        """One task, ready to be admitted, and what its caller should be warned of."""
        prepared, warnings = await self._prepare(state, request, _inherited(state, request.depends_on), request.name)
        return (prepared,), warnings

    async def batch(self, state: State, request: BatchRequest) -> Preparing:
        """The tasks of a batch, each behind those that it depends on."""
        known = {name for task in state.tasks.values() for name in (task.id, task.orchestration_task_id, task.task_run_id)}
        done: dict[str, Prepared] = {}
        warnings: list[str] = []
        for task in in_order(request.tasks, known):
            single = _as_spawn(task, request)
            inherited = next((done[name].spec.repository for name in task.depends_on if name in done), None)
            follows = next((done[name].orchestration_task_id for name in task.depends_on if name in done), None)
            source = (inherited, follows) if inherited else _inherited(state, task.depends_on)
            done[task.id], told = await self._prepare(state, single, source, task.id)
            warnings += [text for text in told if text not in warnings]
        return tuple(done.values()), tuple(warnings)

    async def _prepare(
        self, state: State, request: SpawnRequest, inherited: tuple[Repository | None, str | None], name: str | None
    ) -> tuple[Prepared, tuple[str, ...]]:
        _check(request)
        if name is not None:
            check_name(state, name)
        old = resumed_task(state, request)
        usual = old.spec.agent_name if old else self.caller.environment.get("CMUX_DEFAULT_CODING_AGENT") or DEFAULT_AGENT
        agent_name = request.agent_name or usual
        adapter = find_adapter(agent_name)
        permissions = checked_permissions(adapter, agent_name, request.permissions)
        check_program(adapter, agent_name, self.caller.environment)
        task_id = new_task_id(choose)
        if old is not None:
            repository, warnings = await continued(state, old, request, task_id, without_repository(self.caller.environment))
        else:
            repository, warnings = await self._repository(request, inherited, task_id)
        credential = None
        if adapter.provider is not None:
            credential = find_credential(adapter.provider, self.caller.environment)
            warnings += login_warnings(state, adapter.provider, credential)
        if permissions == "bypass":
            warnings += (f"{agent_name} may do anything on this machine: it is in no sandbox and is asked for no permission.",)
        spec = TaskSpec(
            prompt=request.prompt,
            agent_name=agent_name,
            priority=request.priority,
            on_dependency_failure=request.on_dependency_failure,
            retries=request.retries,
            timeout_ms=request.timeout_ms,
            repository=repository,
            setup=request.setup,
            pr_title=request.pr_title,
            keep=request.keep,
            permissions=permissions,
            allow=trusted_rules(adapter.provider, repository, self.caller.environment) if adapter.provider else (),
            credential=credential,
            resume=old.orchestration_task_id if old else None,
            environment=self.caller.handed_on(),
            head_agent=self.caller.head_agent,
            parent=_parent(state, self.caller),
        )
        return Prepared(task_id, new_task_run_id(choose), name, spec, request.depends_on), warnings

    async def _repository(
        self, request: SpawnRequest, inherited: tuple[Repository | None, str | None], task_id: str
    ) -> tuple[Repository | None, tuple[str, ...]]:
        """Without `repo`, a dependent works on its first dependency's code and goes on from its branch."""
        source, follows = inherited
        if request.repo is None and request.branch is None and source is not None:
            prefix = source.branch.partition("/")[0] + "/"
            branch = branch_name(prefix, request.prompt, task_id)
            return source.model_copy(update={"branch": branch, "follows": follows, "uncommitted": 0}), ()
        wanted = Wanted(
            repo=request.repo if request.repo is not None or source is None else _place(source),
            branch=request.branch,
            include_dirty=request.include_dirty,
            directory=self.caller.directory,
            environment=without_repository(self.caller.environment),
            mirrors=self.mirrors,
        )
        return await resolve(wanted, request.prompt, task_id)


def _parent(state: State, caller: Caller) -> str | None:
    task = state.find_task(caller.identity) if caller.identity != HEAD else None
    return task.orchestration_task_id if task else None


def _place(source: Repository) -> str:
    return source.url or source.work_tree or source.git_directory


def _inherited(state: State, depends_on: tuple[str, ...]) -> tuple[Repository | None, str | None]:
    for name in depends_on:
        task = state.find_task(name)
        if task is not None and task.spec.repository is not None:
            return task.spec.repository, task.orchestration_task_id
    return None, None


def _check(request: SpawnRequest) -> None:
    size = len(request.prompt.encode(errors="surrogatepass"))
    if size > MAX_PROMPT_BYTES:
        next_step = "Put the long part into a file of the repository and name it."
        raise InvalidRequest(f"The prompt has {size:,} bytes; at most {MAX_PROMPT_BYTES:,} are taken.", next_step=next_step)
    if not request.prompt.strip():
        raise InvalidRequest("The prompt is empty.", next_step="Say what the agent is to do.")
    if "\0" in request.prompt or "\0" in (request.setup or ""):
        raise InvalidRequest("A prompt or setup cannot hold a NUL character.")
    for text in request.depends_on:
        checked_id(text, "task id")


def _as_spawn(task: BatchTask, request: BatchRequest) -> SpawnRequest:
    return SpawnRequest(
        prompt=task.prompt,
        agent_name=task.agent_name or request.defaults.agent_name,
        repo=task.repo if task.repo is not None else request.defaults.repo,
        branch=task.branch if task.branch is not None else request.defaults.branch,
        depends_on=task.depends_on,
        priority=task.priority,
        on_dependency_failure=task.on_dependency_failure,
        retries=task.retries,
        timeout_ms=task.timeout_ms,
        pr_title=task.pr_title,
        setup=task.setup,
        include_dirty=task.include_dirty,
        keep=task.keep,
        permissions=task.permissions,
        open_pr=task.open_pr,
    )
