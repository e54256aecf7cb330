"""What `devsh orchestrate status` shows: one task, or the board of all; once, or as it changes."""

from datetime import UTC, datetime

import click

from devsh_memory_mcp.cli import terminal
from devsh_memory_mcp.cli.asking import ask, find, interruptible, rows_of, still_running
from devsh_memory_mcp.cli.board import counts, table
from devsh_memory_mcp.cli.detail import show_task
from devsh_memory_mcp.cli.output import document, line_of, where, write_json
from devsh_memory_mcp.cli.session import Session
from devsh_memory_mcp.cli.watch import Watch
from devsh_memory_mcp.ports import Orchestration, Orchestrations


def show(session: Session, any_id: str | None, *, watching: bool, interval: float, everything: bool, as_json: bool) -> int:
    """A task, an orchestration or all of them, or one of the former until it has ended; the exit code."""

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

    with interruptible(still_running(any_id)):
        return ask(session, work)


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
    click.echo(f"{click.style(orchestration.orchestration_id, bold=True)}  {counts(row.status for row in rows)}")
    for line in table([line_of(row) for row in rows], datetime.now(UTC), terminal.width()):
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
