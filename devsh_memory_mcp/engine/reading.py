"""What is read rather than changed: records with their live facts, lists, results, reasons. From a state to answers."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from devsh_memory_mcp.domain import answers, summary
from devsh_memory_mcp.domain.brief import Facts
from devsh_memory_mcp.domain.brief import brief as make_brief
from devsh_memory_mcp.domain.explanation import Look, sentences
from devsh_memory_mcp.domain.requests import ListRequest
from devsh_memory_mcp.domain.schedule import LOW_DISK, Assessment, assess, live_count
from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.engine.limits import free_bytes
from devsh_memory_mcp.errors import InvalidRequest
from devsh_memory_mcp.shim import rundir
from devsh_memory_mcp.shim.vitals import Vitals, vitals


@dataclass(frozen=True, slots=True)
class Places:
    """Where the files of an orchestration are."""

    directory: Path

    def run(self, task: Task) -> Path | None:
        """The directory of the task's newest attempt, None before the first."""
        return self.directory / "runs" / task.task_run_id / str(task.attempt) if task.attempt else None

    def of(self, task: Task) -> dict[str, object]:
        """The fields of a record that name files."""
        run = self.run(task)
        if run is None:
            return {}
        kept = task.attempt in task.checkouts
        return {
            "run_directory": str(run),
            "workspace": str(run / rundir.WORKSPACE_DIRECTORY) if kept else None,
            "result_path": self.result_path(task),
            "last_activity_at": self.last_activity(task),
            **self.live(task),
        }

    def live(self, task: Task) -> dict[str, object]:
        """What the agent of the running attempt has said of itself: activity, session, usage and cost."""
        return {name: value for name, value in self.vitals(task)._asdict().items() if value is not None}

    def activity(self, task: Task) -> str | None:
        """What the running agent does now, in words."""
        return self.vitals(task).activity

    def vitals(self, task: Task) -> Vitals:
        """The running attempt's vitals; all None where none runs."""
        run = self.run(task)
        return vitals(str(run)) if run and task.live_attempt else Vitals()

    def result_path(self, task: Task) -> str | None:
        """The file with the whole result, once there is one."""
        run = self.run(task)
        if run is None or not task.is_terminal or task.result is None:
            return None
        out, error = run / rundir.STDOUT_FILE, run / rundir.STDERR_FILE
        for path in (run / rundir.RESULT_FILE, out, error):
            if _size(path):
                return str(path)
        return str(out)

    def last_activity(self, task: Task) -> datetime | None:
        """When the running attempt last printed or reported something."""
        run = self.run(task)
        if run is None or task.is_terminal:
            return None
        times = [_modified(run / name) for name in (rundir.STDOUT_FILE, rundir.STDERR_FILE, rundir.REPORT_FILE)]
        return datetime.fromtimestamp(max(times), UTC) if max(times) else None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def waiting(state: State, directory: Path, now: datetime) -> dict[str, str]:
    """For each pending task what it waits for."""
    found = assess(state, now)
    if found.ready and free_bytes(directory) < LOW_DISK:
        low = f"disk: less than {LOW_DISK // 1024**3} GB free; `devsh gc` removes old checkouts"
        return found.waiting | {task.orchestration_task_id: low for task in found.ready}
    return _waiting(state, found)


def waiting_then(state: State, at: datetime) -> dict[str, str]:
    """The same for a state of the past, as far as the journal tells it."""
    return _waiting(state, assess(state, at))


def _waiting(state: State, found: Assessment) -> dict[str, str]:
    taken = live_count(state)
    if taken < state.max_concurrent:
        return found.waiting
    full = f"a free place: {taken} of {state.max_concurrent} are taken"
    return found.waiting | {task.orchestration_task_id: full for task in found.ready}


def brief(state: State, merged: frozenset[str], directory: Path, now: datetime) -> str:
    """What a head that lost its memory has to know; `merged` are the tasks whose branch it has already."""
    places = Places(directory)
    activity = {name: words for name, task in state.unfinished.items() if (words := places.activity(task))}
    return make_brief(state, Facts(now, waiting(state, directory, now), activity, merged))


def record(state: State, task: Task, directory: Path, now: datetime) -> answers.TaskRecord:
    """A task with its live facts."""
    return summary.task_record(state, task, waiting(state, directory, now).get(task.orchestration_task_id), **Places(directory).of(task))


def listing(state: State, request: ListRequest, directory: Path, now: datetime) -> answers.ListAnswer:
    """The tasks, newest first, from the cursor on."""
    reasons = waiting(state, directory, now)
    before = _cursor(request.cursor)
    tasks = [
        task
        for task in sorted(state.tasks.values(), key=lambda task: task.admitted, reverse=True)
        if (request.status is None or task.status == request.status) and (before is None or task.admitted < before)
    ]
    page = tasks[: request.limit]
    return answers.ListAnswer(
        result=rows(state, page, reasons, directory),
        next_cursor=str(page[-1].admitted) if len(tasks) > len(page) else None,
    )


def rows(state: State, tasks: list[Task], reasons: dict[str, str], directory: Path) -> tuple[answers.TaskRow, ...]:
    """The tasks as lines of a list, with what their agents do; `reasons` say what they wait for."""
    places = Places(directory)
    found = ((task, places.vitals(task)) for task in tasks)
    return tuple(
        summary.task_row(state, task, reasons.get(task.orchestration_task_id), seen.activity, seen.cost_usd) for task, seen in found
    )


def _cursor(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdecimal():
        raise InvalidRequest(f"{text[:40]!r} is not a cursor.", next_step="Pass the nextCursor of the answer before.")
    return int(text)


def results(state: State, directory: Path) -> answers.ResultsAnswer:
    """What all tasks came to."""
    places = Places(directory)
    counts = summary.status_counts(state)
    return answers.ResultsAnswer(
        orchestration_id=state.orchestration_id,
        status=summary.overall_status(state),
        total_tasks=counts.total,
        completed_tasks=counts.completed,
        results=tuple(
            summary.task_result(state, task, result_path=places.result_path(task), workspace=places.of(task).get("workspace"))
            for task in state.tasks.values()
        ),
        directory=str(directory),
    )


def explanation(state: State, task: Task, directory: Path, now: datetime) -> answers.Explanation:
    """Why the task is where it is, in sentences."""
    places = Places(directory)
    ahead = tuple(other.id for other in assess(state, now).ready if other.spec.priority < task.spec.priority)
    look = Look(now, waiting(state, directory, now), ahead, places.activity, places.last_activity)
    return answers.Explanation(
        orchestration_task_id=task.orchestration_task_id, id=task.id, status=task.status.value, because=sentences(state, task, look)
    )
