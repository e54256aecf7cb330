"""Why a task is where it is: from a state to plain sentences, the most important first. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from devsh_memory_mcp.agents.figures import counted
from devsh_memory_mcp.domain import summary
from devsh_memory_mcp.domain.durations import duration_text
from devsh_memory_mcp.domain.lineage import dependencies, is_cause
from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.domain.status import Status

_TOLD = 10  # dependencies
# What stands before the colon of a reason to wait, in words.
_WAITS = {
    "a free place": "It waits for a free place:",
    "back-off": "It is tried again after a pause:",
    "disk": "It waits for room on the disk:",
    "held": "It does not start by itself:",
    "limit": "It waits for a limit:",
}
_ENDS = {
    "exit": "It failed",
    "timeout": "It took too long",
    "stalled": "It fell silent",
    "verify": "Its work did not pass the verification",
    "lost": "It was ended from outside",
    "setup": "The setup of its checkout failed",
    "spawn": "It could not be started",
    "oom": "It ran out of memory",
    "disk": "It held more of the disk than it may",
}


@dataclass(frozen=True, slots=True)
class Look:
    """What the journal does not say: what pending tasks wait for, by orchestrationTaskId, and what is seen of a running one."""

    now: datetime
    waiting: dict[str, str]
    ahead: tuple[str, ...]  # ready tasks with a higher priority
    activity: Callable[[Task], str | None]
    last_sign: Callable[[Task], datetime | None]


def sentences(state: State, task: Task, look: Look) -> tuple[str, ...]:
    """All that is to be said of it."""
    if task.is_terminal:
        return (*_ended(state, task), *_refused(task), *_work(task))
    return tuple(_running(task, look) if task.status is Status.RUNNING else _pending(state, task, look))


def _pending(state: State, task: Task, look: Look) -> list[str]:
    found = [one for one in dependencies(state, task) if not one.is_terminal]
    reason = look.waiting.get(task.orchestration_task_id)
    if task.held or state.paused or not found:
        said = [_reason(reason) if reason else "Nothing stands in its way; it is about to start."]
    else:
        verb = "has" if len(found) == 1 else "have"
        said = [f"It starts when {counted(len(found), 'task')} it depends on {verb} ended: {_names(found)}."]
    said += [_dependency(one, look) for one in dependencies(state, task)[:_TOLD]]
    if look.ahead and not found:
        verb = "goes" if len(look.ahead) == 1 else "go"
        said.append(f"{len(look.ahead)} with a higher priority {verb} first: {', '.join(look.ahead[:5])}.")
    if task.error_message:
        said.append(f"The attempt before ended so: {_stopped(task.error_message)}")
    return said


def _reason(reason: str) -> str:
    kind, _, rest = reason.partition(": ")
    if kind.startswith("the credential"):
        return f"It waits for {_stopped(reason)}"
    return f"{_WAITS[kind]} {_stopped(rest)}" if rest and kind in _WAITS else f"It waits: {_stopped(reason)}"


def _dependency(task: Task, look: Look) -> str:
    """Where one of its dependencies is, and what that one waits for in its turn."""
    if task.is_terminal:
        return f"{task.id} has {_past(task)}."
    if task.status is Status.PENDING:
        reason = look.waiting.get(task.orchestration_task_id)
        return (
            f"{task.id} has not begun: it waits for {reason.removeprefix('dependencies: ')}." if reason else f"{task.id} is about to start."
        )
    if task.needs_input:
        return f"{task.id} needs help: {_stopped(task.needs_input)}"
    if task.waiting_for:
        return f"{task.id} waits for {_stopped(task.waiting_for)}"
    doing = look.activity(task)
    return f"{task.id} is at work{_since(task, look.now)}{f': {doing}' if doing else ''}."


def _running(task: Task, look: Look) -> list[str]:
    begun = f"It is at work{_since(task, look.now)}" if task.agent_started else "Its checkout is being made"
    again = ""
    if task.attempt > 1:
        first = f" (the first began {_span(look.now - task.started_at)} ago)" if task.started_at else ""
        again = f", in attempt {task.attempt}{first}"
    doing = look.activity(task)
    said = [_reason(task.waiting_for) if task.waiting_for else f"{begun}{again}{f': {doing}' if doing else ''}."]
    if task.needs_input:
        said.insert(0, f"It needs help: {_stopped(task.needs_input)}")
    if task.cancel_requested:
        said.insert(0, "Its cancellation was asked for; it keeps its place until its processes are gone.")
    last = look.last_sign(task)
    if last is not None:
        said.append(f"It last gave a sign of life {_span(look.now - last)} ago.")
    return said


def _ended(state: State, task: Task) -> list[str]:
    if task.status is Status.COMPLETED:
        return ["It has completed."]
    if task.status is Status.CANCELLED:
        return ["It was cancelled.", *([] if task.error_message in (None, "Cancelled.") else [_stopped(task.error_message)])]
    if task.reason == "dependency":
        cause = next((one for one in dependencies(state, task) if is_cause(task, one)), None)
        if cause is None:
            return [f"It never started: {_stopped(task.error_message or 'a dependency failed')}"]
        why = f": {_stopped(cause.error_message)}" if cause.status is Status.FAILED and cause.error_message else "."
        return [f"It never started, because its dependency {cause.id} {_was(cause)}{why}"]
    times = f" in attempt {task.attempt}, the last" if task.attempt > 1 else ""
    said = [f"{_cause(task)}{times}: {_stopped(task.error_message or 'it gave no reason')}"]
    words = summary.FAILURES.get(task.totals.failure or "")
    return [*said, f"That is so because {words}."] if words else said


def _refused(task: Task) -> list[str]:
    """What its sandbox kept from it."""
    hosts = task.totals.network.refused if task.totals.network else {}
    if not hosts:
        return []
    named = ", ".join([*hosts][:_TOLD]) + (" …" if len(hosts) > _TOLD else "")
    return [f"Its sandbox did not let it reach {named}: --network allow:HOST,… names what it may, a private address by its number."]


def _cause(task: Task) -> str:
    return _ENDS.get(task.reason or "", "It failed")


def _was(task: Task) -> str:
    return "was cancelled" if task.status is Status.CANCELLED else "failed"


def _past(task: Task) -> str:
    return "been cancelled" if task.status is Status.CANCELLED else task.status.value


def _work(task: Task) -> list[str]:
    said = list(summary.conflict_lines(task))
    if task.branch:
        said.append(f"Its work is on branch {task.branch}.")
        if task.pr_url or task.pr_error:
            said.append(f"Its pull request: {task.pr_url}" if task.pr_url else f"No pull request was opened: {task.pr_error}")
        elif task.spec.open_pr:
            said.append("Its pull request is being opened.")
    elif task.salvage_refs:
        said.append(f"Its work was saved: git checkout {list(task.salvage_refs.values())[-1]}")
    return said


def _since(task: Task, now: datetime) -> str:
    """How long its attempt is at work."""
    return f" for {_span(now - task.attempt_started_at)}" if task.attempt_started_at else ""


def _span(span: timedelta) -> str:
    return duration_text(timedelta(seconds=max(0, round(span.total_seconds()))))


def _names(tasks: list[Task]) -> str:
    left = f" and {len(tasks) - _TOLD} more" if len(tasks) > _TOLD else ""
    return ", ".join(task.id for task in tasks[:_TOLD]) + left


def _stopped(text: str) -> str:
    """With one full stop at its end."""
    return text if text.rstrip().endswith((".", "!", "?", "…")) else f"{text.rstrip()}."
