"""What the state looks like from outside: the records that faces answer with.

Pure projections; whoever has a state gets the same answer.
"""

from datetime import datetime
from typing import Any

from devsh_memory_mcp.domain import answers
from devsh_memory_mcp.domain.letters import Message
from devsh_memory_mcp.domain.lineage import base_of, cancelled_dependency
from devsh_memory_mcp.domain.records import CostBasis
from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.domain.status import Status

CUT = 200
RECENT = 5
# What a class of failures means, to stand behind `because`.
FAILURES = {
    "auth": "the provider does not accept the login (auth)",
    "rate_limit": "the provider's limit is reached (rate_limit)",
    "overload": "the provider was overloaded (overload)",
    "refusal": "the model refused (refusal)",
    "context": "the conversation was longer than the model can read (context)",
    "permission": "it was not allowed to do what it had to (permission)",
    "turns": "it took as many turns as it may (turns)",
    "cost": "it cost as much as it may (cost)",
    "api": "the provider answered with an error (api)",
    "crash": "its program ended before its work did (crash)",
}


def cut(text: str | None, length: int = CUT) -> str | None:
    """The text, shortened with an ellipsis where it is longer."""
    return text if text is None or len(text) <= length else text[: length - 1] + "…"


def last_words(text: str | None, length: int = CUT) -> str | None:
    """The end of the text, where it is longer: in a result, what comes last is what counts."""
    return text if text is None or len(text) <= length else "…" + text[1 - length :]


def status_counts(state: State) -> answers.StatusCounts:
    """How many tasks are in each status."""
    counts = dict.fromkeys((str(status) for status in Status), 0)
    for task in state.tasks.values():
        counts[task.status] += 1
    return answers.StatusCounts(total=len(state.tasks), **counts)


def overall_status(state: State) -> str:
    """No task `pending`; not all ended `running`; all completed `completed`; none completed `failed`; else `partial`."""
    if not state.tasks:
        return "pending"
    if state.unfinished:
        return "running"
    completed = sum(1 for task in state.tasks.values() if task.status is Status.COMPLETED)
    if completed == len(state.tasks):
        return "completed"
    return "partial" if completed else "failed"


def plan_ids(state: State, task: Task) -> tuple[str, ...]:
    """The plan ids of the tasks that it depends on."""
    return tuple(state.tasks[name].id if name in state.tasks else name for name in task.spec.depends_on)


def branch_of(task: Task) -> str | None:
    """The published branch, or the one that the task is working on; None where its work is in salvage refs alone."""
    if task.status is Status.COMPLETED:
        return task.branch
    return task.spec.repository.branch if task.spec.repository and not task.is_terminal else None


def cost_basis_of(task: Task) -> CostBasis | None:
    """Who pays: what the agent said, else what its credential means."""
    return task.totals.cost_basis or (task.spec.credential.cost_basis if task.spec.credential else None)


def verified(task: Task) -> bool | None:
    """Whether the work passed the command that was to verify it; None where there was none, or it has not come to a verdict."""
    return task.totals.verified if task.is_terminal else None


def warnings_of(task: Task) -> tuple[str, ...]:
    """What the user should know of how it ended."""
    return (*task.totals.warnings, *([f"No pull request was opened: {task.pr_error}"] if task.pr_error else []))


def task_row(
    state: State, task: Task, waiting_for: str | None = None, activity: str | None = None, cost_usd: float | None = None
) -> answers.TaskRow:
    """The task as a line of a list; `activity` and `cost_usd` are its running agent's."""
    totals = task.totals
    return answers.TaskRow(
        id=task.id,
        prompt=cut(task.spec.prompt) or "",
        status=task.status.value,
        agent_name=task.spec.agent_name,
        orchestration_task_id=task.orchestration_task_id,
        task_id=task.id,
        task_run_id=task.task_run_id,
        orchestration_id=state.orchestration_id,
        result=last_words(task.result),
        error_message=cut(task.error_message),
        cancelled_dependency=cancelled_dependency(state, task),
        waiting_for=waiting_for,
        activity=activity,
        needs_input=task.needs_input,
        cost_usd=totals.cost_usd if cost_usd is None else cost_usd,
        cost_basis=cost_basis_of(task),
        attempt=task.attempt,
        diff_stat=totals.diff_stat if totals.commits else None,
        branch=branch_of(task),
        priority=task.spec.priority,
        depends_on=plan_ids(state, task),
        created_at=task.created_at,
        started_at=task.started_at,
        completed_at=task.completed_at,
    )


