"""From a request to a task that can be admitted: the agent checked, the code resolved, ids made, the caller's environment recorded."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from anyio import to_thread

from devsh_memory_mcp.agents.adapter import Adapter
from devsh_memory_mcp.agents.catalogue import PROVIDERS, find_adapter
from devsh_memory_mcp.config import Caller
from devsh_memory_mcp.domain.names import (
    ALPHABET,
    FALLBACK_BRANCH_PREFIX,
    HEAD,
    branch_name,
    checked_id,
    new_orchestration_id,
    new_task_id,
    new_task_run_id,
)
from devsh_memory_mcp.domain.records import MAX_PROMPT_BYTES, Billing, Credential, Leadership, OnExit, Repository, TaskSpec
from devsh_memory_mcp.domain.requests import BatchRequest, BatchTask, SpawnRequest
from devsh_memory_mcp.domain.state import State
from devsh_memory_mcp.engine.admission import Prepared, check_name, in_order
from devsh_memory_mcp.engine.bounds import limit_warnings
from devsh_memory_mcp.engine.confinement import Confined, confine, login_warnings, usual
from devsh_memory_mcp.engine.credentials import (
    check_program,
    checked_permissions,
    credentials_of,
    find_credential,
    find_standing,
    permission_warnings,
)
from devsh_memory_mcp.engine.leading import bounded, caller_in, credential_in, demand_leave, demand_room, least, recorded
from devsh_memory_mcp.engine.repository import Wanted, is_hosted, resolve, without_repository
from devsh_memory_mcp.engine.restraint import repository_of, restrained
from devsh_memory_mcp.engine.resumption import continued, resumed_task
from devsh_memory_mcp.errors import InvalidRequest, TooDeep
from devsh_memory_mcp.settings import Settings, load_settings, settings_in
from devsh_memory_mcp.store.scrubber import without_secrets_in_names

Preparing = tuple[tuple[Prepared, ...], tuple[str, ...]]
SettingsOf = Callable[[str | None], Settings]


def choose(length: int) -> str:
    """Random characters for an id."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


