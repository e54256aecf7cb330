"""What is left of tasks and attempts whose events a journal has lost: in its own lines, in the run directories, in the views.

The first that knows is believed, in that order. Nothing here changes anything.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from devsh_memory_mcp.domain.documents import Agent
from devsh_memory_mcp.domain.events import AgentSpawned, AttemptEnded, Event, PlanTaskFound
from devsh_memory_mcp.domain.instants import parse_instant
from devsh_memory_mcp.domain.records import Credential, DiffStat, Mount, Permissions, Repository, TaskSpec, Totals
from devsh_memory_mcp.domain.status import Status
from devsh_memory_mcp.domain.totals import ended_by
from devsh_memory_mcp.shim import rundir
from devsh_memory_mcp.shim.rundir import Checkout, Outcome, Run
from devsh_memory_mcp.shim.shape import Shape
from devsh_memory_mcp.store.bookkeeping import AGENTS_FILE, Document
from devsh_memory_mcp.store.inspection import RUNS
from devsh_memory_mcp.store.lock import is_held

FindTip = Callable[[TaskSpec, str], str | None]  # the commit of a ref in the task's repository
_OURS = ("CMUX_", "DEVSH_MEMORY_DIR")  # what a runner adds to a task's environment
_PERMISSIONS: dict[str | None, Permissions] = {"acceptEdits": "acceptEdits", "bypass": "bypass"}


@dataclass(frozen=True, slots=True)
class Remains:
    """Runs, outcomes and ends by taskRunId and attempt, agents by orchestrationTaskId; `living` are attempts that go on."""

    agents: dict[str, Agent] = field(default_factory=dict)
    runs: dict[tuple[str, int], Run] = field(default_factory=dict)
    outcomes: dict[tuple[str, int], Outcome] = field(default_factory=dict)
    ends: dict[tuple[str, int], AttemptEnded] = field(default_factory=dict)
    living: frozenset[tuple[str, int]] = frozenset()

    def last_run(self, task_run_id: str) -> Run | None:
        """The newest attempt's run.json."""
        found = [run for (name, _), run in sorted(self.runs.items()) if name == task_run_id]
        return found[-1] if found else None

    def last_attempt(self, task_id: str, task_run_id: str) -> int:
        """The number of the newest attempt that anything is known of; what is over stays with the one that it ended with."""
        agent = self.agents.get(task_id)
        told = agent.attempt or 0 if agent else 0
        if agent and told and Status(agent.status).is_terminal:
            return told
        return max([told, *(number for name, number in (*self.runs, *self.ends) if name == task_run_id)])

    def end_of(self, task_id: str, task_run_id: str, attempt: int) -> AttemptEnded | None:
        """How an attempt ended, None where nothing tells; without the `tip` where only a view does."""
        key, agent = (task_run_id, attempt), self.agents.get(task_id)
        if key in self.ends:
            return self.ends[key]
        if key in self.outcomes:
            return ended_by(task_id, self.outcomes[key])
        if agent is None or not agent.attempt or not Status(agent.status).is_terminal or attempt > agent.attempt:
            return None
        names = {"orchestration_task_id": task_id, "task_run_id": task_run_id, "attempt": attempt}
        if attempt < agent.attempt:
            return AttemptEnded(**names, reason="lost", totals=Totals(salvage_ref=_salvage(agent, attempt)))
        is_done = agent.status == "completed"
        reason, message = agent.reason or "exit", None if is_done else agent.error_message
        return AttemptEnded(**names, reason=reason, succeeded=is_done, error_message=message, totals=_totals(agent, is_done=is_done))

    def is_from_view(self, task_run_id: str, attempt: int) -> bool:
        """Whether nothing but a view tells how it ended."""
        return (task_run_id, attempt) not in self.ends and (task_run_id, attempt) not in self.outcomes

    def started_at(self, task_id: str, task_run_id: str, attempt: int) -> datetime | None:
        """When an attempt began."""
        outcome, agent = self.outcomes.get((task_run_id, attempt)), self.agents.get(task_id)
        return (parse_instant(outcome.started_at) if outcome else None) or (agent.started_at if agent else None)

    def ended_at(self, task_id: str, task_run_id: str, attempt: int) -> datetime | None:
        """When an attempt ended."""
        outcome, agent = self.outcomes.get((task_run_id, attempt)), self.agents.get(task_id)
        return (parse_instant(outcome.ended_at) if outcome else None) or (agent.completed_at if agent else None)


