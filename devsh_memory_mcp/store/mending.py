"""A damaged journal made whole: every event that can be kept keeps its number, and what is lost is taken from the views.

A number that is missing is filled with a `journal_repaired` that changes nothing, since messages are named by their numbers; an
event whose number is taken goes to the end with a new one.
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
    AttemptStarted,
    Event,
    JournalRepaired,
    OrchestrationCreated,
)
from devsh_memory_mcp.domain.names import Choose
from devsh_memory_mcp.domain.state import State
from devsh_memory_mcp.domain.status import Status
from devsh_memory_mcp.errors import DevshError
from devsh_memory_mcp.shim.rundir import write_file
from devsh_memory_mcp.store.bookkeeping import AGENTS_FILE, PLAN_FILE, Document
from devsh_memory_mcp.store.files import keep_aside, nanoseconds
from devsh_memory_mcp.store.line import Damaged, Entry, encode, own_lines
from devsh_memory_mcp.store.plan import found_tasks

_LARGEST_GAP = 10_000  # numbers; beyond that it is the number that is wrong


@dataclass(slots=True)
class Mended:
    """A journal put together anew; `kept` is where the old one is, `notes` are sentences on what was not as it should be."""

    kept: str
    created: OrchestrationCreated
    state: State = field(default_factory=State)
    entries: list[Entry] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    late: list[Entry] = field(default_factory=list)

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

    def _fill(self, at: datetime) -> None:
        self.add(at, JournalRepaired(kept=self.kept, bytes=0))

    def content(self) -> bytes:
        """The journal's bytes, each event a commit of its own."""
        return b"".join(encode((entry.event,), entry.seq, entry.timestamp) for entry in self.entries)


def mend(path: Path, views: dict[str, Document], orchestration_id: str, now: datetime, choose: Choose) -> Mended:
    """Replaces the journal by a whole one, after keeping it as `EVENTS.jsonl.before-repair-<ns>`. Callers hold its lock."""
    content = path.read_bytes() if path.exists() else b""
    kept = keep_aside(path, content, "before-repair", nanoseconds(now))
    mended = Mended(kept.name, OrchestrationCreated(orchestration_id=orchestration_id))
    rebuild(mended, content, now)
    for event in _known_to_views(mended.state, views, choose):
        mended.notes.append(f"Taken from the views: {event.name} of {getattr(event, 'orchestration_task_id', '')}.")
        mended.add(now, event)
    mended.add(now, JournalRepaired(kept=kept.name, bytes=len(content)))
    mended.notes.append(f"The journal as it was is kept as {kept.name}.")
    write_file(os.fspath(path), mended.content())
    return mended


def rebuild(mended: Mended, content: bytes, now: datetime) -> None:
    """Takes in every event that is in `content`, each at its number where that is free."""
    seen: set[tuple[int, datetime, str]] = set()
    for found in own_lines(content):
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


def _known_to_views(state: State, views: dict[str, Document], choose: Choose) -> Iterator[Event]:
    yield from found_tasks(views.get(PLAN_FILE, {}), state, choose)
    agents = views.get(AGENTS_FILE, {}).get("agents")
    for agent in _valid(agents if isinstance(agents, list) else []):
        task = state.find_task(agent.orchestration_task_id)
        if task is None or task.is_terminal or not Status(agent.status).is_terminal:
            continue
        if task.status is Status.PENDING and agent.status == "completed":
            yield AttemptStarted(
                orchestration_task_id=task.orchestration_task_id, task_run_id=task.task_run_id, attempt=agent.attempt or task.attempt + 1
            )
        yield _end(agent)


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
