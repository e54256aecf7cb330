"""The three views on disk, PLAN.json, AGENTS.json and MAILBOX.json, as projections of the state.

Plain JSON values: a key without a value is left out, times are ISO 8601 in UTC with milliseconds.
"""

from datetime import datetime

from devsh_memory_mcp.domain.names import HEAD
from devsh_memory_mcp.domain.records import DiffStat
from devsh_memory_mcp.domain.state import Message, State, Task
from devsh_memory_mcp.domain.summary import branch_of, overall_status, plan_ids, status_counts

BACKEND = "local"


def plan_document(state: State, waiting: dict[str, str]) -> dict[str, object]:
    """PLAN.json: the plan as a person reads it, with the unknown keys that he wrote into it."""
    known: dict[str, object] = {
        "version": 1,
        "orchestrationId": state.orchestration_id,
        "createdAt": _instant(state.created_at),
        "updatedAt": _instant(state.changed_at),
        "status": "paused" if state.paused else {"partial": "failed"}.get(overall_status(state), overall_status(state)),
        "headAgent": state.head_agent,
        "isOrchestrationHead": state.is_head,
        "description": state.description,
        "tasks": [_plan_task(state, task, waiting.get(task.orchestration_task_id)) for task in state.tasks.values()],
        "messages": [message_document(message) for message in state.unread.values()],
        "aggregatedStatus": status_counts(state).model_dump(by_alias=True),
    }
    return known | {key: value for key, value in state.unknown.items() if key not in known}


def _plan_task(state: State, task: Task, waiting_for: str | None) -> dict[str, object]:
    known: dict[str, object] = {
        "id": task.id,
        "prompt": task.spec.prompt,
        "agentName": task.spec.agent_name,
        "status": task.status.value,
        "orchestrationTaskId": task.orchestration_task_id,
        "taskRunId": task.task_run_id,
        "dependsOn": list(plan_ids(state, task)),
        "priority": task.spec.priority,
        "createdAt": _instant(task.created_at),
        "startedAt": _instant(task.started_at),
        "completedAt": _instant(task.completed_at),
        "result": task.result,
        "errorMessage": task.error_message,
        "branch": branch_of(task),
        "waitingFor": waiting_for,
        "held": task.held or None,
    }
    unknown = state.unknown_of_tasks.get(task.id, {})
    kept = {key: value for key, value in known.items() if value is not None and value != []}
    return kept | {key: value for key, value in unknown.items() if key not in known}


def agents_document(state: State) -> dict[str, object]:
    """AGENTS.json: the registry of what was spawned."""
    return {
        "version": 1,
        "orchestrationId": state.orchestration_id,
        "headAgent": state.head_agent,
        "agents": [_agent(task) for task in state.tasks.values() if not task.held],
    }


def _agent(task: Task) -> dict[str, object]:
    totals = task.totals
    document: dict[str, object | None] = {
        "orchestrationTaskId": task.orchestration_task_id,
        "taskRunId": task.task_run_id,
        "agentName": task.spec.agent_name,
        "status": task.status.value,
        "spawnedAt": _instant(task.created_at),
        "startedAt": _instant(task.started_at),
        "completedAt": _instant(task.completed_at),
        "prompt": task.spec.prompt,
        "sandboxId": f"{BACKEND}_{task.task_run_id}_{task.attempt}" if task.attempt else None,
        "attempt": task.attempt or None,
        "reason": task.reason,
        "result": task.result,
        "errorMessage": task.error_message,
        "branch": branch_of(task),
        "commits": totals.commits or None,
        "diffStat": totals.diff_stat.model_dump() if totals.diff_stat != DiffStat() else None,
        "salvageRefs": list(task.salvage_refs.values()) or None,
        "exitCode": totals.exit_code,
        "isolation": totals.isolation,
    }
    return {key: value for key, value in document.items() if value is not None}


def mailbox_document(state: State) -> dict[str, object]:
    """MAILBOX.json: every message, with who has it."""
    return {
        "version": 1,
        "orchestrationId": state.orchestration_id,
        "messages": [message_document(message) for message in state.messages.values()],
    }


def message_document(message: Message) -> dict[str, object]:
    """One message as it stands in the files; `read` says whether the head has it."""
    document: dict[str, object | None] = {
        "id": message.id,
        "from": message.sender,
        "to": message.to,
        "type": message.type,
        "message": message.text,
        "timestamp": _instant(message.sent_at),
        "read": HEAD in message.readers if message.is_for(HEAD) else bool(message.readers),
        "readers": sorted(message.readers),
        "correlationId": message.correlation_id,
        "replyTo": message.reply_to,
        "priority": message.priority,
        "metadata": message.metadata or None,
        "failed": message.failed,
    }
    return {key: value for key, value in document.items() if value is not None}


def _instant(at: datetime | None) -> str | None:
    return None if at is None else instant_text(at)


def instant_text(at: datetime) -> str:
    """ISO 8601 in UTC with milliseconds and `Z`."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"
