"""A damaged journal made whole: every event that can be kept keeps its number, and what is lost is taken from the views.

A number that is missing is filled with a `journal_repaired` that changes nothing, since messages are named by their numbers; an
event whose number is taken goes to the end with a new one. Where the end is lost, its numbers are not given out again.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from devsh_memory_mcp.domain.documents import Agent
from devsh_memory_mcp.domain.events import (
    AgentCancelled,
    AgentCompleted,
    AgentFailed,
    AgentStarted,
    AttemptEnded,
    AttemptStarted,
    Event,
    JournalRepaired,
    OrchestrationCreated,
    PlanEdited,
)
from devsh_memory_mcp.domain.instants import parse_instant
from devsh_memory_mcp.domain.names import Choose
from devsh_memory_mcp.domain.state import State
from devsh_memory_mcp.domain.status import Status
from devsh_memory_mcp.errors import DevshError
from devsh_memory_mcp.shim.rundir import write_file
from devsh_memory_mcp.store.bookkeeping import AGENTS_FILE, PLAN_FILE, Document
from devsh_memory_mcp.store.files import keep_aside, nanoseconds
from devsh_memory_mcp.store.line import Damaged, Entry, encode, own_lines
from devsh_memory_mcp.store.plan import found_tasks, paused, unknown_keys, unknown_keys_of_tasks

_LARGEST_GAP = 10_000  # numbers; beyond that it is the number that is wrong


@dataclass(frozen=True, slots=True)
class Shown:
    """What the views know: their documents by name, the last event they tell of, where they are kept, and edits that are kept aside."""

    documents: dict[str, Document]
    seq: int = 0
    kept: str = ""
    edits: tuple[str, ...] = ()


@dataclass(slots=True)
class Mended:
    """A journal put together anew; `kept` is where the old one is, `notes` are sentences on what was not as it should be."""

    kept: str
    created: OrchestrationCreated
    state: State = field(default_factory=State)
    entries: list[Entry] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    late: list[Entry] = field(default_factory=list)
    lost_starts: list[AttemptStarted] = field(default_factory=list)  # of attempts of which there is more, so that they did start

    def add(self, at: datetime, event: Event) -> bool:
        """Folds one event in under the next number; False where it contradicts what is there."""
        entry = Entry(self.state.seq + 1, at, event)
        try:
            self.state.apply(entry.seq, at, event)
        except (DevshError, KeyError, ValueError, TypeError) as error:
            self.notes.append(f"An event {event.name} could not be kept: {error}")
            self.state = State()
            for known in self.entries:
                self.state.apply(known.seq, known.timestamp, known.event)
            return False
        self.entries.append(entry)
        return True

    def place(self, found: Entry) -> None:
        """Puts an event at its number, filling what is missing before it; where the number is taken it is for the end."""
        if not self.entries and not isinstance(found.event, OrchestrationCreated):
            self.notes.append("The creation of the orchestration was missing.")
            self.add(found.timestamp, self.created)
        missing = found.seq - self.state.seq - 1
        if missing:
            self.notes.append(f"The event {found.seq} follows {self.state.seq}.")
        if not 0 <= missing <= _LARGEST_GAP:
            self.late.append(found)
            return
        for _ in range(missing):
            self._fill(found.timestamp)
        if not self.add(found.timestamp, found.event):
            self._fill(found.timestamp)

    def fill_to(self, seq: int, at: datetime) -> None:
        """Gives every number up to `seq` to something that changes nothing: another event has had it."""
        missing = seq - self.state.seq
        if missing <= 0:
            return
        self.notes.append(f"The events {self.state.seq + 1} to {seq} were cut off.")
        for _ in range(missing if missing <= _LARGEST_GAP else 0):
            self._fill(at)

    def _fill(self, at: datetime) -> None:
        start = next((start for start in self.lost_starts if self._can_start(start)), None)
        if start is None:
            self.add(at, JournalRepaired(kept=self.kept, bytes=0))
            return
        self.lost_starts.remove(start)
        self.notes.append(f"The start of attempt {start.attempt} of {start.orchestration_task_id} was missing.")
        self.add(at, start)

    def _can_start(self, start: AttemptStarted) -> bool:
        task = self.state.find_task(start.orchestration_task_id)
        return task is not None and task.status is Status.PENDING and task.attempt + 1 == start.attempt

    def content(self) -> bytes:
        """The journal's bytes, each event a commit of its own."""
        return b"".join(encode((entry.event,), entry.seq, entry.timestamp) for entry in self.entries)


def mend(path: Path, shown: Shown, orchestration_id: str, now: datetime, choose: Choose) -> Mended:
    """Replaces the journal by a whole one, after keeping it as `EVENTS.jsonl.before-repair-<ns>`. Callers hold its lock."""
    content = path.read_bytes() if path.exists() else b""
    kept = keep_aside(path, content, "before-repair", nanoseconds(now))
    mended = Mended(kept.name, OrchestrationCreated(orchestration_id=orchestration_id))
    rebuild(mended, content, now)
    is_newer = shown.seq > mended.state.seq
    mended.fill_to(shown.seq, now)
    for at, event in _known_to_views(mended.state, shown.documents, choose):
        mended.notes.append(f"Taken from the views: {event.name} of {getattr(event, 'orchestration_task_id', '')}.")
        mended.add(at or now, event)
    for at, event in _untold_ends(mended):
        mended.notes.append(f"Taken from its attempt's end: {event.name} of {event.orchestration_task_id}.")
        mended.add(at, event)
    if shown.documents or shown.edits:
        mended.add(now, _edits(mended.state, shown, is_newer=is_newer))
    mended.add(now, JournalRepaired(kept=kept.name, bytes=len(content)))
    mended.notes.append(f"The journal as it was is kept as {kept.name}.")
    write_file(os.fspath(path), mended.content())
    return mended


