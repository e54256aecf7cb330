"""How attempts and tasks end: pure decisions from an outcome to the events of one commit.

A terminal event, the failures that follow from it and the messages that can no longer be delivered are one commit, so that no
reader ever sees half of it.
"""

import math
from collections.abc import Iterator
from datetime import datetime, timedelta

from devsh_memory_mcp.domain import quota
from devsh_memory_mcp.domain.events import (
    AgentCancelled,
    AgentCompleted,
    AgentFailed,
    CancelRequested,
    Event,
    LateReport,
    MessageFailed,
    RetryScheduled,
)  # fmt: skip
from devsh_memory_mcp.domain.instants import instant_text
from devsh_memory_mcp.domain.records import Reason
from devsh_memory_mcp.domain.schedule import retry_delay
from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.domain.status import Status
from devsh_memory_mcp.domain.totals import bounded, ended_by, reason_of
from devsh_memory_mcp.ports import Decision
from devsh_memory_mcp.shim.rundir import Outcome

_LASTING = ("auth", "refusal", "context", "permission", "turns", "cost", "api")  # what failed so fails again


def end_attempt(state: State, now: datetime, task_id: str, outcome: Outcome, *, jitter: float, rebooted: bool = False) -> Decision[None]:
    """The events for an attempt's outcome; for one that is not the current attempt, or of a task that is over, a late report."""
    task = state.tasks.get(task_id)
    if task is None:
        return Decision((), None)
    if task.is_terminal or task.live_attempt != outcome.attempt:
        late = LateReport(orchestration_task_id=task_id, attempt=outcome.attempt, report=f"outcome: {outcome.cause}")
        return Decision((late,) if outcome.attempt > task.attempt or task.live_attempt > outcome.attempt else (), None)
    limit = (quota.limited(task.spec, now, _until(outcome.retry_at, now)),) if outcome.failure == "rate_limit" else ()
    return Decision((ended_by(task_id, outcome), *limit, *_after(state, now, task, outcome, jitter, rebooted=rebooted)), None)


def _after(state: State, now: datetime, task: Task, outcome: Outcome, jitter: float, *, rebooted: bool) -> Iterator[Event]:
    if outcome.succeeded:
        result, was_cut = bounded(outcome.result)
        completed = AgentCompleted(
            orchestration_task_id=task.orchestration_task_id,
            result=result,
            result_truncated=was_cut or outcome.result_truncated,
            branch=outcome.branch,
        )
        yield from (completed, *_undeliverable(state, task))
    elif outcome.cause == "cancelled" or (task.cancel_requested and outcome.cause != "exit"):
        yield from cancelled(state, task)
    elif _is_worth_another(task, outcome) and not (rebooted and outcome.cause == "lost"):
        delay = max(retry_delay(task.attempt, jitter), _until(outcome.retry_at, now))
        yield RetryScheduled(
            orchestration_task_id=task.orchestration_task_id,
            attempt=task.attempt + 1,
            reason=reason_of(outcome),
            not_before=instant_text(now + delay),
            delay_ms=int(delay.total_seconds() * 1000),
        )
    else:
        message = outcome.error_message or f"The attempt ended: {outcome.cause}."
        yield from failed(state, task, reason_of(outcome), message, outcome)


def _is_worth_another(task: Task, outcome: Outcome) -> bool:
    """Whether there is a try left, and nothing that the next one would run into as well."""
    return task.attempt <= task.spec.retries and not task.cancel_requested and outcome.failure not in _LASTING


def _until(instant: float | None, now: datetime) -> timedelta:
    """How long it is until that instant (epoch seconds), at most a day."""
    seconds = 0.0 if instant is None or not math.isfinite(instant) else instant - now.timestamp()
    return timedelta(seconds=min(max(seconds, 0.0), 86400.0))


def failed(state: State, task: Task, reason: Reason, message: str, outcome: Outcome | None = None) -> Iterator[Event]:
    """The task's failure, and that of all that depend on it."""
    result, was_cut = bounded(outcome.result if outcome else None)
    yield AgentFailed(
        orchestration_task_id=task.orchestration_task_id,
        reason=reason,
        error_message=message,
        result=result,
        result_truncated=was_cut or bool(outcome and outcome.result_truncated),
    )
    yield from _undeliverable(state, task)
    yield from _cascade(state, [task])


def cancelled(state: State, task: Task) -> Iterator[Event]:
    """The task's cancellation; what depends on it, and was not cancelled with it, fails."""
    yield AgentCancelled(orchestration_task_id=task.orchestration_task_id)
    yield from _undeliverable(state, task)
    yield from _cascade(state, [task])


def _cascade(state: State, over: list[Task], spared: frozenset[str] = frozenset()) -> Iterator[Event]:
    """`Dependency <id> failed` for each pending task that cannot be started any more, transitively."""
    seen = {task.orchestration_task_id for task in over} | spared
    queue = list(over)
    while queue:
        cause = queue.pop(0)
        for dependent in state.dependents(cause.orchestration_task_id):
            skip = dependent.orchestration_task_id in seen or dependent.spec.on_dependency_failure == "run"
            if skip or dependent.status is not Status.PENDING:
                continue
            seen.add(dependent.orchestration_task_id)
            queue.append(dependent)
            message = f"Dependency {cause.id} failed"
            yield AgentFailed(orchestration_task_id=dependent.orchestration_task_id, reason="dependency", error_message=message)
            yield from _undeliverable(state, dependent)


def _undeliverable(state: State, task: Task) -> Iterator[Event]:
    reader = task.orchestration_task_id
    for message in state.messages.values():
        if message.to == reader and reader not in message.readers and message.failed is None:
            yield MessageFailed(message_id=message.id, reader=reader, error_message=f"{task.id} has ended.")


def doom(state: State, pairs: tuple[tuple[Task, Task], ...]) -> list[Event]:
    """Failures for tasks that stand pending behind a dependency that is over; an ended dependency's commit normally had them."""
    found: dict[tuple[str, str | int], Event] = {}  # what several of them lead to happens once
    for task, dependency in pairs:
        for event in failed(state, task, "dependency", f"Dependency {dependency.id} failed"):
            whom = event.message_id if isinstance(event, MessageFailed) else getattr(event, "orchestration_task_id", "")
            found.setdefault((event.name, whom), event)
    return list(found.values())


def cancel(state: State, task: Task, *, cascade: bool) -> tuple[tuple[Event, ...], tuple[str, ...]]:
    """The events of a cancel request, and the ids of the tasks that it ends or will end.

    Tasks without a live attempt are over in this commit; a running one keeps its status and place until its tree is gone. A task that
    is over already is left as it is, and so is what depends on it.
    """
    if task.is_terminal:
        return (), ()
    targets = [task, *(_descendants(state, task) if cascade else [])]
    idle = [target for target in targets if not target.is_terminal and not target.live_attempt]
    live = [target for target in targets if target.live_attempt and not target.cancel_requested]
    events: list[Event] = [CancelRequested(orchestration_task_id=target.orchestration_task_id, cascade=cascade) for target in live]
    for target in idle:
        why = {} if target is task else {"error_message": f"It depends on {task.id}, which was cancelled with all that depend on it."}
        events.append(AgentCancelled(orchestration_task_id=target.orchestration_task_id, **why))
        events.extend(_undeliverable(state, target))
    spared = frozenset(target.orchestration_task_id for target in targets)
    events.extend(_cascade(state, idle, spared))
    ids = tuple(target.orchestration_task_id for target in targets if not target.is_terminal)
    return tuple(events), ids


def cancel_all(state: State, why: str) -> tuple[Event, ...]:
    """The events that end every unfinished task; what runs is over when its tree is gone."""
    events: list[Event] = []
    for task in state.unfinished.values():
        only = {"orchestration_task_id": task.orchestration_task_id}
        if not task.live_attempt:
            events += (AgentCancelled(**only, error_message=why), *_undeliverable(state, task))
        elif not task.cancel_requested:
            events.append(CancelRequested(**only))
    return tuple(events)


def _descendants(state: State, task: Task) -> list[Task]:
    found: dict[str, Task] = {}
    queue = [task]
    while queue:
        for dependent in state.dependents(queue.pop(0).orchestration_task_id):
            if dependent.orchestration_task_id not in found:
                found[dependent.orchestration_task_id] = dependent
                queue.append(dependent)
    return list(found.values())
