"""A damaged journal made whole: every event that can be kept keeps its number, and what is lost is taken from the views.

A number that is missing is filled with a `journal_repaired` that changes nothing, since messages are named by their numbers; an
event whose number is taken goes to the end with a new one. Where the end is lost, its numbers are not given out again.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from devsh_memory_mcp.domain.events import (
    AgentCancelled,
    AgentCompleted,
    AgentFailed,
    AgentSpawned,
    AgentStarted,
    AttemptEnded,
    AttemptStarted,
    Event,
    JournalRepaired,
    OrchestrationCreated,
    PlanEdited,
)
from devsh_memory_mcp.domain.names import Choose
from devsh_memory_mcp.domain.state import State
from devsh_memory_mcp.domain.status import Status
from devsh_memory_mcp.errors import DevshError
from devsh_memory_mcp.shim.rundir import write_file
from devsh_memory_mcp.store.bookkeeping import PLAN_FILE, Document
from devsh_memory_mcp.store.files import keep_aside, nanoseconds
from devsh_memory_mcp.store.line import Damaged, Entry, encode, own_lines
from devsh_memory_mcp.store.plan import paused, unknown_keys, unknown_keys_of_tasks
from devsh_memory_mcp.store.recovery import lost_attempts, lost_tasks, unknown_for_good, with_tip
from devsh_memory_mcp.store.remains import FindTip, Remains, remains_of

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
    now: datetime
    state: State = field(default_factory=State)
    entries: list[Entry] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    late: list[Entry] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)  # the tasks of which something was lost
    lost_starts: list[AttemptStarted] = field(default_factory=list)  # of attempts of which there is more, so that they did start
    lost_ends: list[AttemptEnded] = field(default_factory=list)  # of attempts whose task has ended

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
        self.notes.append(f"The event {seq} was cut off." if missing == 1 else f"The events {self.state.seq + 1} to {seq} were cut off.")
        for _ in range(missing if missing <= _LARGEST_GAP else 0):
            self._fill(at)

    def _fill(self, at: datetime) -> None:
        start = next((start for start in self.lost_starts if self._can_start(start)), None)
        end = next((end for end in self.lost_ends if self._can_end(end)), None)
        if start is not None:
            self.lost_starts.remove(start)
            self.notes.append(f"The start of attempt {start.attempt} of {start.orchestration_task_id} was missing.")
        elif end is not None:
            self.lost_ends.remove(end)
            self.touched.add(end.orchestration_task_id)
            self.notes.append(f"The end of attempt {end.attempt} of {end.orchestration_task_id} was missing.")
        self.add(at, start or end or JournalRepaired(kept=self.kept, bytes=0))

    def _can_start(self, start: AttemptStarted) -> bool:
        task = self.state.find_task(start.orchestration_task_id)
        return task is not None and task.status is Status.PENDING and task.attempt + 1 == start.attempt

    def _can_end(self, end: AttemptEnded) -> bool:
        task = self.state.find_task(end.orchestration_task_id)
        return task is not None and task.live_attempt == end.attempt

    def content(self) -> bytes:
        """The journal's bytes, each event a commit of its own."""
        return b"".join(encode((entry.event,), entry.seq, entry.timestamp) for entry in self.entries)


def mend(path: Path, shown: Shown, mended: Mended, choose: Choose, find_tip: FindTip) -> None:
    """Replaces the journal by a whole one; `mended` is told what was done. Callers hold its lock, and have kept it (`keep`)."""
    content, now = _content(path), mended.now
    lines = list(own_lines(content))
    remains = remains_of(path.parent, shown.documents, [line.event for line in lines if isinstance(line, Entry)])
    rebuild(mended, lines, remains, find_tip)
    is_newer = shown.seq > mended.state.seq
    mended.fill_to(shown.seq, now)
    _recover(mended, shown, remains, choose, find_tip)
    if shown.documents or shown.edits:
        mended.add(now, _edits(mended.state, shown, is_newer=is_newer))
    mended.add(now, JournalRepaired(kept=mended.kept, bytes=len(content)))
    write_file(os.fspath(path), mended.content())


def keep(path: Path, orchestration_id: str, now: datetime) -> Mended:
    """Keeps a journal as it is, as `EVENTS.jsonl.before-repair-<ns>`, for one that is to be put together anew."""
    kept = keep_aside(path, _content(path), "before-repair", nanoseconds(now))
    return Mended(kept.name, OrchestrationCreated(orchestration_id=orchestration_id), now)


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _recover(mended: Mended, shown: Shown, remains: Remains, choose: Choose, find_tip: FindTip) -> None:
    """Takes what is lost from what there is: tasks, attempts, ends; and says what nobody knows any more."""

    def take(at: datetime | None, event: Event) -> None:
        task_id = str(getattr(event, "orchestration_task_id", ""))
        mended.notes.append(f"Taken from the views and the run directories: {event.name} of {getattr(event, 'id', task_id)}.")
        mended.touched.add(task_id)
        mended.add(at or mended.now, event)

    for at, event in lost_tasks(mended.state, shown.documents.get(PLAN_FILE, {}), remains, choose):
        take(at, event)
    for task_id in list(mended.state.unfinished):
        for at, event in list(lost_attempts(mended.state.tasks[task_id], remains, find_tip)):
            take(at, event)
    for at, end in _untold_ends(mended):
        mended.notes.append(f"Taken from its attempt's end: {end.name} of {end.orchestration_task_id}.")
        mended.add(at, end)
    gone = (unknown_for_good(mended.state.tasks[task_id], remains) for task_id in mended.state.tasks if task_id in mended.touched)
    mended.notes += filter(None, gone)


def rebuild(mended: Mended, lines: list[Entry | Damaged], remains: Remains, find_tip: FindTip) -> None:
    """Takes in every event among the lines, each at its number where that is free."""
    seen: set[tuple[int, datetime, str]] = set()
    events = [line.event for line in lines if isinstance(line, Entry)]
    mended.lost_starts, mended.lost_ends = _lost_starts(events), _lost_ends(events, remains, find_tip)
    for found in lines:
        if isinstance(found, Damaged):
            mended.notes.append(f"A line was left out: {found}.")
        elif (mark := (found.seq, found.timestamp, found.event.model_dump_json())) in seen:
            mended.notes.append(f"The event {found.seq} stood there twice.")
        else:
            seen.add(mark)
            mended.place(found)
    if not mended.entries:
        mended.add(mended.now, mended.created)
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


def _lost_ends(events: list[Event], remains: Remains, find_tip: FindTip) -> list[AttemptEnded]:
    """The ends of attempts that must have been, since their tasks have ended."""
    over = {event.orchestration_task_id for event in events if isinstance(event, AgentCompleted | AgentCancelled | AgentFailed)}
    starts = [event for event in events if isinstance(event, AttemptStarted | AgentStarted)]
    begun = {(event.orchestration_task_id, event.task_run_id, event.attempt) for event in starts}
    told = (remains.end_of(*key) for key in sorted(begun) if key[0] in over and key[1:] not in remains.ends)
    specs = {event.orchestration_task_id: event.spec for event in events if isinstance(event, AgentSpawned)}
    return [with_tip(specs[end.orchestration_task_id], end, find_tip) for end in told if end and end.orchestration_task_id in specs]


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
