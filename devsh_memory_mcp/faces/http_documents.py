"""The documents of the existing implementation's API, made of our answers: `_id`, milliseconds since 1970, its names for our fields.

Pure. An id in them is always an orchestrationTaskId; a key without a value is left out, as its clients expect.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from devsh_memory_mcp.domain import answers
from devsh_memory_mcp.domain.documents import BACKEND
from devsh_memory_mcp.domain.instants import instant_text

Document = dict[str, object]
Shown = answers.TaskRow | answers.TaskRecord

TEAM, USER = "local", "operator"
_BLOCKED = 50  # characters of a prompt that others wait for


def millis(at: datetime | None) -> int | None:
    """Milliseconds since 1970."""
    return None if at is None else round(at.timestamp() * 1000)


def task_document(task: Shown, ids: Mapping[str, str] = {}) -> Document:
    """A task as lists and `status` show it. `ids` are orchestrationTaskIds by plan id, where they are known."""
    sandbox = f"{BACKEND}_{task.task_run_id}_{task.attempt}" if task.attempt else None
    return _without_none(
        {
            "_id": task.orchestration_task_id,
            "teamId": TEAM,
            "userId": USER,
            "prompt": task.prompt,
            "status": task.status,
            "priority": task.priority,
            "dependencies": [ids.get(name, name) for name in task.depends_on] or None,
            "assignedAgentName": task.agent_name,
            "assignedSandboxId": sandbox,
            "taskId": task.orchestration_task_id,
            "taskRunId": task.task_run_id,
            "metadata": {"orchestrationId": task.orchestration_id, "localTaskId": task.id},
            "result": task.result,
            "errorMessage": task.error_message,
            "createdAt": millis(task.created_at),
            "updatedAt": millis(task.completed_at or task.started_at or task.created_at),
            "assignedAt": millis(task.started_at),
            "startedAt": millis(task.started_at),
            "completedAt": millis(task.completed_at),
            "retryCount": task.attempt - 1 if task.attempt > 1 else None,
        }
    )


def run_document(task: answers.TaskRecord) -> Document | None:
    """The run of a task, None before there is one."""
    if not task.attempt:
        return None
    return _without_none(
        {
            "_id": task.task_run_id,
            "id": task.task_run_id,
            "taskId": task.orchestration_task_id,
            "agent": task.agent_name,
            "agentName": task.agent_name,
            "status": "skipped" if task.status == "cancelled" else task.status,
            "prompt": task.prompt,
            "newBranch": task.branch,
            "worktreePath": task.workspace,
            "pullRequestUrl": task.pr_url,
            "exitCode": task.exit_code,
            "errorMessage": task.error_message,
            "createdAt": millis(task.started_at or task.created_at),
            "updatedAt": millis(task.completed_at or task.started_at),
            "completedAt": millis(task.completed_at),
        }
    )


def beside_status(task: answers.TaskRecord) -> Document:
    """What stands beside our record of a task."""
    return {"task": task_document(task), "taskRun": run_document(task)}


def beside_list(answer: answers.ListAnswer) -> Document:
    """The same of a list."""
    ids = {row.id: row.orchestration_task_id for row in answer.result}
    return {"tasks": [task_document(row, ids) for row in answer.result], "isDone": answer.next_cursor is None}


def beside_cancel(answer: answers.CancelAnswer) -> Document:
    """The same of a cancel."""
    return {"success": answer.ok}


def beside_message(_answer: answers.MessageAnswer) -> Document:
    """The same of a message."""
    return {"message": "Message sent to agent"}


def beside_pull(answer: answers.PullAnswer) -> Document:
    """The same of a pull."""
    counts = answer.aggregated_status
    return {
        "completedCount": counts.completed,
        "pendingCount": counts.pending,
        "failedCount": counts.failed,
        "runningCount": counts.running,
    }


def dependent_documents(rows: Iterable[answers.TaskRow]) -> list[Document]:
    """Tasks with what they wait for."""
    known = {row.id: row for row in rows}
    ids = {name: row.orchestration_task_id for name, row in known.items()}
    return [task_document(row, ids) | {"dependencyInfo": _dependencies(row, known)} for row in known.values()]


def _dependencies(row: answers.TaskRow, known: Mapping[str, answers.TaskRow]) -> Document:
    needed = [known[name] for name in row.depends_on if name in known]
    open_ = [other for other in needed if other.status != "completed"]
    blocked = [{"_id": other.orchestration_task_id, "status": other.status, "prompt": other.prompt[:_BLOCKED]} for other in open_]
    done = len(needed) - len(open_)
    return {"totalDeps": len(row.depends_on), "completedDeps": done, "pendingDeps": len(open_), "blockedBy": blocked}


def metrics_document(answer: answers.SummaryAnswer) -> Document:
    """The dashboard's figures, those of both hosts of the original."""
    counts = answer.status.model_dump()
    by_status = {name: counts[name] for name in ("pending", "running", "completed", "failed", "cancelled")}
    return {
        "totalTasks": answer.status.total,
        "statusCounts": by_status,
        "tasksByStatus": by_status,
        "activeOrchestrations": int(answer.active_agent_count > 0),
        "activeAgentCount": answer.active_agent_count,
        "activeAgents": list(answer.active_agents),
        "recentTasks": [
            _without_none(
                {
                    "_id": done.orchestration_task_id,
                    "prompt": done.prompt,
                    "status": done.status,
                    "completedAt": millis(done.completed_at),
                    "errorMessage": done.error_message,
                }
            )
            for done in answer.recent_completions
        ],
    }


