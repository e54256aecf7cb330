"""The tasks of a project as the views on disk show them: plain JSON, for a `list` that starts fast.

It answers only where that is exactly what the engine would answer, else None; then the journals have to be folded.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from devsh_memory_mcp.cli.board import ENDED, Line
from devsh_memory_mcp.shim.rundir import open_regular
from devsh_memory_mcp.shim.vitals import Vitals, vitals
from devsh_memory_mcp.store.bookkeeping import AGENTS_FILE, JOURNAL_FILE, PLAN_FILE, Document, read_exact

STALE_AFTER = timedelta(hours=1)  # as in the engine: what ended longer ago is the past, unless it is the newest
CUT = 200
FIELDS = ("priority", "dependsOn", "createdAt", "startedAt", "completedAt")


def glance(root: Path, project: str, orchestration_id: str | None, *, everything: bool) -> list[tuple[Path, list[Document]]] | None:
    """Each active orchestration's directory with its tasks, newest first; None where the views do not tell."""
    found = begun(root)
    if found is None:
        return None
    if orchestration_id and not everything:
        wanted = [one.directory for one in found if one.orchestration_id == orchestration_id]
        if not wanted:
            return None
    else:
        wanted = [one.directory for one in found if everything or one.project in (project, "")]
    shown: list[tuple[Path, list[Document]]] = []
    for index, directory in enumerate(wanted):
        plan = _plan(directory)
        if plan is None:
            return None
        rows, changed = plan
        if everything or index == 0 or not rows or changed is None or not is_past(rows, changed):
            shown.append((directory, rows[::-1]))
    return shown


class Begun(NamedTuple):
    """How an orchestration began, as the first line of its journal says."""

    at: str
    orchestration_id: str
    project: str
    session: str | None
    directory: Path


def begun(root: Path) -> list[Begun] | None:
    """The orchestrations, newest first; None where that cannot be said without more ado."""
    link, place = root / "orchestration", root / "orchestrations"
    if (link.is_dir() and not link.is_symlink()) or not place.is_dir():
        return None
    found = []
    for directory in place.iterdir():
        try:
            with open_regular(str(directory / JOURNAL_FILE)) as file:  # a pipe would be waited for
                first = json.loads(file.readline())
            found.append(Begun(first["timestamp"], first["orchestrationId"], first["project"], first.get("session"), directory))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
    return sorted(found, key=lambda one: one[:2], reverse=True)


def _plan(directory: Path) -> tuple[list[Document], datetime | None] | None:
    views = read_exact(directory)
    return None if views is None else rows_of(views, directory)


def rows_of(views: Mapping[str, Document], directory: Path) -> tuple[list[Document], datetime | None] | None:
    """The tasks as `list` tells them, in the plan's order, and when anything last changed; None where the views are no views."""
    plan = views[PLAN_FILE]
    tasks, agents, changed = plan.get("tasks"), views[AGENTS_FILE].get("agents"), plan.get("updatedAt")
    if not isinstance(tasks, list) or not isinstance(agents, list):
        return None
    spawned = {agent["orchestrationTaskId"]: agent for agent in agents}
    cancelled = {f"Dependency {task['id']} failed": task["id"] for task in tasks if task["status"] == "cancelled"}
    rows = [
        _row(task, spawned.get(task["orchestrationTaskId"], {}), str(plan["orchestrationId"]), directory)
        | {"cancelledDependency": cancelled.get(task.get("errorMessage"))}
        for task in tasks
    ]
    return rows, datetime.fromisoformat(changed) if isinstance(changed, str) else None


def _row(task: Document, agent: Document, orchestration_id: str, directory: Path) -> Document:
    run = directory / "runs" / str(task["taskRunId"]) / str(agent.get("attempt"))
    seen = vitals(str(run)) if task["status"] == "running" else Vitals()
    row = {
        "id": task["id"],
        "prompt": _cut(task["prompt"]),
        "status": task["status"],
        "agentName": task["agentName"],
        "orchestrationTaskId": task["orchestrationTaskId"],
        "taskId": task["id"],
        "taskRunId": task["taskRunId"],
        "orchestrationId": orchestration_id,
        "result": _last_words(task.get("result")),
        "errorMessage": _cut(task.get("errorMessage")),
        "cancelledDependency": None,
        "waitingFor": task.get("waitingFor"),
        "activity": seen.activity,
        "needsInput": task.get("needsInput"),
        "costUsd": agent.get("costUsd") if seen.cost_usd is None else seen.cost_usd,
        "costBasis": agent.get("costBasis"),
        "attempt": agent.get("attempt", 0),
        "diffStat": agent.get("diffStat") if agent.get("commits") else None,
        "branch": task.get("branch"),
    }
    return row | {name: task.get(name) for name in FIELDS} | {"dependsOn": task.get("dependsOn") or []}


def _cut(text: object) -> object:
    return text[: CUT - 1] + "…" if isinstance(text, str) and len(text) > CUT else text


def _last_words(text: object) -> object:
    return "…" + text[1 - CUT :] if isinstance(text, str) and len(text) > CUT else text


def is_past(rows: list[Document], changed: datetime) -> bool:
    """Whether all of it ended long ago."""
    return all(row["status"] in ENDED for row in rows) and datetime.now(UTC) - changed > STALE_AFTER


def line_of_row(row: Document) -> Line:
    """The task as the board shows it."""

    def text(name: str) -> str | None:
        value = row[name]
        return value if isinstance(value, str) else None

    def instant(name: str) -> datetime | None:
        value = text(name)
        return datetime.fromisoformat(value) if value else None

    cancelled, cost = text("cancelledDependency"), row["costUsd"]
    return Line(
        orchestration_task_id=str(row["orchestrationTaskId"]),
        id=str(row["id"]),
        status=str(row["status"]),
        agent_name=str(row["agentName"]),
        prompt=str(row["prompt"]),
        orchestration_id=str(row["orchestrationId"]),
        result=text("result"),
        error_message=f"its dependency {cancelled} was cancelled" if cancelled else text("errorMessage"),
        waiting_for=text("waitingFor"),
        activity=text("activity"),
        needs_input=text("needsInput"),
        cost_usd=float(cost) if isinstance(cost, int | float) else None,
        cost_basis=text("costBasis"),
        branch=text("branch"),
        created_at=instant("createdAt"),
        started_at=instant("startedAt"),
        completed_at=instant("completedAt"),
    )
