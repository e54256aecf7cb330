"""What a head told of its plan, as events: what it did itself is done, what it planned is known. What an agent has is the agent's."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from devsh_memory_mcp.domain.events import Event, HeadReported, PlanTaskReported
from devsh_memory_mcp.domain.exchange import MirrorAnswer, PushAnswer, PushedTask, PushRequest
from devsh_memory_mcp.domain.instants import instant_text
from devsh_memory_mcp.domain.names import Choose
from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.engine.endings import failed
from devsh_memory_mcp.ports import Decision
from devsh_memory_mcp.store.line import Entry
from devsh_memory_mcp.store.plan import found_tasks
from devsh_memory_mcp.store.views import documents

LINES = 1000  # of the journal in one answer
_HERE = ("pending", "running")  # what a plan may say of a task that nothing came of yet


@dataclass(frozen=True, slots=True)
class Taken:
    """How many tasks a push changed, and why not the others."""

    updated: int
    warnings: tuple[str, ...]


def decide_push(state: State, request: PushRequest, choose: Choose) -> Decision[Taken]:
    """The events of one push, in one commit."""
    events: list[Event] = []
    warnings: list[str] = []
    updated = 0
    for told in request.tasks:
        task = state.find_task(told.id)
        found = list(_new(state, told, choose) if task is None else _moved(state, task, told))
        updated += bool(found)
        events += found
        if not found and (why := _why_not(task, told)):
            warnings.append(why)
    events.append(HeadReported(head_agent_status=request.head_agent_status, message=request.message))
    return Decision(tuple(events), Taken(updated, tuple(warnings)))


def _new(state: State, told: PushedTask, choose: Choose) -> Iterator[Event]:
    """A task of the head's own plan, which is shown from now on and held until it is spawned."""
    document = told.model_dump(mode="json", by_alias=True, exclude_none=True)
    yield from found_tasks({"tasks": [document]}, state, choose)


def _moved(state: State, task: Task, told: PushedTask) -> Iterator[Event]:
    if not task.held or task.is_terminal:
        return
    if told.status == "completed":
        yield PlanTaskReported(orchestration_task_id=task.orchestration_task_id, result=told.result)
    elif told.status == "failed":
        yield from failed(state, task, "exit", told.error_message or "Its head gave it up.")


def _why_not(task: Task | None, told: PushedTask) -> str | None:
    """What the head has to know; None where there was nothing to do."""
    if task is None:
        return f"{told.id}: no task has that id, and one is made only with a prompt."
    if told.status == task.status.value or told.status in _HERE:
        return None
    if task.is_terminal:
        return f"{told.id} is {task.status.value} already, which is final."
    if task.held:
        return f"{told.id}: what is not to be done any more is cancelled: `devsh orchestrate cancel {task.id}`."
    return f"{told.id} is its agent's, who will say himself what comes of it; `devsh orchestrate cancel {task.id}` ends it."


def push_answer(state: State, request: PushRequest, taken: Taken) -> PushAnswer:
    """What the head is told."""
    said = f"{taken.updated} of {len(request.tasks)} tasks updated" if request.tasks else "Recorded"
    return PushAnswer(
        orchestration_id=state.orchestration_id,
        head_agent_status=state.head_agent_status,
        tasks_pushed=len(request.tasks),
        tasks_updated=taken.updated,
        message=f"{said}.",
        warnings=taken.warnings,
    )


def mirror_answer(state: State, entries: Sequence[Entry], waiting: dict[str, str]) -> MirrorAnswer:
    """The files of an orchestration: its views as they would be written now, and the next lines of its journal, one event each."""
    plan, agents, mailbox = documents(state, waiting).values()
    lines = tuple(_line(entry) for entry in entries[:LINES] if entry.seq <= state.seq)
    return MirrorAnswer(orchestration_id=state.orchestration_id, seq=state.seq, plan=plan, agents=agents, mailbox=mailbox, events=lines)


def _line(entry: Entry) -> dict[str, object]:
    """A line of the journal without what its caller's environment was."""
    fields = entry.event.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"spec": {"environment"}})
    name = str(getattr(entry.event, "event", entry.event.name))
    return {"seq": entry.seq, "timestamp": instant_text(entry.timestamp), **fields, "event": name}