def remains_of(directory: Path, views: dict[str, Document], events: Iterable[Event]) -> Remains:
    """What an orchestration's files tell, and the `events` of its journal that can be read."""
    ends = {(event.task_run_id, event.attempt): event for event in events if isinstance(event, AttemptEnded)}
    remains = Remains(_agents(views), ends=ends)
    living = set()
    for place in sorted((directory / RUNS).glob("*/*")):
        if not place.name.isdecimal():
            continue
        key = place.parent.name, int(place.name)
        if is_held(place / rundir.LOCK_FILE):
            living.add(key)
        run, outcome = _read(place / rundir.RUN_FILE, Run), _read(place / rundir.OUTCOME_FILE, Outcome)
        if run is not None and (run.task_run_id, run.attempt) == key:
            remains.runs[key] = run
        if outcome is not None and (outcome.task_run_id, outcome.attempt) == key:
            remains.outcomes[key] = outcome
    return Remains(remains.agents, remains.runs, remains.outcomes, ends, frozenset(living))


def spawned_by(run: Run, found: PlanTaskFound | None) -> AgentSpawned:
    """A task's admission as its run.json tells it, and `found` in a plan the rest."""
    environment = {name: value for name, value in run.environment.items() if not name.startswith(_OURS)}
    spec = TaskSpec(
        prompt=found.prompt if found else run.prompt,
        agent_name=run.agent_name,
        depends_on=found.depends_on if found else (),
        timeout_ms=int(run.timeout * 1000) if run.timeout else None,
        repository=_repository(run.checkout) if run.checkout else None,
        setup=run.setup,
        verify=run.verify,
        stall_timeout_ms=int(run.stall_timeout * 1000) if run.stall_timeout else None,
        max_turns=run.max_turns,
        max_cost_usd=run.max_cost_usd,
        hide=run.hide,
        permissions=_PERMISSIONS.get(run.permissions),
        allow=run.allow,
        credential=Credential.model_validate({"cost_basis": run.cost_basis}) if run.cost_basis in ("api", "subscription") else None,
        environment=environment,
        head_agent=run.environment.get("CMUX_HEAD_AGENT"),
    )
    if run.limits is not None:
        spec = spec.model_copy(update={"memory": run.limits.memory, "cpus": run.limits.cpus, "disk": run.limits.disk})
    if run.sandbox is not None:
        walls = {
            "sandbox": "required" if run.limits is not None and run.limits.required else "auto",
            "network": run.sandbox.network,
            "mounts": tuple(Mount(path=mount.path, writable=mount.writable) for mount in run.sandbox.mounts),
        }
        spec = spec.model_copy(update=walls)
    return AgentSpawned(
        orchestration_task_id=run.orchestration_task_id,
        task_run_id=run.task_run_id,
        id=found.id if found else run.orchestration_task_id,
        agent_name=run.agent_name,
        spec=spec.model_copy(update={"priority": found.priority}) if found else spec,
    )


def _repository(checkout: Checkout) -> Repository:
    return Repository(
        name=checkout.url or checkout.source_tree or checkout.repository,
        git_directory=checkout.repository,
        base_commit=checkout.base_commit,
        branch=checkout.branch,
        author_name=checkout.identity.name,
        author_email=checkout.identity.email,
        base_branch=checkout.base_branch,
        url=checkout.url,
        work_tree=checkout.source_tree,
        include=checkout.include,
        continues=checkout.continues,
    )


def _totals(agent: Agent, *, is_done: bool) -> Totals:
    began, over = agent.started_at, agent.completed_at
    return Totals(
        exit_code=agent.exit_code,
        branch=agent.branch if is_done else None,
        salvage_ref=_salvage(agent, agent.attempt or 0),
        commits=agent.commits or 0,
        diff_stat=agent.diff_stat or DiffStat(),
        changed_file_count=agent.diff_stat.files if agent.diff_stat else 0,
        isolation=agent.isolation,
        limits=agent.limits,
        duration_ms=max(0, int((over - began).total_seconds() * 1000)) if began and over else 0,
        cost_usd=agent.cost_usd,
        cost_basis=agent.cost_basis,
        session_id=agent.session_id,
        failure=agent.failure,
    )


def _salvage(agent: Agent, attempt: int) -> str | None:
    return next((ref for ref in agent.salvage_refs or () if ref.endswith(f"/{attempt}")), None)


def _read(path: Path, shape: type[Shape]) -> Shape | None:
    try:
        return rundir.read_json(str(path), shape)
    except (OSError, ValueError):
        return None


def _agents(views: dict[str, Document]) -> dict[str, Agent]:
    told = views.get(AGENTS_FILE, {}).get("agents")
    found: dict[str, Agent] = {}
    for document in told if isinstance(told, list) else []:
        try:
            agent = Agent.model_validate(document)
        except ValueError:
            continue
        found.setdefault(agent.orchestration_task_id, agent)
    return found
