"""`devsh orchestrate list`: all tasks, newest first."""

from datetime import UTC, datetime

import click

from devsh_memory_mcp.cli import terminal
from devsh_memory_mcp.cli.board import table
from devsh_memory_mcp.cli.group import command
from devsh_memory_mcp.cli.session import Session, session_of

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
    """List this project's tasks, newest first, whoever spawned them. `ls` is short for it."""
    _list_slowly(session_of(context), status, everything=everything, as_json=as_json)


def _list_slowly(session: Session, status: str | None, *, everything: bool, as_json: bool) -> None:
    from devsh_memory_mcp.cli.asking import ask, rows_of
    from devsh_memory_mcp.cli.output import line_of, where, write_json
    from devsh_memory_mcp.domain.answers import TaskRow
    from devsh_memory_mcp.ports import Orchestration, Orchestrations

    async def work(orchestrations: Orchestrations) -> list[tuple[Orchestration, list[TaskRow]]]:
        if session.orchestration_id and not everything:
            found = [await orchestrations.named(session.orchestration_id)]
        else:
            found = await orchestrations.active(everything=everything)
        return [(orchestration, (await rows_of(orchestration, status))[::-1]) for orchestration in found]

    found = ask(session, work)
    if as_json:
        write_json([row for _, rows in found for row in rows])
        return
    for orchestration, rows in found:
        for line in table([line_of(row) for row in rows], datetime.now(UTC), terminal.width()):
            click.echo(line)
        where(orchestration.directory)
    if not any(rows for _, rows in found):
        click.echo(f"No {status + ' ' if status else ''}tasks here.", err=True)