def rebuild(mended: Mended, content: bytes, now: datetime) -> None:
    """Takes in every event that is in `content`, each at its number where that is free."""
    seen: set[tuple[int, datetime, str]] = set()
    lines = list(own_lines(content))
    mended.lost_starts = _lost_starts(line.event for line in lines if isinstance(line, Entry))
    for found in lines:
        if isinstance(found, Damaged):
            mended.notes.append(f"A line was left out: {found}.")
        elif (mark := (found.seq, found.timestamp, found.event.model_dump_json())) in seen:
            mended.notes.append(f"The event {found.seq} stood there twice.")
        else:
            seen.add(mark)
            mended.place(found)
    if not mended.entries:
        mended.add(now, mended.created)
    for entry in mended.late:
        mended.notes.append(f"An event {entry.seq} ({entry.event.name}) has the number {mended.state.seq + 1} now.")
        mended.add(entry.timestamp, entry.event)


def _lost_starts(events: Iterable[Event]) -> list[AttemptStarted]:
    """The starts that must have been, since the attempts ran or ended."""
    begun: set[tuple[str, int]] = set()
    lost: dict[tuple[str, int], AttemptStarted] = {}
    for event in events:
        if isinstance(event, AttemptStarted | AgentStarted | AttemptEnded):
            key = event.orchestration_task_id, event.attempt
            if isinstance(event, AttemptStarted):
                begun.add(key)
            lost.setdefault(key, AttemptStarted(orchestration_task_id=key[0], task_run_id=event.task_run_id, attempt=key[1]))
    return [start for key, start in lost.items() if key not in begun]


def _edits(state: State, shown: Shown, *, is_newer: bool) -> PlanEdited:
    """The edits that were there before the repair are not taken for new ones; keys that are not ours go on, the newer ones first."""
    plan = shown.documents.get(PLAN_FILE)
    plan_keys, task_keys = (unknown_keys(plan), unknown_keys_of_tasks(plan)) if plan else ({}, {})
    is_newer = is_newer and plan is not None
    return PlanEdited(
        kept=", ".join([*shown.edits, *([shown.kept] if shown.kept else [])]),
        advice="The journal was mended: what is kept here was not taken in, but for tasks, ends of tasks and keys that were missing.",
        paused=paused(plan, state) if plan and is_newer else None,
        unknown=plan_keys if is_newer else plan_keys | state.unknown,
        unknown_of_tasks=task_keys if is_newer else task_keys | state.unknown_of_tasks,
    )


def _known_to_views(state: State, views: dict[str, Document], choose: Choose) -> Iterator[tuple[datetime | None, Event]]:
    """What is missing and they tell, each with its time where they know it."""
    plan = views.get(PLAN_FILE, {})
    for found in found_tasks(plan, state, choose):
        yield _time_of(plan, found.id), found
    agents = views.get(AGENTS_FILE, {}).get("agents")
    for agent in _valid(agents if isinstance(agents, list) else []):
        task = state.find_task(agent.orchestration_task_id)
        if task is None or task.is_terminal or not Status(agent.status).is_terminal:
            continue
        if task.status is Status.PENDING and agent.status == "completed":
            attempt = agent.attempt or task.attempt + 1
            names = {"orchestration_task_id": task.orchestration_task_id, "task_run_id": task.task_run_id}
            yield agent.started_at or agent.completed_at, AttemptStarted(**names, attempt=attempt)
        yield agent.completed_at, _end(agent)


def _time_of(plan: Document, name: str) -> datetime | None:
    """When a task of a plan ended, else when it came to be."""
    tasks = plan.get("tasks")
    for task in tasks if isinstance(tasks, list) else []:
        if isinstance(task, dict) and name in (task.get("id"), task.get("orchestrationTaskId")):
            return parse_instant(str(task.get("completedAt"))) or parse_instant(str(task.get("createdAt")))
    return None


def _untold_ends(mended: Mended) -> list[tuple[datetime, AgentCompleted | AgentCancelled | AgentFailed]]:
    """The ends of tasks whose last attempt has ended and which nobody would go on with: that line of the commit is lost."""
    last = {entry.event.orchestration_task_id: entry for entry in mended.entries if isinstance(entry.event, AttemptEnded)}
    found: list[tuple[datetime, AgentCompleted | AgentCancelled | AgentFailed]] = []
    for task_id, entry in last.items():
        task, ended = mended.state.find_task(task_id), entry.event
        if task is None or task.status is not Status.RUNNING or task.live_attempt or not isinstance(ended, AttemptEnded):
            continue
        if ended.succeeded:
            found.append((entry.timestamp, AgentCompleted(orchestration_task_id=task_id, branch=ended.totals.branch)))
        elif ended.reason == "cancelled":
            found.append((entry.timestamp, AgentCancelled(orchestration_task_id=task_id)))
        else:
            message = ended.error_message or f"The attempt ended: {ended.reason}."
            found.append((entry.timestamp, AgentFailed(orchestration_task_id=task_id, reason=ended.reason, error_message=message)))
    return found


def _end(agent: Agent) -> Event:
    task_id = agent.orchestration_task_id
    if agent.status == "completed":
        return AgentCompleted(orchestration_task_id=task_id, result=agent.result, branch=agent.branch)
    if agent.status == "cancelled":
        return AgentCancelled(orchestration_task_id=task_id, error_message=agent.error_message or "Cancelled.")
    return AgentFailed(
        orchestration_task_id=task_id, reason=agent.reason or "lost", error_message=agent.error_message or "", result=agent.result
    )


def _valid(agents: Iterable[object]) -> Iterator[Agent]:
    for agent in agents:
        try:
            yield Agent.model_validate(agent)
        except ValueError:
            continue
