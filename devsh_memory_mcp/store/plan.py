"""PLAN.json as another hand left it: tasks that are new in it, keys that are not ours, and changes that a command makes, not a file."""

from collections.abc import Iterator
from dataclasses import dataclass

from devsh_memory_mcp.domain.documents import PLAN_KEYS, PLAN_TASK_KEYS, plan_document
from devsh_memory_mcp.domain.events import Event, PlanEdited, PlanTaskFound
from devsh_memory_mcp.domain.names import Choose, checked_id, is_reserved, new_task_id, new_task_run_id
from devsh_memory_mcp.domain.records import DEFAULT_PRIORITY, StatusName
from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.errors import InvalidId

Document = dict[str, object]
VIEW_KEY = "_view"
_TERMINAL: dict[str, StatusName] = {"completed": "completed", "failed": "failed", "cancelled": "cancelled"}
_IGNORED = frozenset({"waitingFor", "held"})  # they follow from the rest


@dataclass(frozen=True, slots=True)
class Edit:
    """A view that somebody else had written: where his file was kept, and what of it goes on."""

    kept: tuple[str, ...]
    edited: PlanEdited
    tasks: tuple[PlanTaskFound, ...] = ()

    def events(self, state: State) -> tuple[Event, ...]:
        """What a commit should tell, without the tasks that have come to be known otherwise meanwhile."""
        names = ((task, (task.id, task.orchestration_task_id, task.task_run_id)) for task in self.tasks)
        return (self.edited, *(task for task, ids in names if not any(state.find_task(name) for name in ids)))

    def refusal(self, state: State, why: str) -> tuple[Event, ...]:
        """What to tell instead where the edit cannot be taken in; the files stay."""
        kept = ", ".join(self.kept)
        advice = f"It was not taken in and is kept as {kept}: {why}"
        return (PlanEdited(kept=kept, advice=advice, unknown=state.unknown, unknown_of_tasks=state.unknown_of_tasks),)


def found_tasks(plan: Document, state: State, choose: Choose) -> tuple[PlanTaskFound, ...]:
    """The tasks of a plan that `state` does not know. One that never ended is pending; what ran it before is not ours."""
    named: dict[str, str] = {}
    fresh: list[tuple[Document, str, str]] = []
    for task in _tasks(plan):
        name, own = _id(task, "id"), _id(task, "orchestrationTaskId")
        if _is_misnamed(task):
            continue
        if (name and state.find_task(name)) or (own and state.find_task(own)) or not isinstance(task.get("prompt"), str):
            continue
        own = own if own and own not in named.values() else new_task_id(choose)
        name = name if name and name not in named else own
        named[name] = own
        fresh.append((task, name, own))
    return tuple(_found(task, (name, own), named, state, choose) for task, name, own in fresh)


def told_of_names(plan: Document, state: State) -> str:
    """What is to be said of the tasks that are not taken in for their names' sake; empty where there is none."""
    names = [name for task in _tasks(plan) if _is_misnamed(task) and (name := str(task["id"])) and not state.find_task(name)]
    if not names:
        return ""
    return f"Not taken in, since no task can be named so: {', '.join(map(repr, names[:5]))}; ids of that form are given out by us."


def _is_misnamed(task: Document) -> bool:
    """Whether a task has a name that is somebody else's. A task without a name of its own bears its orchestrationTaskId."""
    name = task.get("id")
    if not isinstance(name, str) or name == task.get("orchestrationTaskId"):
        return False
    return is_reserved(name)


def _found(task: Document, ids: tuple[str, str], named: dict[str, str], state: State, choose: Choose) -> PlanTaskFound:
    priority = task.get("priority")
    run = _id(task, "taskRunId")
    return PlanTaskFound(
        orchestration_task_id=ids[1],
        task_run_id=run if run and not state.find_task(run) else new_task_run_id(choose),
        id=ids[0],
        agent_name=_text(task, "agentName") or "",
        prompt=_text(task, "prompt") or "",
        depends_on=tuple(_dependency(entry, named, state) for entry in _strings(task.get("dependsOn"))),
        priority=priority if isinstance(priority, int) and 0 <= priority <= 10 else DEFAULT_PRIORITY,
        status=_TERMINAL.get(str(task.get("status")), "pending"),
        result=_text(task, "result"),
        error_message=_text(task, "errorMessage"),
    )


def _dependency(name: str, named: dict[str, str], state: State) -> str:
    known = state.find_task(name)
    return known.orchestration_task_id if known else named.get(name, name)


def unknown_keys(plan: Document) -> Document:
    """The keys of the plan itself that are not ours."""
    return {key: value for key, value in plan.items() if key not in PLAN_KEYS and key != VIEW_KEY}


def unknown_keys_of_tasks(plan: Document) -> dict[str, Document]:
    """The keys of its tasks that are not ours, by plan id."""
    kept = {_id(task, "id"): {key: value for key, value in task.items() if key not in PLAN_TASK_KEYS} for task in _tasks(plan)}
    return {name: keys for name, keys in kept.items() if name and keys}


def paused(plan: Document, state: State) -> bool | None:
    """Whether the plan's status newly says that nothing is to start, or no longer does; None where it says nothing new."""
    status = plan.get("status")
    if not isinstance(status, str) or (status == "paused") == state.paused:
        return None
    return status == "paused"


def advice(plan: Document, before: State) -> str:
    """Which commands do what changes of our own fields were meant to do; `before` is the state that the file showed."""
    shown = plan_document(before, {})
    tasks = {name: task for task in _tasks(plan) if (name := _id(task, "id"))}
    said = [*_advice_on_tasks(tasks, shown, before)]
    gone = [task.id for task in before.tasks.values() if task.id not in tasks]
    if gone:
        said.append(f"Tasks are not removed from a plan; `devsh orchestrate cancel {gone[0]}` ends one.")
    if plan.get("messages") != shown["messages"]:
        said.append('`devsh orchestrate message TASK "…"` sends a message.')
    return " ".join(said)


def _advice_on_tasks(tasks: dict[str, Document], shown: Document, before: State) -> Iterator[str]:
    for old in _tasks(shown):
        task = before.find_task(str(old["id"]))
        new = tasks.get(str(old["id"]))
        if task is None or new is None:
            continue
        changed = [key for key in old if key not in _IGNORED and old[key] != new.get(key)]
        if changed:
            yield _advice_on_task(task, changed, new)


def _advice_on_task(task: Task, changed: list[str], new: Document) -> str:
    if "status" in changed and new.get("status") == "cancelled":
        return f"`devsh orchestrate cancel {task.id}` cancels a task."
    if task.held:
        return f"{', '.join(changed)} of {task.id}: `devsh orchestrate spawn` starts a task as it should be."
    return (
        f"{', '.join(changed)} of {task.id} cannot be changed in the file: "
        f"`devsh orchestrate cancel {task.id}`, then `devsh orchestrate spawn` with what should be."
    )


def _tasks(plan: Document) -> list[Document]:
    tasks = plan.get("tasks")
    return [task for task in tasks if isinstance(task, dict)] if isinstance(tasks, list) else []


def _id(task: Document, key: str) -> str | None:
    value = task.get(key)
    try:
        return checked_id(value) if isinstance(value, str) else None
    except InvalidId:
        return None


def _text(task: Document, key: str) -> str | None:
    value = task.get(key)
    return value if isinstance(value, str) else None


def _strings(value: object) -> list[str]:
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []
