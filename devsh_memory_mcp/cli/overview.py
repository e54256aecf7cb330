"""What `devsh orchestrate status` shows: one task, or the board of all; once, or as it changes."""

from dataclasses import dataclass
from datetime import UTC, datetime

import click

from devsh_memory_mcp.cli import terminal
from devsh_memory_mcp.cli.asking import ask, find, interruptible, is_current, rows_of, still_running
from devsh_memory_mcp.cli.board import counts, mark
from devsh_memory_mcp.cli.detail import show_task
from devsh_memory_mcp.cli.known import DAMAGED, demand_readable, known_of, lost
from devsh_memory_mcp.cli.notice import tell_end
from devsh_memory_mcp.cli.output import document, line_of, warn, where, write_json
from devsh_memory_mcp.cli.picture import Glass, picture
from devsh_memory_mcp.cli.session import Session
from devsh_memory_mcp.cli.watch import Watch, hints
from devsh_memory_mcp.errors import JournalDamaged, NotFound
from devsh_memory_mcp.ports import Orchestration, Orchestrations


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be shown, and what to run when a watched one has ended."""

    any_id: str | None
    watching: bool
    interval: float
    everything: bool
    as_json: bool
    notify: str | None


def show(session: Session, wanted: Wanted) -> int:
    """A task, an orchestration or all of them, or one of the former until it has ended; the exit code."""
    watched: list[Watch] = []

    async def work(orchestrations: Orchestrations) -> int:
        if wanted.everything and not wanted.any_id:
            return await _show_all(orchestrations, as_json=wanted.as_json)
        orchestration, task_id = await find(orchestrations, wanted.any_id)
        by_name = await is_current(session, orchestrations, orchestration)
        if wanted.watching:
            watched.append(Watch(orchestration, task_id, interval=wanted.interval, as_json=wanted.as_json, by_name=by_name))
            return await watched[0].run()
        await _show_once(orchestration, task_id, as_json=wanted.as_json, by_name=by_name)
        if task_id is None and not wanted.as_json:
            await _mention_others(orchestrations, orchestration)
        return 0

    if not wanted.any_id:
        warn(lost(session.files))
    try:
        with interruptible(still_running(wanted.any_id)):
            code = ask(session, work)
    except NotFound:
        demand_readable(session.files)
        raise
    for watch in watched:
        tell_end(wanted.notify, watch.rows, code, session.surroundings.environment, as_json=wanted.as_json)
    return code


async def _show_once(orchestration: Orchestration, task_id: str | None, *, as_json: bool, by_name: bool = False) -> None:
    if task_id is not None:
        record = await orchestration.status(task_id)
        if as_json:
            write_json(record)
        else:
            show_task(record, by_name=by_name)
            where(orchestration.directory)
        return
    rows = await rows_of(orchestration)
    if as_json:
        summary = await orchestration.summary()
        write_json({**document(summary), "tasks": [document(row) for row in rows], "directory": _text(orchestration)})
        return
    lines = [line_of(row) for row in rows]
    said, glass = hints(lines, watching=False, by_name=by_name), Glass(terminal.width(), unicode=terminal.speaks_unicode())
    for line in picture(orchestration.orchestration_id, lines, datetime.now(UTC), glass, hints=said):
        click.echo(line)
    where(orchestration.directory)


async def _show_all(orchestrations: Orchestrations, *, as_json: bool) -> int:
    found = await orchestrations.active(everything=True)
    if as_json:
        write_json({"orchestrations": [await _board(orchestration) | {"directory": _text(orchestration)} for orchestration in found]})
        return 0
    for orchestration in found:
        try:
            await _show_once(orchestration, None, as_json=False)
        except JournalDamaged as damage:
            click.echo(f"{click.style(orchestration.orchestration_id, bold=True)}  {mark(DAMAGED)}")
            warn([str(damage)])
    if not found:
        click.echo("No orchestration yet.")
    return 0


async def _board(orchestration: Orchestration) -> dict[str, object]:
    try:
        return document(await orchestration.summary())
    except JournalDamaged as damage:
        warn([str(damage)])
        return {"orchestrationId": orchestration.orchestration_id, "error": {"code": damage.code, "message": str(damage)}}


async def _mention_others(orchestrations: Orchestrations, shown: Orchestration) -> None:
    """Somebody else's work in the same project, a head agent's for instance, is worth a line."""
    for other in await orchestrations.active():
        if other.orchestration_id != shown.orchestration_id:
            found = counts(line.status for line in (await known_of(other)).lines())
            click.echo(f"Also in this project: {found}; devsh orchestrate status {other.orchestration_id}")


def _text(orchestration: Orchestration) -> str | None:
    return str(orchestration.directory) if orchestration.directory else None
