"""The writer of the views: whole files, only where they changed, and never over what somebody else wrote.

The runner alone writes them. They are not synced: what a power loss takes is made again from the journal.
"""

import hashlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic_core import from_json, to_json

from devsh_memory_mcp.domain.documents import agents_document, mailbox_document, plan_document
from devsh_memory_mcp.domain.events import PlanEdited, PlanTaskFound
from devsh_memory_mcp.domain.names import Choose
from devsh_memory_mcp.domain.state import State
from devsh_memory_mcp.ports import Clock
from devsh_memory_mcp.shim.rundir import sync_directory
from devsh_memory_mcp.store import plan as plans
from devsh_memory_mcp.store.bookkeeping import (
    AGENTS_FILE,
    JOURNAL_FILE,
    MAILBOX_FILE,
    PLAN_FILE,
    VIEW_FILES,
    VIEWS_FILE,
    Bookkeeping,
    Written,
    exact_bookkeeping,
    read_bookkeeping,
    read_exact,
    written,
)
from devsh_memory_mcp.store.cut import demand_end
from devsh_memory_mcp.store.files import is_unlinkable, nanoseconds, replace_file, sync_file, unused_name
from devsh_memory_mcp.store.plan import VIEW_KEY, Document, Edit
from devsh_memory_mcp.store.reader import state_at

__all__ = [
    "VIEW_FILES", "Edit", "Views", "documents", "exact_bookkeeping",
    "is_copy", "is_output", "kept_edits", "parsed", "read_exact", "settled",
]  # fmt: skip

_EDITED = "edited"  # PLAN.json.edited-<ns> is what another hand made of PLAN.json


def documents(state: State, waiting: Mapping[str, str]) -> dict[str, Document]:
    """The views by file name, without their bookkeeping. `waiting` says by orchestrationTaskId why a task does not start."""
    return {PLAN_FILE: plan_document(state, dict(waiting)), AGENTS_FILE: agents_document(state), MAILBOX_FILE: mailbox_document(state)}


@dataclass(frozen=True, slots=True)
class _Kept:
    """A file of somebody else, and what it says where it says anything."""

    name: str
    path: Path
    document: Document | None


