"""The frames of an orchestration's live events: what a journal says, event by event, as Server-Sent Events.

Pure, and a function of the journal alone: the same events give the same bytes, live, replayed, or told by another process. The last
frame of an event has the event's `seq` as its id; one before it has `seq - 1` and its place behind a dot, so that whoever comes back
with any id he was given misses nothing and gets nothing twice.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from devsh_memory_mcp.domain import answers, events
from devsh_memory_mcp.domain.chronicle import sentence, task_of
from devsh_memory_mcp.domain.instants import instant_text
from devsh_memory_mcp.domain.records import Record
from devsh_memory_mcp.domain.state import State
from devsh_memory_mcp.domain.status import Status
from devsh_memory_mcp.domain.summary import cut, overall_status, status_counts, task_row
from devsh_memory_mcp.ports import Change

Data = dict[str, object]

_ID = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,3}))?")


class Dialect(StrEnum):
    """Whose words: those of the README and of the first stream, those of the typed stream, or the journal's own for our client."""

    STATUS = "status"
    TYPED = "typed"
    CHANGES = "changes"


class Cursor(NamedTuple):
    """Where a client is: it has all events up to `seq`, and of the next one the first `part` frames."""

    seq: int
    part: int = 0

    def __str__(self) -> str:
        """As an id."""
        return f"{self.seq}.{self.part}" if self.part else str(self.seq)


class Frame(NamedTuple):
    """One event of a stream."""

    name: str
    data: Data


@dataclass(frozen=True, slots=True)
class Step:
    """One event of the journal with what it changed: `previous` and `task` are its task's status before it and its row behind it.

    `counts` and `overall` are there where it ended the last unfinished task.
    """

    seq: int
    at: datetime
    event: events.Event
    orchestration_id: str
    words: str
    task: answers.TaskRow | None = None
    previous: str | None = None
    completed_at: datetime | None = None
    counts: answers.StatusCounts | None = None
    overall: str = ""

    @property
    def is_new_status(self) -> bool:
        """Whether it moved its task on."""
        return self.task is not None and self.task.status != self.previous


class Fold:
    """A journal read so far: gives each event as a step."""

    def __init__(self) -> None:
        self.state = State()

    def take(self, change: Change) -> Step:
        """The next event. ValueError where it is not told what it was."""
        event = change.cause
        if event is None or change.at is None:
            raise ValueError(f"the event {change.seq} ({change.event}) is not told")
        state = self.state
        before = state.tasks.get(task_of(event) or "")
        previous = before.status.value if before else None
        state.apply(change.seq, change.at, event)
        task = state.tasks.get(task_of(event) or "")
        is_last = task is not None and task.is_terminal and task.status != previous and not state.unfinished
        return Step(
            seq=change.seq,
            at=change.at,
            event=event,
            orchestration_id=state.orchestration_id,
            words=sentence(change.seq, event, state),
            task=task_row(state, task) if task else None,
            previous=previous,
            completed_at=task.completed_at if task else None,
            counts=status_counts(state) if is_last else None,
            overall=overall_status(state) if is_last else "",
        )


def read_id(text: str) -> Cursor | None:
    """The place that an id of a frame names; None where it is none of ours."""
    found = _ID.fullmatch(text)
    return Cursor(int(found[1]), int(found[2] or 0)) if found else None


def rendered(step: Step, dialect: Dialect, part: int = 0) -> bytes:
    """The step's frames in a dialect, without the first `part` of them; empty where the dialect has no word for it."""
    frames = list(_SPOKEN[dialect](step))
    last = len(frames) - 1
    ids = [Cursor(step.seq) if number == last else Cursor(step.seq - 1, number + 1) for number in range(len(frames))]
    return b"".join(encoded(frame, str(id_)) for frame, id_ in list(zip(frames, ids, strict=True))[part:])


def encoded(frame: Frame, id_: str | None = None) -> bytes:
    """The bytes of a frame. JSON in ASCII has no line break, whatever an agent wrote."""
    head = f"id: {id_}\n" if id_ is not None else ""
    data = json.dumps({"type": frame.name, **frame.data}, separators=(",", ":"))
    return f"{head}event: {frame.name}\ndata: {data}\n\n".encode()


def connected(state: State, dialect: Dialect, now: datetime) -> Frame:
    """The first frame of every stream."""
    version: Data = {"version": "v2"} if dialect is Dialect.TYPED else {}
    counts = _plain(status_counts(state))
    return Frame(
        "connected",
        {"orchestrationId": state.orchestration_id, "timestamp": millis(now), "seq": state.seq, "aggregatedStatus": counts} | version,
    )


def heartbeat(state: State, now: datetime) -> Frame:
    """The frame that keeps a connection alive."""
    counts = status_counts(state)
    return Frame(
        "heartbeat",
        {
            "timestamp": millis(now),
            "seq": state.seq,
            "completedCount": counts.completed,
            "pendingCount": counts.pending,
            "failedCount": counts.failed,
            "runningCount": counts.running,
            "cancelledCount": counts.cancelled,
            "aggregatedStatus": _plain(counts),
        },
    )


def as_they_are(state: State) -> Iterator[Frame]:
    """What a client that comes without an id is told of each task, so that one that ended before is no wait for ever."""
    for task in state.tasks.values():
        row = task_row(state, task)
        data = _of_task(state.orchestration_id, row) | {"snapshot": True, "seq": state.seq}
        yield Frame("task_status", data | _status(row, None))
        if task.is_terminal:
            yield Frame("task_completed", data | _ended(row, task.result, task.error_message, task.completed_at))


