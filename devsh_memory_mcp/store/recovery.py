"""Which events a mended journal is given for what it has lost: tasks, their attempts with all totals, and their ends. Pure."""

from collections.abc import Iterator
from datetime import datetime

from devsh_memory_mcp.domain.documents import Agent
from devsh_memory_mcp.domain.events import (
    AgentCancelled,
    AgentCompleted,
    AgentFailed,
    AttemptEnded,
    AttemptStarted,
    Event,
    PlanTaskFound,
    RetryScheduled,
)
from devsh_memory_mcp.domain.instants import instant_text, parse_instant
from devsh_memory_mcp.domain.names import Choose
from devsh_memory_mcp.domain.records import TaskSpec
from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.domain.status import Status
from devsh_memory_mcp.domain.totals import bounded, reason_of
from devsh_memory_mcp.shim.rundir import Outcome
from devsh_memory_mcp.store.bookkeeping import Document
from devsh_memory_mcp.store.plan import found_tasks
from devsh_memory_mcp.store.remains import FindTip, Remains, spawned_by

Timed = tuple[datetime | None, Event]


def lost_tasks(state: State, plan: Document, remains: Remains, choose: Choose) -> list[Timed]:
    """The tasks that the journal does not know: as they were spawned where a run.json tells it, else as the plan shows them."""
    told: list[Timed] = []
    known = set[str]()
    for found in found_tasks(plan, state, choose):
        run = remains.last_run(found.task_run_id)
        known.add(found.task_run_id)
        if run is not None and run.orchestration_task_id == found.orchestration_task_id:
            told.append((_time_of(plan, found.id, "createdAt"), spawned_by(run, found)))
        elif _has_run(remains, found):
            held = found.model_copy(update={"status": "pending", "result": None, "error_message": None, "by": "repair"})
            told.append((_time_of(plan, found.id, "createdAt"), held))
        else:
            told.append((_time_of(plan, found.id, "completedAt", "createdAt"), found.model_copy(update={"by": "repair"})))
    for run in remains.runs.values():
        is_known = run.task_run_id in known or any(map(state.find_task, (run.task_run_id, run.orchestration_task_id)))
        if not is_known and run.orchestration_id == state.orchestration_id:
            known.add(run.task_run_id)
            told.append((None, spawned_by(remains.last_run(run.task_run_id) or run, None)))
    return told


def _has_run(remains: Remains, found: PlanTaskFound) -> bool:
    """Whether an attempt of a task without a run.json is known to have ended, so that more than its end is to be told."""
    last = remains.last_attempt(found.orchestration_task_id, found.task_run_id)
    return bool(last) and remains.end_of(found.orchestration_task_id, found.task_run_id, last) is not None


def _time_of(plan: Document, name: str, *keys: str) -> datetime | None:
    tasks = plan.get("tasks")
    for task in tasks if isinstance(tasks, list) else []:
        if isinstance(task, dict) and name in (task.get("id"), task.get("orchestrationTaskId")):
            return next((at for key in keys if (at := parse_instant(str(task.get(key)))) is not None), None)
    return None


def lost_attempts(task: Task, remains: Remains, find_tip: FindTip) -> Iterator[Timed]:
    """What the journal has not of an unfinished task: its attempts, and its end where one is known."""
    own = task.orchestration_task_id, task.task_run_id
    agent, last = remains.agents.get(task.orchestration_task_id), remains.last_attempt(*own)
    is_over = agent is not None and Status(agent.status).is_terminal
    if is_over and agent and agent.status == "completed" and not task.attempt:
        last = max(last, 1)
    first, is_live = task.live_attempt or task.attempt + 1, bool(task.live_attempt)
    for number in range(first, last + 1):
        end = remains.end_of(*own, number)
        if end is None and task.held:
            break  # nothing tells a runner what it was to run
        if not is_live or number > first:
            names = {"orchestration_task_id": own[0], "task_run_id": own[1], "attempt": number}
            yield remains.started_at(*own, number), AttemptStarted.model_validate(names)
        outcome = remains.outcomes.get((own[1], number))
        if number == last and (end is None or (own[1], number) in remains.living or _is_the_runners(task, outcome, is_over=is_over)):
            break
        at = remains.ended_at(*own, number)
        end = end or AttemptEnded(orchestration_task_id=own[0], task_run_id=own[1], attempt=number, reason="lost")
        yield at, with_tip(task.spec, end, find_tip)
        if number < last:
            again = instant_text(at) if at else ""
            yield at, RetryScheduled(orchestration_task_id=own[0], attempt=number + 1, reason=end.reason, not_before=again, delay_ms=0)
        elif not is_over and outcome is not None:
            yield at, _end_by_outcome(own[0], outcome)
    if is_over and agent is not None:
        yield agent.completed_at, _end(agent, remains.outcomes.get((own[1], last)))


def _is_the_runners(task: Task, outcome: Outcome | None, *, is_over: bool) -> bool:
    """Whether the next runner is to judge the end, since it may begin another attempt."""
    return not is_over and outcome is not None and not outcome.succeeded and task.spec.retries > 0


def with_tip(spec: TaskSpec, end: AttemptEnded, find_tip: FindTip) -> AttemptEnded:
    """The end with the commit of its work, where the repository has it still under its name."""
    totals = end.totals
    if totals.tip is not None:
        return end
    refs = [ref for ref in (totals.salvage_ref, f"refs/heads/{totals.branch}" if totals.branch else None) if ref]
    tip = next((tip for ref in refs if (tip := find_tip(spec, ref))), None)
    return end.model_copy(update={"totals": totals.model_copy(update={"tip": tip})}) if tip else end


def _end_by_outcome(task_id: str, outcome: Outcome) -> Event:
    result, was_cut = bounded(outcome.result)
    told = {"orchestration_task_id": task_id, "result": result, "result_truncated": was_cut or outcome.result_truncated}
    if outcome.succeeded:
        return AgentCompleted.model_validate(told | {"branch": outcome.branch})
    if outcome.cause == "cancelled":
        return AgentCancelled(orchestration_task_id=task_id)
    message = outcome.error_message or f"The attempt ended: {outcome.cause}."
    return AgentFailed.model_validate(told | {"reason": reason_of(outcome), "error_message": message})


def _end(agent: Agent, outcome: Outcome | None) -> Event:
    """The end that a view shows, which somebody may have been told."""
    task_id = agent.orchestration_task_id
    if agent.status == "completed":
        branch = agent.branch or (outcome.branch if outcome else None)
        return AgentCompleted(orchestration_task_id=task_id, result=agent.result, branch=branch)
    if agent.status == "cancelled":
        return AgentCancelled(orchestration_task_id=task_id, error_message=agent.error_message or "Cancelled.")
    return AgentFailed(
        orchestration_task_id=task_id, reason=agent.reason or "lost", error_message=agent.error_message or "", result=agent.result
    )


def unknown_for_good(task: Task, remains: Remains) -> str:
    """What was known of a task and is no longer, in a sentence; empty where that is nothing."""
    gone = [] if remains.last_run(task.task_run_id) or not task.is_recovered else ["its repository", "its setup and limits"]
    if task.attempt and not task.live_attempt and remains.is_from_view(task.task_run_id, task.attempt):
        gone += ["its usage", "which files it changed"]
        gone += ["its cost"] if task.totals.cost_usd is None else []
        gone += ["the commit of its branch"] if task.branch and not task.totals.tip else []
    return f"Not known any more of {task.id}: {', '.join(gone)}." if gone else ""