@dataclass(frozen=True, slots=True)
class Preparation:
    """What is resolved for one caller, from his directory and with his environment."""

    caller: Caller
    mirrors: Path
    leadership: Leadership | None = None

    def within(self, state: State) -> "Preparation":
        """The same in that orchestration, where it may be a head's own that leads others' work."""
        return replace(self, caller=caller_in(self.caller, state), leadership=state.leadership)

    async def settings(self) -> Settings:
        """What holds in the caller's project now; SettingsInvalid."""
        return await to_thread.run_sync(load_settings, self.caller.settings_place, self.caller.environment)

    async def one(self, state: State, request: SpawnRequest) -> Preparing:
        """One task, ready to be admitted, and what its caller should be warned of."""
        prepared, warnings = await self._prepare(state, request, _inherited(state, request.depends_on), request.name, self._settings_of())
        return (prepared,), warnings

    async def batch(self, state: State, request: BatchRequest) -> Preparing:
        """The tasks of a batch, each behind those that it depends on."""
        known = {name for task in state.tasks.values() for name in (task.id, task.orchestration_task_id, task.task_run_id)}
        done: dict[str, Prepared] = {}
        warnings: list[str] = []
        settings_of = self._settings_of()
        for task in in_order(request.tasks, known):
            single = _as_spawn(task, request)
            inherited = next((done[name].spec.repository for name in task.depends_on if name in done), None)
            follows = next((done[name].orchestration_task_id for name in task.depends_on if name in done), None)
            source = (inherited, follows) if inherited else _inherited(state, task.depends_on)
            done[task.id], told = await self._prepare(state, single, source, task.id, settings_of)
            warnings += [text for text in told if text not in warnings]
        return tuple(done.values()), tuple(warnings)

    def _settings_of(self) -> SettingsOf:
        """Settings by project, each read once for all tasks of a request."""
        return cache(partial(load_settings, environment=self.caller.environment))

    async def _prepare(
        self,
        state: State,
        request: SpawnRequest,
        inherited: tuple[Repository | None, str | None],
        name: str | None,
        settings_of: SettingsOf,
    ) -> tuple[Prepared, tuple[str, ...]]:
        _check(request)
        request = restrained(request, self.caller, self.mirrors.parent)
        here = await to_thread.run_sync(settings_of, self.caller.settings_place)
        request = self._allowed(state, request, name, here)
        old = resumed_task(state, request)
        agent_name = request.agent_name or (old.spec.agent_name if old else here.default_agent)
        adapter = find_adapter(agent_name)
        handed_on = self.caller.handed_on()
        billing = _billing(request, here, adapter)
        credential = self._credential(adapter, billing)
        check_program(_keeping(adapter, agent_name, request), agent_name, self.caller.environment)
        task_id = new_task_id(choose)
        if old is not None:
            branch = await self._another_branch(old.spec.repository, request, task_id, settings_of)
            repository, warnings = await continued(state, old, branch, without_repository(self.caller.environment))
        else:
            repository, warnings = await self._repository(request, inherited, task_id, settings_of)
        decide = partial(confine, repository=repository)
        confined = await to_thread.run_sync(decide, request, usual(agent_name, adapter, credential), here, handed_on, self.mirrors.parent)
        permissions = checked_permissions(adapter, agent_name, request.permissions, self.caller.environment, is_walled=confined.stands)
        there = await to_thread.run_sync(settings_of, repository.work_tree) if repository else None
        standing = find_standing(state, adapter, repository, self.caller.environment, credential)
        spec = _asked_for(request, agent_name, here, there, is_led=self.leadership is not None).model_copy(
            update={
                "repository": repository,
                "open_pr": _opens_pull_request(request, repository, there),
                "permissions": permissions,
                **standing.recorded(),
                "resume": old.orchestration_task_id if old else None,
                "environment": handed_on,
                "head_agent": self.caller.head_agent,
                "parent": _parent(state, self.caller),
                "depth": self.caller.depth + 1,
                "leads": self._leadership(repository, confined, request.on_head_exit) if request.cloud_workspace else None,
                **confined.fields(),
            }
        )
        allowed = () if confined.stands else permission_warnings(agent_name, permissions)
        bounds = await to_thread.run_sync(limit_warnings, spec)
        walls = (*confined.warnings, *login_warnings(confined, agent_name, adapter, standing.credential), *bounds)
        told = (*warnings, *standing.warnings, *allowed, *walls, *here.warnings, *(there.warnings if there else ()))
        return Prepared(task_id, new_task_run_id(choose), name, spec, request.depends_on), tuple(dict.fromkeys(told))

    def _credential(self, adapter: Adapter, billing: Billing | None) -> Credential | None:
        if adapter.provider is None:
            return None
        led = self.leadership
        found = credential_in(led, adapter.provider, billing) if led is not None else None
        return found if led is not None else find_credential(adapter.provider, self.caller.environment, billing)

    def _leadership(self, repository: Repository | None, confined: Confined, on_exit: OnExit | None) -> Leadership:
        """What a head that is spawned now leads, and its agents' bounds."""
        environment = self.caller.environment
        there = {provider.program: credentials_of(provider, environment) for provider in PROVIDERS}
        return Leadership(
            orchestration_id=new_orchestration_id(choose),
            project=self.caller.project,
            repository=repository.model_copy(update={"follows": None, "continues": False, "uncommitted": 0}) if repository else None,
            environment=recorded(self.caller.handed_on(), settings_in(environment)),
            credentials=self.leadership.credentials if self.leadership else {name: found for name, found in there.items() if found},
            depth=self.caller.depth + 1,
            is_walled=confined.stands,
            network=confined.network,
            mounts=confined.mounts,
            on_exit=on_exit,
        )

    def _allowed(self, state: State, request: SpawnRequest, name: str | None, settings: Settings) -> SpawnRequest:
        """The request as this caller may make it, for a task of that name. InvalidId, TooDeep, NotAllowed."""
        if name is not None:
            check_name(state, name)
        self._check_depth(settings)
        demand_room(request, self.caller.depth, settings)
        if self.leadership is not None or not self.caller.is_shell:
            demand_leave(settings)
        return request if self.leadership is None else bounded(request, self.leadership)

    def _check_depth(self, settings: Settings) -> None:
        if self.caller.depth >= settings.max_depth:
            most = "another" if self.caller.depth == 1 else f"others at a depth of {self.caller.depth}"
            raise TooDeep(f"You were spawned by {most}; agents are spawned {settings.max_depth} deep at most (max_depth).")

    async def _repository(
        self, request: SpawnRequest, inherited: tuple[Repository | None, str | None], task_id: str, settings_of: SettingsOf
    ) -> tuple[Repository | None, tuple[str, ...]]:
        """Without `repo`, a dependent works on its first dependency's code and goes on from its branch."""
        source, follows = inherited
        if request.repo is None and request.branch is None and source is not None:
            branch = await self._another_branch(source, request, task_id, settings_of)
            return source.model_copy(update={"branch": branch, "follows": follows, "continues": False, "uncommitted": 0}), ()
        wanted = Wanted(
            repo=_place(source) if request.repo is None and source is not None else repository_of(request, self.caller),
            branch=request.branch,
            include_dirty=request.include_dirty,
            directory=self.caller.directory,
            environment=without_repository(self.caller.environment),
            mirrors=self.mirrors,
            settings_of=settings_of,
        )
        return await resolve(wanted, without_secrets_in_names(request.prompt, self.caller.environment), task_id)

    async def _another_branch(self, source: Repository | None, request: SpawnRequest, task_id: str, settings_of: SettingsOf) -> str:
        """The name of a new branch in a repository that an earlier task worked on; it does not matter where that had none."""
        if source is None:
            return ""
        own = (await to_thread.run_sync(settings_of, source.work_tree)).branch_prefix
        prefix = FALLBACK_BRANCH_PREFIX if source.branch.startswith(FALLBACK_BRANCH_PREFIX) else own
        return branch_name(prefix, without_secrets_in_names(request.prompt, self.caller.environment), task_id)


