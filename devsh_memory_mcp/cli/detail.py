"""One task in full, for people."""

from datetime import UTC, datetime, timedelta

import click

from devsh_memory_mcp.agents.figures import counted, money, size_text
from devsh_memory_mcp.agents.plain import plain
from devsh_memory_mcp.cli.board import mark, title
from devsh_memory_mcp.cli.durations import clock, elapsed
from devsh_memory_mcp.cli.output import called, fact_lines, facts, quoted, warn, why_ended
from devsh_memory_mcp.domain import summary
from devsh_memory_mcp.domain.answers import TaskRecord, TaskResult
from devsh_memory_mcp.domain.records import DiffStat, Traffic
from devsh_memory_mcp.shim.bounds import InForce, in_words
from devsh_memory_mcp.shim.confinement import GUARD

SHOWN_LINES = 15
PERMISSIONS = {
    "acceptEdits": "edit its checkout, commit, run tests, and do what your rules allow (acceptEdits)",
    "bypass": "do everything unasked (bypass)",
}
_EXPOSED = click.style("do everything unasked, with your rights (bypass)", fg="red")
_REACHES: dict[str, str | None] = {
    "": None,
    "on": "all of the network, this machine's own ports included (on)",
    "off": "no network, beside its model's API (off)",
}
VERDICTS: dict[bool | None, str] = {True: "its work passed", False: click.style("its work did not pass", fg="red")}
BASES = {
    "api": ", billed by the token",
    "subscription": " at list price, which a subscription is not billed",
    "unknown": " at list price; who pays is not known here",
}


def show_task(record: TaskRecord, *, by_name: bool = False) -> None:
    """Where it is, on what it works, what came of it, and what to type next."""
    for line in task_lines(record, datetime.now(UTC), by_name=by_name):
        click.echo(line)
    warn(record.warnings)


def task_lines(record: TaskRecord, now: datetime, *, by_name: bool = False) -> list[str]:
    """The same without the warnings, to be shown by somebody else."""
    time = elapsed(record.started_at, record.completed_at, now)
    took = f" in {time}" if time and record.completed_at else f" for {time}" if time else ""
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
                ("branch", record.branch and f"{record.branch}{base_text(record)}{diff_text(record.commits, record.diff_stat)}"),
                ("in", record.repo),
                ("pr", plain(record.pr_url or "")),
                ("leads", record.leads),
                ("attempt", str(record.attempt) if record.attempt > 1 else None),
                ("work", work_in_words(record)),
                ("verified", VERDICTS.get(record.verified)),
                ("cost", cost_in_words(record)),
                ("session", plain(record.session_id or "")),
                ("may", _EXPOSED if _is_exposed(record) else PERMISSIONS.get(record.permissions or "")),
                ("isolation", record.isolation),
                ("limits", in_words(InForce(**record.limits.model_dump())) if record.limits else None),
                ("reaches", _REACHES.get(record.allowed_network or "", record.allowed_network)),
                ("sees", ", ".join(map(plain, record.mounts))),
                ("network", traffic_text(record.network) if record.network else None),
                ("error", plain(why_ended(record) or "")),
                ("because", summary.FAILURES.get(record.failure or "")),
            ]
        ),
        *_text_lines(record.result, record.result_path),
        *_conflict_lines(record),
        *fact_lines(salvage),
        *fact_lines(
            [
                ("checkout", record.workspace),
                ("output", f"devsh orchestrate logs {called(record, by_name=by_name)}" if record.attempt else None),
                ("next", record.next),
            ]
        ),
    ]


def _is_exposed(record: TaskRecord) -> bool:
    """Whether nothing holds an agent that may do everything."""
    return record.permissions == "bypass" and record.isolation == GUARD


def traffic_text(traffic: Traffic) -> str:
    """12 requests, 34.0 kB up, 1.2 MB down; refused: example.org (3)."""
    refused = ", ".join(f"{plain(host)} ({count})" for host, count in traffic.refused.items())
    moved = f"{counted(traffic.requests, 'request')}, {size_text(traffic.bytes_up)} up, {size_text(traffic.bytes_down)} down"
    return f"{moved}; refused: {refused}" if refused else moved


def base_text(record: TaskRecord) -> str:
    """From where its branch starts; a dependency's branch has no commit to start from before that one has ended."""
    commit = f" ({record.base_commit[:7]})" if record.base_commit else ""
    return f" from {record.base_branch or 'HEAD'}{commit}" if record.base_branch or commit else ""


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
            ("verified", VERDICTS.get(result.verified)),
            ("pr", plain(result.pr_url or "")),
            ("error", plain(why_ended(result) or "")),
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
    return f"  {counted(commits, 'commit')}, {counted(stat.files, 'file')}, {added} {removed}"


def show_text(text: str | None, path: str | None) -> None:
    """An agent's words, indented; the end of them where there are many."""
    for line in _text_lines(text, path):
        click.echo(line)


def _text_lines(text: str | None, path: str | None) -> list[str]:
    lines = (text or "").strip("\n").splitlines()
    if not any(line.strip() for line in lines):
        return []
    hidden, bar = len(lines) - SHOWN_LINES, click.style("│", dim=True)
    above = [click.style(f"  │ … {counted(hidden, 'line')} above{f', all in {path}' if path else ''}", dim=True)] if hidden > 0 else []
    return [*above, *(f"  {bar} {plain(line)}" for line in lines[-SHOWN_LINES:])]


def work_in_words(record: TaskRecord) -> str | None:
    """What the agent did, in figures, and for how long."""
    told = ((record.tool_calls, "tool call"), (record.commands, "command"))
    active = f"{clock(timedelta(milliseconds=record.active_ms))} of its own" if record.active_ms is not None else None
    return ", ".join(filter(None, (*(counted(number, name) for number, name in told if number is not None), active))) or None


def cost_in_words(record: TaskRecord) -> str | None:
    """What it has cost, who pays, and what was used."""
    used = ", ".join(counted(number, _words(name)) for name, number in (record.usage or {}).items() if number)
    basis = record.cost_basis or "unknown"
    price = None if record.cost_usd is None else f"{money(record.cost_usd, is_billed=basis == 'api')}{BASES[basis]}"
    return "; ".join(filter(None, (price, used))) or None


def _words(name: str) -> str:
    """`inputTokens` as `input token`."""
    words = "".join(f" {character.lower()}" if character.isupper() else character for character in name.replace("_", " "))
    return words.removesuffix("s")
