"""What the run directories say beside what the journal says. Nothing here changes anything."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.shim import census, rundir
from devsh_memory_mcp.shim.rundir import Letter, Outcome, Report, Run
from devsh_memory_mcp.store.finding import Ends, Finding
from devsh_memory_mcp.store.lock import is_held

RUNS = "runs"
DAMAGED_FILE = "run_file_damaged"
UNKNOWN_RUN = "unknown_run_directory"
_ADVICE = {
    rundir.RUN_FILE: "The attempt is over and does not need it any more: move it away.",
    rundir.REPORT_FILE: "What it said is passed over. When the attempt is over, move it away.",
    rundir.INBOX_FILE: "What cannot be read is passed over; messages are in the journal. When the attempt is over, move it away.",
    rundir.OUTCOME_FILE: "Its end is in the journal; its checkout is kept: look through it, then remove both yourself.",
    rundir.LOCK_FILE: "The attempt is over and does not need it any more: move it away.",
}
_FIRST = "`devsh fsck --repair` mends the journal first, and looks at this anew."
_PROCESSES = {"started": "its shim", "guard": "its guard", "agent_started": "its agent"}


@dataclass(frozen=True, slots=True)
class DamagedFile:
    """A file of a run directory that cannot be read. One that is replaceable is made anew where it is out of the way."""

    path: Path
    why: str
    is_replaceable: bool


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt that the journal knows, and where its files are."""

    task: Task
    number: int
    place: Path

    @property
    def is_live(self) -> bool:
        """Whether it has not ended, as far as the journal knows."""
        return self.task.live_attempt == self.number

    @property
    def words(self) -> str:
        """What it is called at the beginning of a sentence."""
        return f"Attempt {self.number} of {self.task.id}"


def attempts(directory: Path, state: State) -> Iterator[Attempt]:
    """Every attempt that the journal knows."""
    for task in state.tasks.values():
        for number in range(1, task.attempt + 1):
            yield Attempt(task, number, directory / RUNS / task.task_run_id / str(number))


def run_findings(directory: Path, state: State, ends: Ends, *, is_sound: bool = True) -> Iterator[Finding]:
    """The run directories of one orchestration against its state; nothing starts or is set aside before its journal is sound."""
    for attempt in attempts(directory, state):
        found = _attempt_findings(attempt)
        yield from found if is_sound else (replace(each, advice="", mending=_FIRST) for each in found)
        yield from _missing_files(attempt, ends)
        yield from _left_processes(attempt)
    for place in unknown_runs(directory, state):
        what, mending = "The journal has no such attempt.", "`devsh fsck --repair` sets it aside, as it is." if is_sound else _FIRST
        if is_held(place / rundir.LOCK_FILE):
            lock = place / rundir.LOCK_FILE
            what = f"{what} Its lock is held: an agent runs there; `lsof {lock}` shows by whom. When it has ended, a repair sets it aside."
            mending = ""
        yield Finding(UNKNOWN_RUN, place, what, mending=mending)
    for file in damaged_files(directory, state):
        if file.is_replaceable:
            mending = "`devsh fsck --repair` keeps it aside; the next runner makes it anew."
            yield Finding(DAMAGED_FILE, file.path, file.why, mending=mending)
        else:
            yield Finding(DAMAGED_FILE, file.path, f"{file.why} {_ADVICE[file.path.name]}")


def _attempt_findings(attempt: Attempt) -> Iterator[Finding]:
    task, place, words = attempt.task, attempt.place, attempt.words
    start = f"`devsh orchestrate wait {task.orchestration_task_id}` starts one."
    if not place.is_dir():
        if attempt.is_live and task.agent_started:
            what, advice = (
                f"{words} has no directory, so what came of it cannot be known.",
                f"The next runner says that it is lost: {start}",
            )
            yield Finding("attempt_not_running", place, what, advice=advice)
        elif not attempt.is_live and attempt.number in task.reported:
            message = f"{words} has no directory: its output is gone. What came of it is in the journal."
            yield Finding("missing_run_directory", place, message, is_note=True)
        return
    held = is_held(place / rundir.LOCK_FILE)
    if attempt.is_live and not held:
        what, advice = f"{words} does not run any more, and its end was not told.", f"The next runner finds out how it ended: {start}"
        yield Finding("attempt_not_running", place, what, advice=advice)
    if not attempt.is_live and held:
        lock = place / rundir.LOCK_FILE
        message = f"{words} is over, but its lock is held: `lsof {lock}` shows by whom. End that process, or let it end."
        yield Finding("ended_attempt_running", place, message)


