"""One task in full, for people."""

from datetime import UTC, datetime

import click

from devsh_memory_mcp.agents.plain import plain
from devsh_memory_mcp.cli.board import mark, money, title
from devsh_memory_mcp.cli.durations import elapsed
from devsh_memory_mcp.cli.output import fact_lines, facts, quoted, warn
from devsh_memory_mcp.domain.answers import TaskRecord, TaskResult
from devsh_memory_mcp.domain.records import DiffStat

SHOWN_LINES = 15
PERMISSIONS = {
    "acceptEdits": "edit its checkout, commit, run tests, and do what your rules allow (acceptEdits)",
    "bypass": click.style("do everything unasked, with your rights (bypass)", fg="red"),
}
BASES = {
    "api": ", billed by the token",
    "subscription": " at list price, which a subscription is not billed",
    "unknown": " at list price; who pays is not known here",
}
FAILURES = {
    "auth": "the provider does not accept the login (auth)",
    "rate_limit": "the provider's limit is reached (rate_limit)",
    "overload": "the provider was overloaded (overload)",
    "refusal": "the model refused (refusal)",
    "context": "the conversation was longer than the model can read (context)",
    "permission": "it was not allowed to do what it had to (permission)",
    "turns": "it took as many turns as it may (turns)",
    "api": "the provider answered with an error (api)",
    "crash": "its program ended before its work did (crash)",
}


def show_task(record: TaskRecord) -> None:
    """Where it is, on what it works, what came of it, and what to type next."""
    for line in task_lines(record, datetime.now(UTC)):
        click.echo(line)
    warn(record.warnings)


def task_lines(record: TaskRecord, now: datetime) -> list[str]:
    """The same without the warnings, to be shown by somebody else."""
    time = elapsed(record.started_at, record.completed_at, now)
    took = f" in {time}" if time and record.completed_at else f" for {time}" if time else ""
    base = f" from {record.base_branch or 'HEAD'}" if record.base_commit else ""
    salvage = [("salvage", quoted("git", "checkout", ref)) for ref in record.salvage_refs[-1:] if record.status != "completed"]
    return [
        f"{click.style(record.orchestration_task_id, bold=True)}  {mark(record.status)}{took}  {plain(record.agent_name)}",
        *fact_lines(
            [
                ("name", record.id if record.id != record.orchestration_task_id else None),
                ("task", title(record.prompt)),
                ("waiting", plain(record.waiting_for or "")),
                ("after", ", ".join(record.depends_on)),
                ("doing", plain(record.activity or "")),
                ("needs", click.style(plain(record.needs_input), fg="yellow", bold=True) if record.needs_input else None),
                ("branch", record.branch and f"{record.branch}{base}{diff_text(record.commits, record.diff_stat)}"),
                ("in", record.repo),
                ("pr", plain(record.pr_url or "")),
                ("attempt", str(record.attempt) if record.attempt > 1 else None),
                ("cost", cost_in_words(record)),
                ("session", plain(record.session_id or "")),
                ("may", PERMISSIONS.get(record.permissions or "")),
                ("isolation", record.isolation),
                ("error", plain(record.error_message or "")),
                ("because", FAILURES.get(record.failure or "")),
            ]
        ),
        *_text_lines(record.result, record.result_path),
        *_conflict_lines(record),
        *fact_lines(salvage),
        *fact_lines(
            [
                ("checkout", record.workspace),
                ("output", f"devsh orchestrate logs {record.orchestration_task_id}" if record.attempt else None),
                ("next", record.next),
            ]
        ),
    ]


def show_result(result: TaskResult) -> None:
    """One task of `results`; its checkout where nothing else has its work."""
    name = f"{result.id}: " if result.id != result.orchestration_task_id else ""
    click.echo(
        f"{mark(result.status)}  {click.style(result.orchestration_task_id, bold=True)}  {result.agent_name}  {name}{title(result.prompt)}"
    )
    changed = diff_text(result.commits, result.diff_stat)
    facts(
        [
            ("branch", result.branch and result.branch + changed),
            ("pr", plain(result.pr_url or "")),
            ("error", plain(result.error_message or "")),
        ]
    )
    show_text(result.result, result.result_path)
    show_conflicts(result)
    warn(result.warnings)
    facts([("checkout", None if result.branch and result.status == "completed" else result.workspace)])
    click.echo()


def show_conflicts(shown: TaskResult | TaskRecord) -> None:
    """The dependencies whose work is not in the task's."""
    for line in _conflict_lines(shown):
        click.echo(line)


def _conflict_lines(shown: TaskResult | TaskRecord) -> list[str]:
    name = click.style("conflict ", fg="yellow")
    return [
        f"  {name} {conflict.branch} could not be merged, and is not in this: {plain(', '.join(conflict.files[:5]))}"
        for conflict in shown.merge_conflicts
    ]


def diff_text(commits: int, stat: DiffStat | None) -> str:
    """`  2 commits, 3 files, +10 −2`, empty where nothing was changed."""
    if not commits or stat is None:
        return ""
    added, removed = click.style(f"+{stat.insertions}", fg="green"), click.style(f"-{stat.deletions}", fg="red")
    return f"  {plural(commits, 'commit')}, {plural(stat.files, 'file')}, {added} {removed}"


def plural(number: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def show_text(text: str | None, path: str | None) -> None:
    """An agent's words, indented; the end of them where there are many."""
    for line in _text_lines(text, path):
        click.echo(line)


def _text_lines(text: str | None, path: str | None) -> list[str]:
    lines = (text or "").strip("\n").splitlines()
    if not any(line.strip() for line in lines):
        return []
    hidden, bar = len(lines) - SHOWN_LINES, click.style("│", dim=True)
    above = [click.style(f"  │ … {plural(hidden, 'line')} above{f', all in {path}' if path else ''}", dim=True)] if hidden > 0 else []
    return [*above, *(f"  {bar} {plain(line)}" for line in lines[-SHOWN_LINES:])]


def cost_in_words(record: TaskRecord) -> str | None:
    """What it has cost, who pays, and what was used."""
    used = ", ".join(f"{number:,} {_words(name)}" for name, number in (record.usage or {}).items() if number)
    basis = record.cost_basis or "unknown"
    cost = None if record.cost_usd is None else f"{'' if basis == 'api' else '~'}{money(record.cost_usd)}{BASES[basis]}"
    return "; ".join(filter(None, (cost, used))) or None


def _words(name: str) -> str:
    """`inputTokens` as `input tokens`."""
    return "".join(f" {character.lower()}" if character.isupper() else character for character in name.replace("_", " "))
