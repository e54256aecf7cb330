"""`devsh orchestrate list`: all tasks, newest first."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from devsh_memory_mcp.cli import terminal
from devsh_memory_mcp.cli.board import Line, table
from devsh_memory_mcp.cli.glance import glance, line_of_row
from devsh_memory_mcp.cli.group import command
from devsh_memory_mcp.cli.session import Session, session_of
from devsh_memory_mcp.store.bookkeeping import JOURNAL_FILE, VIEWS_FILE

STATUSES = ("pending", "running", "completed", "failed", "cancelled")


@command(
    "list",
    "devsh orchestrate list",
    "devsh orchestrate list --status running --json | jq -r '.[].orchestrationTaskId'",
    "devsh orchestrate ls --all",
    short_help="All tasks and their status.",
)
@click.option("--status", type=click.Choice(STATUSES), metavar="STATE", help=f"Only these: {', '.join(STATUSES)}.")
@click.option("--all", "everything", is_flag=True, help="Of every project and every time, not only this project's active ones.")
@click.pass_context
def list_tasks(context: click.Context, *, status: str | None, everything: bool, as_json: bool) -> None:
    """List this project's tasks, newest first, whoever spawned them. `ls` is short for it.

    Of an orchestration whose journal is damaged the tasks that can still be read have the status `damaged`, and a note on stderr says what
    to run.
    """
    session = session_of(context)
    files, project = session.files, session.caller().project
    seen = glance(files, project, session.orchestration_id, everything=everything) if files is not None else None
    if seen is None or any(_is_touched(place) for place, _ in seen):
        _fold(session, status, everything=everything, as_json=as_json)
        return
    chosen = [(place, [row for row in rows if status in (None, row["status"])]) for place, rows in seen]
    if as_json:
        click.echo(json.dumps([row for _, rows in chosen for row in rows], ensure_ascii=False, indent=2))
    else:
        _show([(place, [line_of_row(row) for row in rows]) for place, rows in chosen], status)


def _is_touched(place: Path) -> bool:
    """Whether a journal was written to after its views: where they are up to date all the same, nobody of ours has done that."""
    try:
        return (place / JOURNAL_FILE).stat().st_mtime_ns > (place / VIEWS_FILE).stat().st_mtime_ns
    except OSError:
        return True


def _fold(session: Session, status: str | None, *, everything: bool, as_json: bool) -> None:
    """The same from the journals, where the views are not up to date."""
    from devsh_memory_mcp.cli.asking import ask
    from devsh_memory_mcp.cli.known import Known, known_of, lost
    from devsh_memory_mcp.cli.output import warn, write_json
    from devsh_memory_mcp.ports import Orchestrations

    async def work(orchestrations: Orchestrations) -> list[tuple[Path | None, Known]]:
        if session.orchestration_id and not everything:
            found = [await orchestrations.named(session.orchestration_id)]
        else:
            found = list(await orchestrations.active(everything=everything))
        return [(orchestration.directory, await known_of(orchestration, status)) for orchestration in found]

    found, gone = ask(session, work), lost(session.files)
    if as_json:
        write_json([row for _, known in found for row in known.documents()])
    else:
        _show([(place, known.lines()) for place, known in found], status, readable=" that can be read" if gone else "")
    warn([*(str(known.damage) for _, known in found if known.damage), *gone])


def _show(found: Sequence[tuple[Path | None, list[Line]]], status: str | None, readable: str = "") -> None:
    for place, lines in found:
        for line in table(lines, datetime.now(UTC), terminal.width()):
            click.echo(line)
        if place:
            click.echo(click.style(f"Files: {place}", dim=True))
    if not any(lines for _, lines in found):
        click.echo(f"No {status + ' ' if status else ''}tasks here{readable}.", err=True)