class Views:
    """The three files of one orchestration's directory. `cost` is how many seconds the last writing took."""

    def __init__(self, directory: Path, clock: Clock, choose: Choose) -> None:
        self.cost = 0.0
        self._directory = directory
        self._clock = clock
        self._choose = choose
        self._known = self._exact = read_bookkeeping(directory) or Bookkeeping()  # the latter without edits that wait

    def write(self, state: State, offset: int, waiting: Mapping[str, str]) -> Edit | None:
        """Brings the files to `state`, which is the journal up to `offset`; the Edit is what somebody else had written into them.

        It waits in its files until the journal tells of them: whoever could not commit it is given it again. JournalDamaged where the
        files know of more than the journal: then they are all that is left of it.
        """
        began = time.perf_counter()
        demand_end(self._directory, state.seq)
        sync_file(self._directory / JOURNAL_FILE)  # who wrote it last may be about to; what views tell is never lost by a power loss
        files: dict[str, Written] = {}
        kept = self._not_taken_in(state)
        for name, document in documents(_overlaid(state, kept), waiting).items():
            files[name] = self._write(name, document, {"seq": state.seq, "offset": offset}, kept)
        edit = self._edit(kept, state) if kept else None
        self._keep_books(state, offset, files, is_last=edit is None)
        self.cost = time.perf_counter() - began
        return edit

    def _write(self, name: str, document: Document, view: Document, kept: list[_Kept]) -> Written:
        """One file; what else stood under its name is added to `kept`."""
        path = self._directory / name
        plain = to_json(document)
        known = self._known.files.get(name)
        if known is not None and known.sha256 == hashlib.sha256(plain).hexdigest() and self._is_ours(path, known):
            return known
        aside = self._second_name(path)
        status = replace_file(path, to_json(document | {VIEW_KEY: view}, indent=2) + b"\n")
        # The look comes after the replacing, so that no change in between is lost.
        if aside is not None and not self._is_dropped(name, aside):
            sync_directory(str(self._directory))  # the journal is about to say that it is kept
            kept.append(_Kept(name, aside, parsed(aside)))
        return written(status, plain)

    def _is_ours(self, path: Path, known: Written) -> bool:
        try:
            return known.is_file(os.stat(path))
        except OSError:
            return False

    def _is_dropped(self, name: str, aside: Path) -> bool:
        """Whether a second name is only one of a file of ours, and so was taken away."""
        known, exact = self._known.files.get(name), self._exact.files.get(name)
        is_ours = known is not None and self._is_ours(aside, known)
        if is_ours or (exact is not None and is_copy(aside, exact)) or is_output(aside, name):
            os.unlink(aside)
            return True
        return False

    def _second_name(self, path: Path) -> Path | None:
        """Another name for what stands there; its only one where it is a directory, or the disk knows no second names."""
        aside = unused_name(path, _EDITED, nanoseconds(self._clock.now()))
        try:
            os.link(path, aside, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            if not is_unlinkable(error):
                raise
            os.rename(path, aside)
        return aside

    def _not_taken_in(self, state: State) -> list[_Kept]:
        """The edited files, oldest first, that the journal does not tell of: it could not be written, or we were killed before it."""
        found: list[tuple[int, _Kept]] = []
        for aside, name, number in kept_edits(self._directory):
            if aside.name in state.edits:
                continue
            if _is_same(aside, self._directory / name):
                os.unlink(aside)  # we were killed before the replacing, which is done now
            elif not self._is_dropped(name, aside):
                found.append((number, _Kept(name, aside, parsed(aside))))
        return [kept for _, kept in sorted(found, key=lambda one: one[0])]

    def _edit(self, kept: list[_Kept], state: State) -> Edit:
        """What to tell of the files. Of several plans the oldest; the others follow in edits of their own."""
        plans_kept = [found for found in kept if found.name == PLAN_FILE and found.document is not None]
        told = [found for found in kept if found not in plans_kept[1:]]
        names = tuple(found.path.name for found in told)
        said = [_told(found) for found in told if found.name != PLAN_FILE or found.document is None]
        plan = plans_kept[0].document if plans_kept else None
        if plan is None:
            unknown, of_tasks = state.unknown, state.unknown_of_tasks
            return Edit(names, PlanEdited(kept=", ".join(names), advice=" ".join(said), unknown=unknown, unknown_of_tasks=of_tasks))
        before = _state_shown_by(plan, self._directory)
        if before is not None and (text := plans.advice(plan, before)):
            said.insert(0, text)
        if text := plans.told_of_names(plan, state):
            said.append(text)
        tasks = plans.found_tasks(plan, state, self._choose)
        return Edit(names, edited_plan(plan, state, kept=", ".join(names), advice=" ".join(said)), tasks)

    def _keep_books(self, state: State, offset: int, files: dict[str, Written], *, is_last: bool) -> None:
        """Says on disk that the views are exact; not before an edit is in the journal, and so in the views, as well."""
        inode = os.stat(self._directory / JOURNAL_FILE).st_ino
        idle = all(task.held for task in state.unfinished.values()) and not state.unopened and not state.leaving
        books = Bookkeeping(state.seq, offset, inode, idle, files)
        if is_last and books != read_bookkeeping(self._directory):  # and not what we wrote: somebody may have taken it away
            path = self._directory / VIEWS_FILE
            if path.is_dir() and not path.is_symlink():
                os.rename(path, unused_name(path, "foreign", nanoseconds(self._clock.now())))
            replace_file(path, books.content())
        self._exact = books if is_last else self._exact
        self._known = books


def kept_edits(directory: Path) -> list[tuple[Path, str, int]]:
    """The files that somebody had written in a view's place: each with the view's name and the time in its own."""
    found = ((path, *path.name.partition(f".{_EDITED}-")) for path in directory.iterdir())
    return [(path, name, int(number)) for path, name, mark, number in found if mark and name in VIEW_FILES and number.isdecimal()]


def is_copy(path: Path, known: Written) -> bool:
    """Whether another file says what the one that was written said."""
    document = parsed(path)
    if document is None:
        return False
    plain = to_json({key: value for key, value in document.items() if key != VIEW_KEY})
    return hashlib.sha256(plain).hexdigest() == known.sha256


def is_output(path: Path, name: str) -> bool:
    """Whether a file is a view of the journal as it was once: one that was put back, or one that a crash left out of the books."""
    document = parsed(path)
    before = None if document is None else _state_shown_by(document, path.parent)
    return document is not None and before is not None and settled(document) == settled(documents(before, {})[name])


def _state_shown_by(document: Document, directory: Path) -> State | None:
    view = document.get(VIEW_KEY)
    seq = view.get("seq") if isinstance(view, dict) else None
    return state_at(directory / JOURNAL_FILE, seq) if isinstance(seq, int) else None


def _overlaid(state: State, kept: list[_Kept]) -> State:
    """The state with the keys that wait to be taken in, so that they stay in the file while they do."""
    plan = next((found.document for found in reversed(kept) if found.name == PLAN_FILE and found.document is not None), None)
    if plan is None:
        return state
    return replace(state, unknown=plans.unknown_keys(plan), unknown_of_tasks=plans.unknown_keys_of_tasks(plan))


def edited_plan(plan: Document, state: State, *, kept: str, advice: str) -> PlanEdited:
    """The event that carries on what is not ours in a plan."""
    return PlanEdited(
        kept=kept,
        advice=advice,
        paused=plans.paused(plan, state),
        unknown=plans.unknown_keys(plan),
        unknown_of_tasks=plans.unknown_keys_of_tasks(plan),
    )


def imported_events(plan: Document, choose: Choose, *, kept: str) -> tuple[PlanEdited | PlanTaskFound, ...]:
    """What a new journal says of a plan that was there before it."""
    return (edited_plan(plan, State(), kept=kept, advice=plans.told_of_names(plan, State())), *plans.found_tasks(plan, State(), choose))


def _told(found: _Kept) -> str:
    if not found.path.is_file():
        return f"{found.name} was no file; what stood there is kept as {found.path.name}."
    if found.document is None:
        return f"{found.name} was not valid JSON; it is kept as {found.path.name}."
    return f"{found.name} is written by the runner alone; the edited file is kept as {found.path.name}."


def parsed(path: Path) -> Document | None:
    """The JSON object in a file, None where it is none; a pipe or a device is not waited for."""
    try:
        if not path.is_file():
            return None
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            document = from_json(file.read())  # refuses what could not be written into the journal
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def _is_same(one: Path, other: Path) -> bool:
    try:
        return os.path.samestat(os.lstat(one), os.lstat(other))
    except OSError:
        return False


def settled(document: Document) -> Document:
    """Without what changes by time alone."""
    tasks = document.get("tasks")
    plain = {key: value for key, value in document.items() if key not in (VIEW_KEY, "tasks")}
    if not isinstance(tasks, list):
        return plain
    return plain | {
        "tasks": [{key: value for key, value in task.items() if key != "waitingFor"} for task in tasks if isinstance(task, dict)]
    }