def _missing_files(attempt: Attempt, ends: Ends) -> Iterator[Finding]:
    """Of an attempt that is over and had a shim."""
    place, end = attempt.place, ends.get((attempt.task.orchestration_task_id, attempt.number))
    began = any(os.path.lexists(place / name) for name in (rundir.REPORT_FILE, rundir.OUTCOME_FILE))
    if attempt.is_live or not began:
        return
    if not os.path.lexists(place / rundir.RUN_FILE):
        message = f"It is missing. {attempt.words} is over and does not need it."
        yield Finding("run_file_missing", place / rundir.RUN_FILE, message, is_note=True)
    if not os.path.lexists(place / rundir.OUTCOME_FILE) and end is not None and end.reason not in ("lost", "spawn"):
        message, checkout = "It is missing. How the attempt ended is in the journal", place / rundir.WORKSPACE_DIRECTORY
        if os.path.lexists(checkout):
            yield Finding("outcome_missing", place / rundir.OUTCOME_FILE, f"{message}; {checkout} is kept until you remove it yourself.")
        else:
            yield Finding("outcome_missing", place / rundir.OUTCOME_FILE, f"{message}.", is_note=True)


def _left_processes(attempt: Attempt) -> Iterator[Finding]:
    """Processes of an attempt that is over, recognised by more than their pid."""
    if attempt.is_live or is_held(attempt.place / rundir.LOCK_FILE):
        return
    reports, _ = rundir.read_lines(str(attempt.place / rundir.REPORT_FILE), Report)
    for report in reports:
        if report.process is not None and report.type in _PROCESSES and census.is_alive(report.process):
            pid, what = report.process.pid, _PROCESSES[report.type]
            message = f"{attempt.words} is over, but {what} still runs: `kill {pid}` ends it."
            yield Finding("process_left", attempt.place, message)


def unknown_runs(directory: Path, state: State) -> list[Path]:
    """Directories that no attempt in the journal explains."""
    known = {task.task_run_id: task for task in state.tasks.values()}
    found = sorted((directory / RUNS).glob("*/*"))
    return [place for place in found if place.is_dir() and not _is_recorded(known.get(place.parent.name), place.name)]


def _is_recorded(task: Task | None, attempt: str) -> bool:
    return task is not None and attempt.isdigit() and 1 <= int(attempt) <= task.attempt


def damaged_files(directory: Path, state: State) -> Iterator[DamagedFile]:
    """The files of recorded attempts that are there and are not what they should be."""
    for attempt in attempts(directory, state):
        is_waiting = attempt.is_live and not is_held(attempt.place / rundir.LOCK_FILE)
        for name in _ADVICE:
            why = _damage(attempt, name)
            if why:
                yield DamagedFile(attempt.place / name, why, is_waiting and _is_in_the_way(attempt.place / name))


def _is_in_the_way(path: Path) -> bool:
    """Whether a runner cannot go on before it is gone. Without its report an attempt would look like one that never began,

    and its agent be started again; of the runner's letters those that can be read count.
    """
    if path.name == rundir.REPORT_FILE:
        return False
    return path.name != rundir.INBOX_FILE or not path.is_file()


def _damage(attempt: Attempt, name: str) -> str:
    """Why a file cannot be read; empty where it can be, or is not there."""
    path = attempt.place / name
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return "It is not a regular file."
        if name in (rundir.REPORT_FILE, rundir.INBOX_FILE):
            return _stream_damage(path)
        return _document_damage(attempt, path)
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        return f"It cannot be read: {str(error)[:200]}."


def _stream_damage(path: Path) -> str:
    reports: list[Report] = []
    if path.name == rundir.REPORT_FILE:
        reports, end = rundir.read_lines(str(path), Report)
        count = len(reports)
    else:
        letters, end = rundir.read_lines(str(path), Letter)
        count = len(letters)
    with rundir.open_regular(str(path)) as file:  # it may have grown since
        lines = sum(b"\0" not in line for line in file.read(end).splitlines())  # zeros stand where a power loss was before the sync
    if count != lines:
        return "Some of its lines cannot be read."
    wrong = next((report.n for expected, report in enumerate(reports, 1) if report.n != expected), None)
    return "" if wrong is None else f"Its lines are not numbered one after another: {wrong} is not where it should be."


def _document_damage(attempt: Attempt, path: Path) -> str:
    if path.name == rundir.LOCK_FILE:
        return ""
    found = rundir.read_json(str(path), Run) if path.name == rundir.RUN_FILE else rundir.read_json(str(path), Outcome)
    if found is not None and (found.task_run_id, found.attempt) != (attempt.task.task_run_id, attempt.number):
        return f"It is of attempt {found.attempt} of {found.task_run_id[:80]}."
    return ""