def replay_complete(count: int) -> Frame:
    """What was told before is told now; from here on it is live."""
    return Frame("replay_complete", {"eventsReplayed": count})


def failed(code: str, message: str) -> Frame:
    """The stream cannot go on."""
    return Frame("error", {"code": code, "message": message})


def millis(at: datetime | None) -> int | None:
    """Milliseconds since 1970."""
    return None if at is None else round(at.timestamp() * 1000)


def _plain(record: Record) -> Data:
    plain: Data = record.model_dump(mode="json", by_alias=True)
    return plain


def _of_task(orchestration_id: str, row: answers.TaskRow) -> Data:
    """Which task, under the names that clients look for."""
    return {
        "orchestrationId": orchestration_id,
        "taskId": row.orchestration_task_id,
        "orchestrationTaskId": row.orchestration_task_id,
        "taskRunId": row.task_run_id,
        "planId": row.id,
        "agentName": row.agent_name,
        "assignedAgentName": row.agent_name,
    }


def _status(row: answers.TaskRow, previous: str | None) -> Data:
    return {
        "status": row.status,
        "previousStatus": previous,
        "prompt": row.prompt,
        "attempt": row.attempt,
        "result": row.result,
        "errorMessage": row.error_message,
    }


def _ended(row: answers.TaskRow, result: str | None, error: str | None, at: datetime | None) -> Data:
    return {"status": row.status, "result": result, "errorMessage": error, "completedAt": millis(at), "branch": row.branch}


def _base(step: Step) -> Data:
    where: Data = _of_task(step.orchestration_id, step.task) if step.task else {"orchestrationId": step.orchestration_id}
    return where | {"seq": step.seq, "eventId": f"evt_{step.seq}", "timestamp": instant_text(step.at)}


def _in_status(step: Step) -> Iterator[Frame]:
    yield from _typed(step)
    if step.task is not None and step.is_new_status:
        yield Frame("task_status", _base(step) | _status(step.task, step.previous))
    yield from _ends(step)


def _in_types(step: Step) -> Iterator[Frame]:
    yield from _typed(step)
    if step.task is not None and step.is_new_status:
        moved: Data = {"previousStatus": step.previous, "newStatus": step.task.status, "status": step.task.status}
        yield Frame("task_status_changed", _base(step) | moved | {"reason": getattr(step.event, "reason", None)})
    yield from _ends(step)


def _in_changes(step: Step) -> Iterator[Frame]:
    """One frame for each event of the journal, as `ports.Change` has it, and of a message whose it is."""
    event = step.event
    told: Data = {"seq": step.seq, "at": instant_text(step.at), "event": getattr(event, "event", event.name)}
    post: Data = {"from": event.sender, "to": event.to} if isinstance(event, events.MessageSent) else {}
    yield Frame("change", told | post | {"task": _plain(step.task) if step.task else None})


def _ends(step: Step) -> Iterator[Frame]:
    row = step.task
    if row is not None and step.is_new_status and Status(row.status).is_terminal:
        event = step.event
        result, error = getattr(event, "result", None), getattr(event, "error_message", None)
        yield Frame("task_completed", _base(step) | _ended(row, result, error, step.completed_at))
    if step.counts is not None:
        whole: Data = {"orchestrationId": step.orchestration_id, "seq": step.seq, "timestamp": instant_text(step.at)}
        yield Frame("orchestration_completed", whole | {"status": step.overall, "aggregatedStatus": _plain(step.counts)})


def _typed(step: Step) -> Iterator[Frame]:
    told = _TYPED.get(type(step.event))
    if told is not None:
        name, fields = told
        yield Frame(name, _base(step) | {"message": step.words} | fields(step.event))


def _requested(event: events.AgentSpawned) -> Data:
    return {"prompt": cut(event.spec.prompt), "dependsOn": list(event.spec.depends_on), "priority": event.spec.priority}


def _message(event: events.MessageSent) -> Data:
    return {
        "from": event.sender,
        "to": event.to,
        "messageType": event.type,
        "content": event.message,
        "correlationId": event.correlation_id,
        "replyTo": event.reply_to,
        "priority": event.priority,
    }


def _approval(event: events.AgentNeedsInput) -> Data:
    source: Data = {"source": "worker_agent", "approvalType": "escalation" if event.kind == "login" else "tool_permission"}
    return source | {"action": event.message, "status": "pending"}


_TYPED: dict[type[events.Event], tuple[str, Callable[[Any], Data]]] = {
    events.AgentSpawned: ("task_spawn_requested", _requested),
    events.PlanTaskFound: ("plan_updated", lambda event: {"prompt": cut(event.prompt)}),
    events.PlanEdited: ("plan_updated", lambda event: {"kept": event.kept}),
    events.AttemptStarted: ("task_started", lambda event: {"attempt": event.attempt}),
    events.AgentStarted: ("worker_status", lambda event: {"attempt": event.attempt, "isolation": event.isolation}),
    events.TaskHeld: ("worker_status", lambda event: {"waitingFor": event.waiting_for}),
    events.AgentNeedsInput: ("approval_required", _approval),
    events.MessageSent: ("worker_message", _message),
}
_SPOKEN: dict[Dialect, Callable[[Step], Iterator[Frame]]] = {
    Dialect.STATUS: _in_status,
    Dialect.TYPED: _in_types,
    Dialect.CHANGES: _in_changes,
}
