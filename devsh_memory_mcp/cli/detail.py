"""One task in full, for people."""

from datetime import UTC, datetime

import click

from devsh_memory_mcp.cli.board import mark, title
from devsh_memory_mcp.cli.durations import elapsed
from devsh_memory_mcp.cli.output import facts, quoted, warn
from devsh_memory_mcp.domain.answers import TaskRecord, TaskResult
from devsh_memory_mcp.domain.records import DiffStat

SHOWN_LINES = 15


def show_task(record: TaskRecord) -> None:
    """Where it is, on what it works, what came of it, and what to type next."""
    time = elapsed(record.started_at, record.completed_at, datetime.now(UTC))
    took = f" in {time}" if time and record.completed_at else f" for {time}" if time else ""
    click.echo(f"{click.style(record.orchestration_task_id, bold=True)}  {mark(record.status)}{took}  {record.agent_name}")
    base = f" from {record.base_branch or 'HEAD'}" if record.base_commit else ""
    facts(
        [
            ("name", record.id if record.id != record.orchestration_task_id else None),
            ("task", title(record.prompt)),
            ("waiting", record.waiting_for),
            ("after", ", ".join(record.depends_on)),
            ("branch", record.branch and f"{record.branch}{base}{diff_text(record.commits, record.diff_stat)}"),
            ("in", record.repo),
            ("pr", record.pr_url),
            ("attempt", str(record.attempt) if record.attempt > 1 else None),
            ("isolation", record.isolation),
            ("error", record.error_message),
        ]
    )
    show_text(record.result, record.result_path)
    show_conflicts(record)
    facts([("salvage", quoted("git", "checkout", ref)) for ref in record.salvage_refs[-1:] if record.status != "completed"])
    facts(
        [("checkout", record.workspace), ("output", f"devsh orchestrate logs {record.orchestration_task_id}" if record.attempt else None)]
    )
    warn(record.warnings)
    if record.next:
        click.echo(f"  next      {record.next}")


def show_result(result: TaskResult) -> None:
    """One task of `results`."""
    name = f"{result.id}: " if result.id != result.orchestration_task_id else ""
    click.echo(
        f"{mark(result.status)}  {click.style(result.orchestration_task_id, bold=True)}  {result.agent_name}  {name}{title(result.prompt)}"
    )
    changed = diff_text(result.commits, result.diff_stat)
    facts([("branch", result.branch and result.branch + changed), ("pr", result.pr_url), ("error", result.error_message)])
    show_text(result.result, result.result_path)
    show_conflicts(result)
    warn(result.warnings)
    facts([("checkout", result.workspace)])


def show_conflicts(shown: TaskResult | TaskRecord) -> None:
    """The dependencies whose work is not in the task's."""
    for conflict in shown.merge_conflicts:
        name = click.style("conflict ", fg="yellow")
        click.echo(f"  {name} {conflict.branch} could not be merged, and is not in this: {', '.join(conflict.files[:5])}")


def diff_text(commits: int, stat: DiffStat | None) -> str:
    """`  2 commits, 3 files, +10 −2`, empty where nothing was changed."""
    if not commits or stat is None:
        return ""
    added, removed = click.style(f"+{stat.insertions}", fg="green"), click.style(f"-{stat.deletions}", fg="red")
    return f"  {_plural(commits, 'commit')}, {_plural(stat.files, 'file')}, {added} {removed}"


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def show_text(text: str | None, path: str | None) -> None:
    """An agent's words, indented; the end of them where there are many."""
    lines = (text or "").strip("\n").splitlines()
    if not any(line.strip() for line in lines):
        return
    hidden = len(lines) - SHOWN_LINES
    if hidden > 0:
        click.echo(click.style(f"  │ … {_plural(hidden, 'line')} above{f', all in {path}' if path else ''}", dim=True))
    for line in lines[-SHOWN_LINES:]:
        click.echo(
            f"  {click.style('│', dim=True)} {''.join(character for character in line if character.isprintable() or character == chr(9))}"
        )
