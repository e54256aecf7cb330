"""`devsh orchestrate status`: one task, or the board of all; once, or as it changes."""

from datetime import UTC, datetime

import click

from devsh_memory_mcp.cli import terminal
from devsh_memory_mcp.cli.asking import ask, find, interruptible, rows_of, still_running
from devsh_memory_mcp.cli.board import counts
from devsh_memory_mcp.cli.detail import show_task
from devsh_memory_mcp.cli.group import command
from devsh_memory_mcp.cli.output import document, line_of, where, write_json
from devsh_memory_mcp.cli.picture import Glass, picture
from devsh_memory_mcp.cli.session import session_of
from devsh_memory_mcp.cli.watch import Watch, hints
from devsh_memory_mcp.ports import Orchestration, Orchestrations


@command(
    "status",
    "devsh orchestrate status",
    "devsh orchestrate status --watch",
    "devsh orchestrate status ns7abc12345 --watch --interval 5",
    "devsh orchestrate status ns7abc12345 --json | jq -r .branch",
    short_help="How a task is doing, or all of them; --watch follows.",
)
@click.argument("any_id", metavar="[ID]", required=False)
@click.option("--watch", "-w", "watching", is_flag=True, help="Follow it until it has ended; exits as `wait` does.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=3.0,
    show_default=True,
    metavar="SECONDS",
    help="How often the board looks what agents do; changes show at once, clocks go on each second.",
)
@click.option("--all", "everything", is_flag=True, help="Every orchestration, not only the current one.")
@click.pass_context
def status(context: click.Context, any_id: str | None, *, watching: bool, interval: float, everything: bool, as_json: bool) -> int:
    """Show a task, or without ID the board of the current orchestration.

    ID is a task's id, its name or its task run id, or an orchestration's id.
    """

    async def work(orchestrations: Orchestrations) -> int:
        if everything and not any_id:
            return await _show_all(orchestrations, as_json=as_json)
        orchestration, task_id = await find(orchestrations, any_id)
        if watching:
            return await Watch(orchestration, task_id, interval=interval, as_json=as_json).run()
        await _show_once(orchestration, task_id, as_json=as_json)
        if task_id is None and not as_json:
            await _mention_others(orchestrations, orchestration)
        return 0

    if watching and everything:
        raise click.UsageError("--watch follows one task or one orchestration: leave out --all, or give an orchestration's id.")
    with interruptible(still_running(any_id)):
        return ask(session_of(context), work)


async def _show_once(orchestration: Orchestration, task_id: str | None, *, as_json: bool) -> None:
    if task_id is not None:
        record = await orchestration.status(task_id)
        if as_json:
            write_json(record)
        else:
            show_task(record)
            where(orchestration.directory)
        return
    rows = await rows_of(orchestration)
    if as_json:
        summary = await orchestration.summary()
        write_json({**document(summary), "tasks": [document(row) for row in rows], "directory": _text(orchestration)})
        return
    lines, glass = [line_of(row) for row in rows], Glass(terminal.width(), unicode=terminal.speaks_unicode())
    for line in picture(orchestration.orchestration_id, lines, datetime.now(UTC), glass, hints=hints(lines, watching=False)):
        click.echo(line)
    where(orchestration.directory)


async def _show_all(orchestrations: Orchestrations, *, as_json: bool) -> int:
    found = await orchestrations.active(everything=True)
    if as_json:
        boards = [document(await orchestration.summary()) | {"directory": _text(orchestration)} for orchestration in found]
        write_json({"orchestrations": boards})
        return 0
    for orchestration in found:
        await _show_once(orchestration, None, as_json=False)
    if not found:
        click.echo("No orchestration yet.")
    return 0


async def _mention_others(orchestrations: Orchestrations, shown: Orchestration) -> None:
    """Somebody else's work in the same project, a head agent's for instance, is worth a line."""
    for other in await orchestrations.active():
        if other.orchestration_id != shown.orchestration_id:
            found = counts(row.status for row in await rows_of(other))
            click.echo(f"Also in this project: {found}; devsh orchestrate status {other.orchestration_id}")


def _text(orchestration: Orchestration) -> str | None:
    return str(orchestration.directory) if orchestration.directory else None