def task_record(state: State, task: Task, waiting_for: str | None = None, **live: Any) -> answers.TaskRecord:
    """The task whole; `live` are the fields that name files of this machine, and what a running agent was last seen to do."""
    row, totals, repository, base = task_row(state, task, waiting_for), task.totals, task.spec.repository, base_of(state, task)
    fields: dict[str, Any] = dict(
        row.model_dump(exclude={"prompt", "result", "error_message"}),
        prompt=task.spec.prompt,
        result=task.result,
        error_message=task.error_message,
        reason=task.reason,
        repo=repository.name if repository else None,
        base_branch=base.branch,
        base_commit=base.commit,
        commits=totals.commits,
        changed_files=totals.changed_files,
        changed_file_sizes=totals.changed_file_sizes,
        merge_conflicts=totals.merge_conflicts,
        salvage_refs=tuple(task.salvage_refs.values()),
        exit_code=totals.exit_code,
        signal=totals.signal,
        duration_ms=totals.duration_ms if task.is_terminal else None,
        isolation=totals.isolation,
        limits=totals.limits,
        network=totals.network,
        allowed_network=None if task.spec.sandbox == "none" else task.spec.network,
        mounts=tuple(f"{mount.path}:rw" if mount.writable else mount.path for mount in task.spec.mounts),
        verified=verified(task),
        tool_calls=totals.tool_calls,
        commands=totals.commands,
        active_ms=totals.active_ms,
        stop_reason=totals.stop_reason,
        session_id=totals.session_id,
        usage=totals.usage,
        permissions=task.spec.permissions,
        failure=totals.failure,
        pr_title=task.spec.pr_title,
        pr_url=task.pr_url,
        leads=task.spec.leads.orchestration_id if task.spec.leads else None,
        cancel_requested=bool(task.cancel_requested),
        result_truncated=task.result_truncated,
        warnings=warnings_of(task),
    )
    return answers.TaskRecord(**fields | live)


def task_result(state: State, task: Task, **places: Any) -> answers.TaskResult:
    """The task as a line of `results`."""
    totals, repository = task.totals, task.spec.repository
    return answers.TaskResult(
        task_id=task.id,
        orchestration_task_id=task.orchestration_task_id,
        id=task.id,
        agent_name=task.spec.agent_name,
        status=task.status.value,
        prompt=task.spec.prompt,
        result=task.result,
        error_message=task.error_message,
        cancelled_dependency=cancelled_dependency(state, task),
        task_run_id=task.task_run_id,
        branch=task.branch,
        verified=verified(task),
        base_branch=base_of(state, task).branch,
        commits=totals.commits,
        diff_stat=totals.diff_stat if totals.commits else None,
        merge_conflicts=totals.merge_conflicts,
        salvage_refs=tuple(task.salvage_refs.values()),
        pr_title=task.spec.pr_title,
        pr_url=task.pr_url,
        repo=repository.name if repository else None,
        git_directory=repository.git_directory if repository else None,
        url=repository.url if repository else None,
        session_id=totals.session_id,
        warnings=warnings_of(task),
        **places,
    )


def conflict_lines(task: Task) -> tuple[str, ...]:
    """A sentence for each dependency whose work is not in the task's."""
    return tuple(
        f"{task.id} worked without {conflict.branch}, which could not be merged: {', '.join(conflict.files[:5])}."
        for conflict in task.totals.merge_conflicts
    )


def summary(state: State, last_activity: dict[str, datetime]) -> answers.SummaryAnswer:
    """The dashboard; `last_activity` are live facts by orchestrationTaskId."""
    running = [task for task in state.unfinished.values() if task.status is Status.RUNNING]
    ended = sorted((task for task in state.tasks.values() if task.is_terminal), key=lambda task: task.changed)
    counts = status_counts(state)
    return answers.SummaryAnswer(
        orchestration_id=state.orchestration_id,
        status=counts,
        active_agents=tuple(task.spec.agent_name for task in running),
        active_agent_count=len(running),
        agents=tuple(
            answers.ActiveAgent(
                orchestration_task_id=task.orchestration_task_id,
                id=task.id,
                agent_name=task.spec.agent_name,
                last_activity_at=last_activity.get(task.orchestration_task_id),
            )
            for task in running
        ),
        recent_completions=tuple(_completion(task) for task in reversed(ended[-RECENT:])),
        all_tasks_complete=bool(state.tasks) and not state.unfinished,
        has_failures=counts.failed > 0,
        unread_messages=len(state.unread),
    )


def _completion(task: Task) -> answers.Completion:
    return answers.Completion(
        id=task.id,
        orchestration_task_id=task.orchestration_task_id,
        status=task.status.value,
        prompt=cut(task.spec.prompt) or "",
        result=last_words(task.result),
        error_message=cut(task.error_message),
        completed_at=task.completed_at,
    )


def message_record(message: Message, reader: str) -> answers.MessageRecord:
    """The message as `reader` sees it."""
    return answers.MessageRecord(
        id=message.id,
        sender=message.sender,
        to=message.to,
        type=message.type,
        message=message.text,
        timestamp=message.sent_at,
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        priority=message.priority,
        metadata=message.metadata,
        read=reader in message.readers,
    )


def pulled_task(task: Task, waiting_for: str | None) -> answers.PulledTask:
    """The task as `pull_orchestration_updates` tells it."""
    return answers.PulledTask(
        id=task.id,
        orchestration_task_id=task.orchestration_task_id,
        status=task.status.value,
        agent_name=task.spec.agent_name,
        branch=branch_of(task),
        result=last_words(task.result),
        error_message=cut(task.error_message),
        waiting_for=waiting_for,
    )
