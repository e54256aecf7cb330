"""From requests to admitted tasks: pure decisions about names, dependencies, repeats and cycles."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from graphlib import CycleError, TopologicalSorter

from pydantic import BaseModel

from devsh_memory_mcp.domain.events import AgentFailed, AgentSpawned, Event, SettingsChanged
from devsh_memory_mcp.domain.names import checked_name
from devsh_memory_mcp.domain.records import TaskSpec
from devsh_memory_mcp.domain.requests import BatchTask
from devsh_memory_mcp.domain.state import State
from devsh_memory_mcp.domain.status import Status
from devsh_memory_mcp.errors import Conflict, DependencyCycle, IdempotencyConflict, InvalidRequest, TooManyTasks, UnknownDependency
from devsh_memory_mcp.ports import Decision


@dataclass(frozen=True, slots=True)
class Prepared:
    """A task that is ready to be admitted but for its dependencies, which are names still."""

    orchestration_task_id: str
    task_run_id: str
    name: str | None
    spec: TaskSpec
    depends_on: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the settings say of an orchestration; None is no word on it. What a request asked for itself comes first."""

    max_concurrent: int | None = None
    max_tasks: int | None = None


def fingerprint(request: BaseModel) -> str:
    """A hash of the fields as the caller sent them, before any default, so that a later release answers a repeat the same."""
    sent = request.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude={"idempotency_key"})
    return hashlib.sha256(json.dumps(sent, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:32]


def find_repeat(state: State, key: str | None, request: str) -> tuple[str, ...] | None:
    """The ids that the same request got before, None where it is new; IdempotencyConflict where the key meant something else."""
    answered = state.answered.get(key) if key is not None else None
    if answered is None:
        return None
    if answered.request != request:
        raise IdempotencyConflict(f"The idempotency key {(key or '')[:60]!r} was used for another request.")
    return tuple(answered.orchestration_task_ids)


def admit(
    state: State,
    _now: datetime,
    prepared: tuple[Prepared, ...],
    *,
    key: str | None,
    request: str,
    max_concurrent: int | None,
    bounds: Bounds = Bounds(),
) -> Decision[tuple[str, ...]]:
    """The events that admit the tasks in one commit, and their ids in order; a repeat gives the ids and no event."""
    repeat = find_repeat(state, key, request)
    if repeat is not None:
        return Decision((), repeat)
    _check_room(state, len(prepared), bounds.max_tasks)
    events: list[Event] = _places(state, max_concurrent, bounds.max_concurrent)
    names: dict[str, str] = {}
    ids: list[str] = []
    for task in prepared:
        event = _admitted(state, task, names, key, request)
        names[event.id] = event.orchestration_task_id
        ids.append(event.orchestration_task_id)
        events.append(event)
        events.extend(_already_doomed(state, event))
    return Decision(tuple(events), tuple(ids))


def _check_room(state: State, more: int, most: int | None) -> None:
    live = sum(1 for task in state.unfinished.values() if not task.held)
    if most is None or live + more <= most:
        return
    wanted = "one more" if more == 1 else f"{more} more"
    raise TooManyTasks(
        f"The orchestration has {live} unfinished tasks; with {wanted} it would have over {most} (max_tasks).",
        next_step="Wait until some have ended, or cancel what is not needed; `devsh config set max_tasks N` allows more.",
    )


def _places(state: State, asked: int | None, configured: int | None) -> list[Event]:
    """A setting never undoes what somebody asked for in this orchestration."""
    if asked is not None:
        is_new = asked != state.max_concurrent or not state.is_max_concurrent_asked
        return [SettingsChanged(max_concurrent=asked)] if is_new else []
    if configured is None or state.is_max_concurrent_asked or configured == state.max_concurrent:
        return []
    return [SettingsChanged(max_concurrent=configured, source="settings")]


def _admitted(state: State, task: Prepared, names: dict[str, str], key: str | None, request: str) -> AgentSpawned:
    known = state.find_task(task.name) if task.name else None
    if known is not None and not known.held:
        raise Conflict(f"There is a task named {task.name!r} already.", next_step="Give it another name, or none.")
    task_id = known.orchestration_task_id if known else task.orchestration_task_id
    depends_on = tuple(dict.fromkeys(_dependency(state, names, name) for name in task.depends_on))
    return AgentSpawned(
        orchestration_task_id=task_id,
        task_run_id=known.task_run_id if known else task.task_run_id,
        id=task.name or task_id,
        agent_name=task.spec.agent_name,
        spec=task.spec.model_copy(update={"depends_on": depends_on}),
        idempotency_key=key,
        request=request,
    )


def check_name(state: State, name: str) -> None:
    """InvalidId where no task may be called so. One that waits in the plan to be spawned has its name already."""
    known = state.find_task(name)
    if known is None or not known.held:
        checked_name(name)


def _dependency(state: State, names: dict[str, str], name: str) -> str:
    if name in names:
        return names[name]
    found = state.find_task(name)
    if found is None:
        where = f"orchestration {state.orchestration_id}" if state.orchestration_id else "the orchestration that this would begin"
        raise UnknownDependency(f"There is no task {name[:80]!r} in {where} to depend on.")
    return found.orchestration_task_id


def _already_doomed(state: State, event: AgentSpawned) -> list[Event]:
    if event.spec.on_dependency_failure == "run":
        return []
    over = (state.tasks.get(name) for name in event.spec.depends_on)
    cause = next((task for task in over if task and task.status in (Status.FAILED, Status.CANCELLED)), None)
    if cause is None:
        return []
    message = f"Dependency {cause.id} failed"
    return [AgentFailed(orchestration_task_id=event.orchestration_task_id, reason="dependency", error_message=message)]


def in_order(tasks: tuple[BatchTask, ...], is_known: set[str]) -> tuple[BatchTask, ...]:
    """The tasks of a batch with each behind what it depends on.

    InvalidRequest for a repeated id, UnknownDependency for a name that neither the batch nor `is_known` has, DependencyCycle.
    """
    by_id: dict[str, BatchTask] = {}
    for task in tasks:
        if task.id in by_id:
            raise InvalidRequest(f"The batch has two tasks with the id {task.id!r}.")
        by_id[task.id] = task
    for task in tasks:
        unknown = next((name for name in task.depends_on if name not in by_id and name not in is_known), None)
        if unknown is not None:
            raise UnknownDependency(f"Task {task.id!r} depends on {unknown[:80]!r}, which is neither in the batch nor in the plan.")
    graph = {task.id: [name for name in task.depends_on if name in by_id] for task in tasks}
    try:
        return tuple(by_id[name] for name in TopologicalSorter(graph).static_order())
    except CycleError as error:
        circle = " → ".join(error.args[1])
        raise DependencyCycle(f"The batch has a circle of dependencies: {circle[:300]}.") from error