def sync_tasks(plan: Mapping[str, object]) -> list[Document]:
    """The tasks of PLAN.json as a head that pulls over HTTP gets them: ISO times, and ids that it can spawn behind."""
    tasks = [task for task in _list(plan, "tasks") if isinstance(task, dict)]
    ids = {task["id"]: task["orchestrationTaskId"] for task in tasks}
    kept = ("prompt", "agentName", "status", "taskRunId", "priority", "result", "errorMessage", "createdAt", "startedAt", "completedAt")
    return [
        _without_none(
            {"id": task["orchestrationTaskId"]}
            | {name: task.get(name) for name in kept}
            | {"dependsOn": [ids.get(name, name) for name in task.get("dependsOn") or ()] or None}
            | {"branch": task.get("branch"), "waitingFor": task.get("waitingFor")}
        )
        for task in tasks
    ]


def sync_message(message: answers.MessageRecord, name: str) -> Document:
    """A message to the caller. Its clients look for their own agent's `name` in `to`, or for `*`."""
    return _without_none(
        {
            "id": str(message.id),
            "from": message.sender,
            "to": name,
            "type": message.type,
            "message": message.message,
            "timestamp": instant_text(message.timestamp),
            "read": message.read,
            "correlationId": message.correlation_id,
            "priority": message.priority,
        }
    )


def sync_mail(plan: Mapping[str, object]) -> list[Document]:
    """The unread messages of the head, as PLAN.json has them."""
    name = _name_of_head(plan)
    mail = [message for message in _list(plan, "messages") if isinstance(message, dict)]
    return [message | {"id": str(message["id"]), "to": name} for message in mail]


def sync_document(plan: Mapping[str, object], messages: list[Document]) -> Document:
    """What `GET …/sync` answers."""
    return {
        "orchestrationId": plan["orchestrationId"],
        "tasks": sync_tasks(plan),
        "messages": messages,
        "aggregatedStatus": plan["aggregatedStatus"],
    }


def _name_of_head(plan: Mapping[str, object]) -> str:
    """How a head's own client calls it; `*` where nobody said."""
    name = plan.get("headAgent")
    return name if isinstance(name, str) and "/" in name else "*"


def _list(document: Mapping[str, object], name: str) -> list[object]:
    found = document.get(name)
    return found if isinstance(found, list) else []


def _without_none(document: Mapping[str, object]) -> Document:
    return {key: value for key, value in document.items() if value is not None}