def _asked_for(request: SpawnRequest, agent_name: str, here: Settings, there: Settings | None, *, is_led: bool) -> TaskSpec:
    """What the request says itself, and the settings where it says nothing: the caller's project's, and the repository's.

    Where it `is_led` by a head that is a task, what the settings say of time is the most.
    """
    return TaskSpec(
        prompt=request.prompt,
        agent_name=agent_name,
        priority=request.priority,
        on_dependency_failure=request.on_dependency_failure,
        retries=request.retries,
        timeout_ms=least(request.timeout_ms, here.timeout_ms) if is_led else request.timeout_ms or here.timeout_ms,
        setup=request.setup if request.setup is not None or there is None else there.setup,
        verify=(request.verify if request.verify is not None or there is None else there.verify) or None,
        stall_timeout_ms=request.stall_timeout_ms,
        max_turns=request.max_turns,
        max_cost_usd=request.max_cost_usd,
        pr_title=request.pr_title,
        keep=request.keep,
        keep_days=here.keep_days,
        memory=request.memory or here.memory,
        cpus=request.cpus or here.cpus,
        disk=request.disk or here.disk,
    )


def _billing(request: SpawnRequest, here: Settings, adapter: Adapter) -> Billing | None:
    """Who is to pay; of a setting a script takes no notice."""
    if request.billing is not None and adapter.provider is None:
        raise InvalidRequest("A script is run, which nobody is billed for.", next_step="Leave `billing` out.")
    return request.billing or here.billing


def _opens_pull_request(request: SpawnRequest, repository: Repository | None, there: Settings | None) -> bool:
    """Whether a pull request is wanted; nothing is pushed from a repository that was named by its path, whatever the settings say."""
    if repository is not None and is_hosted(repository):
        return request.open_pr if request.open_pr is not None else there is not None and there.auto_pr
    if request.open_pr:
        what = f"{repository.name} is a repository of this machine" if repository else "The task works on no repository"
        next_step = "Name it as owner/repo or by its URL, to have a pull request opened."
        raise InvalidRequest(f"{what}, and nothing is pushed from there.", next_step=next_step)
    return False


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
    return (state.leadership.repository if state.leadership else None), None


def _check(request: SpawnRequest) -> None:
    size = len(request.prompt.encode(errors="surrogatepass"))
    if size > MAX_PROMPT_BYTES:
        next_step = "Put the long part into a file of the repository and name it."
        raise InvalidRequest(f"The prompt has {size:,} bytes; at most {MAX_PROMPT_BYTES:,} are taken.", next_step=next_step)
    if not request.prompt.strip():
        raise InvalidRequest("The prompt is empty.", next_step="Say what the agent is to do.")
    if any("\0" in (text or "") for text in (request.prompt, request.setup, request.verify)):
        raise InvalidRequest("A prompt, setup or verification cannot hold a NUL character.")
    for text in request.depends_on:
        checked_id(text, "task id")


def _keeping(adapter: Adapter, agent_name: str, request: SpawnRequest) -> Adapter:
    """The adapter, where its agents keep the limits that are asked for: one that nobody could keep is refused, rather than promised."""
    keeps = adapter.provider.limits if adapter.provider else ()
    for kind, name, asked in (("turns", "maxTurns", request.max_turns), ("cost", "maxCostUsd", request.max_cost_usd)):
        if asked is not None and kind not in keeps:
            what = "the turns it takes" if kind == "turns" else "what it costs"
            late = " before its turn is over" if adapter.provider and kind in adapter.provider.tells_late else ""
            raise InvalidRequest(
                f"{agent_name} does not tell {what}{late}, so {name} could not be kept.",
                next_step=f"Leave {name} out; timeout ends any agent.",
            )
    return adapter


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
        verify=task.verify,
        stall_timeout_ms=task.stall_timeout_ms,
        max_turns=task.max_turns,
        max_cost_usd=task.max_cost_usd,
        include_dirty=task.include_dirty,
        keep=task.keep,
        permissions=task.permissions,
        billing=task.billing,
        open_pr=task.open_pr,
        sandbox=task.sandbox or request.defaults.sandbox,
        network=task.network or request.defaults.network,
        mounts=task.mounts,
        memory=task.memory or request.defaults.memory,
        cpus=task.cpus or request.defaults.cpus,
        disk=task.disk or request.defaults.disk,
    )
