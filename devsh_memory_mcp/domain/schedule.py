"""Which tasks start, which are doomed, and why each of the others waits: a pure function of state, time and free places."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from devsh_memory_mcp.domain.quota import account_of, limited_until
from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.domain.status import Status

LOW_DISK = 2 * 1024**3  # bytes; below that no attempt starts
AGEING = timedelta(seconds=60)  # a waiting task gains one step of priority for each
FIRST_RETRY = timedelta(seconds=2)
LONGEST_RETRY = timedelta(minutes=5)
_STEP = timedelta(seconds=1)  # what a clock is adjusted by all the time


@dataclass(frozen=True, slots=True)
class Assessment:
    """What can be said of one orchestration's unfinished tasks.

    `ready` could start if there were places, `doomed` pairs a task with the failed dependency that ends it, `waiting` says for each
    task that cannot start what it waits for, `wake_at` is when that changes by time alone.
    """

    ready: tuple[Task, ...]
    doomed: tuple[tuple[Task, Task], ...]
    waiting: dict[str, str]
    wake_at: datetime | None


def assess(state: State, now: datetime) -> Assessment:
    """Sorts the tasks that have no live attempt and have not ended."""
    ready: list[Task] = []
    doomed: list[tuple[Task, Task]] = []
    waiting: dict[str, str] = {}
    wake_at: datetime | None = None
    for task in state.unfinished.values():
        if task.status is not Status.PENDING:
            continue
        failed = failed_dependency(state, task)
        limited = limited_until(state.limits, task.spec, now)
        due = max(filter(None, (due_at(task, now), limited)), default=None)
        if failed is not None:
            doomed.append((task, failed))
        elif (reason := _obstacle(state, task, due, now)) is not None:
            waiting[task.orchestration_task_id] = reason
            wake_at = min(wake_at or due, due) if due is not None and due > now else wake_at
        else:
            ready.append(task)
    return Assessment(tuple(ready), tuple(doomed), waiting, wake_at)


def failed_dependency(state: State, task: Task) -> Task | None:
    """The first dependency that ended without success, where that ends the task too."""
    if task.spec.on_dependency_failure == "run":
        return None
    dependencies = (state.tasks.get(dependency) for dependency in task.spec.depends_on)
    return next((found for found in dependencies if found and found.status in (Status.FAILED, Status.CANCELLED)), None)


def due_at(task: Task, now: datetime) -> datetime | None:
    """When its back-off is over; at once where the clock shows a time before the back-off began, since it was set back."""
    if task.not_before is None:
        return None
    began = task.not_before - timedelta(milliseconds=task.retry_delay_ms)
    return now if now < began - _STEP else task.not_before


def _obstacle(state: State, task: Task, due: datetime | None, now: datetime) -> str | None:
    if task.held and task.is_recovered:
        return "held: found by a repair in the views; it may have run: look at its branch and in set-aside/, then spawn it to start it"
    if task.held:
        return "held: written into PLAN.json by hand; spawn it to start it"
    if state.paused:
        return "the orchestration is paused (status in PLAN.json)"
    open_tasks = [found.id for name in task.spec.depends_on if (found := state.tasks.get(name)) and not found.is_terminal]
    if open_tasks:
        return f"dependencies: {', '.join(open_tasks[:5])}{f' and {len(open_tasks) - 5} more' if len(open_tasks) > 5 else ''}"
    if task.waiting_for:
        return task.waiting_for
    if limited_until(state.limits, task.spec, now) is not None:
        return f"limit: that of {account_of(task.spec).partition(' ')[0]} is used up, and it starts at {due:%H:%M:%S} UTC"
    if due is not None and due > now:
        return f"back-off: attempt {task.attempt + 1} starts at {due:%H:%M:%S} UTC"
    return None


def choose(state: State, ready: tuple[Task, ...], now: datetime) -> list[Task]:
    """The ready tasks that there are places for: priority with ageing first, then age."""

    def rank(task: Task) -> tuple[int, int]:
        waited = max(timedelta(0), now - task.created_at)
        return task.spec.priority - waited // AGEING, task.admitted

    return sorted(ready, key=rank)[: max(0, state.max_concurrent - live_count(state))]


def has_work(state: State, now: datetime) -> bool:
    """Whether anything can still happen by itself; what is held, or paused, or waits for such a task, cannot.

    A login can be another one at any time, and nobody says so.
    """
    found = assess(state, now)
    return bool(
        live_count(state) or found.ready or found.doomed or found.wake_at or state.unopened or state.leaving or waits_for_login(state)
    )


def waits_for_login(state: State) -> bool:
    """Whether a task is held since its account's login was refused."""
    return any(task.login for task in state.unfinished.values())


def live_count(state: State) -> int:
    """How many places the orchestration holds."""
    return sum(1 for task in state.unfinished.values() if task.live_attempt)


def retry_delay(attempts: int, jitter: float) -> timedelta:
    """How long to wait after `attempts` have failed: doubling from two seconds, at most five minutes, ±20 % by `jitter` in 0..1."""
    plain = min(LONGEST_RETRY, FIRST_RETRY * int(2 ** min(attempts - 1, 20)))
    return plain * (0.8 + 0.4 * jitter)
