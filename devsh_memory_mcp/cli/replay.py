"""`devsh orchestrate replay`: an orchestration as it was after any event of its journal."""

from collections.abc import Sequence
from pathlib import Path

import click

from devsh_memory_mcp.agents.plain import plain
from devsh_memory_mcp.cli import terminal
from devsh_memory_mcp.cli.board import one_line
from devsh_memory_mcp.cli.cells import fit
from devsh_memory_mcp.cli.group import command
from devsh_memory_mcp.cli.output import line_of, warn, where, write_json
from devsh_memory_mcp.cli.picture import Glass, picture
from devsh_memory_mcp.cli.place import find_path, find_place
from devsh_memory_mcp.cli.session import session_of
from devsh_memory_mcp.domain import summary
from devsh_memory_mcp.domain.chronicle import sentence, task_of
from devsh_memory_mcp.domain.instants import instant_text
from devsh_memory_mcp.domain.letters import Message
from devsh_memory_mcp.domain.state import State
from devsh_memory_mcp.engine.reading import waiting_then
from devsh_memory_mcp.store.playback import Playback, read_playback
from devsh_memory_mcp.store.views import documents

FEW = 15  # events that are told to people who name no number


@command(
    "replay",
    "devsh orchestrate replay",
    "devsh orchestrate replay --to 12",
    "devsh orchestrate replay orch_abc123.tar.gz --events 1000",
    "devsh orchestrate replay orch_abc123 --to 12 --json | jq .plan",
    short_help="How it was at any point of its journal.",
)
@click.argument("given", metavar="[ID|PATH]", required=False)
@click.option("--to", "seq", type=int, metavar="SEQ", help="The last event that counts (default: the end).")
@click.option(
    "--events", type=click.IntRange(min=0), default=FEW, show_default=True, metavar="N", help="How many events are told in words."
)
@click.pass_context
def replay(context: click.Context, given: str | None, *, seq: int | None, events: int, as_json: bool) -> None:
    """Show plan, agents and mailbox as they were right after an event, and what happened before it.

    ID is an orchestration's or a task's; PATH is an orchestration's directory, or what `devsh orchestrate export` made: a
    bug report is looked at as it is. Nothing is changed. Events that were committed together count together.
    """
    session = session_of(context)
    path = find_path(session, given) or find_place(session, given)
    played = read_playback(path)
    end = played.last if seq is None else played.end_of(seq)
    notes = played.notes()
    if seq is not None and end != seq:
        notes.insert(0, f"Event {seq} was committed together with those up to {end}, so it is shown as it was after {end}.")
    if as_json:
        write_json(_document(played, end, notes, path))
    else:
        _show(played, end, events, path)
        warn(notes)


def _document(played: Playback, end: int, notes: Sequence[str], path: Path) -> dict[str, object]:
    state, last = played.state_at(end), played.entries[end - 1]
    views = documents(state, waiting_then(state, last.timestamp))
    told = [
        {
            "seq": entry.seq,
            "timestamp": instant_text(entry.timestamp),
            "event": getattr(entry.event, "event", entry.event.name),
            "orchestrationTaskId": task_of(entry.event),
            "text": sentence(entry.seq, entry.event, state),
        }
        for entry in played.entries[:end]
    ]
    return {
        "orchestrationId": state.orchestration_id,
        "seq": end,
        "lastSeq": played.last,
        "timestamp": instant_text(last.timestamp),
        "plan": views["PLAN.json"],
        "agents": views["AGENTS.json"],
        "mailbox": views["MAILBOX.json"],
        "events": told,
        "damage": played.damage or None,
        "notes": list(notes),
        "path": str(path),
    }


def _show(played: Playback, end: int, events: int, path: Path) -> None:
    state, at = played.state_at(end), played.entries[end - 1].timestamp
    reasons = waiting_then(state, at)
    lines = [line_of(summary.task_row(state, task, reasons.get(task.orchestration_task_id))) for task in state.tasks.values()]
    heading = f"{plain(state.orchestration_id)}  as it was after event {end} of {played.last}, {instant_text(at)}"
    for line in picture(heading, lines, at, Glass(terminal.width(), unicode=terminal.speaks_unicode())):
        click.echo(line)
    _section("Mailbox", [_mail(message, state) for message in state.messages.values()])
    first = max(0, end - events)
    told = [
        f"{entry.seq:>{len(str(end))}}  {entry.timestamp:%H:%M:%S}  {sentence(entry.seq, entry.event, state)}"
        for entry in played.entries[first:end]
    ]
    _section("What happened" if not first else f"What happened last ({first} events before it: --events {end})", told)
    where(path)


def _section(title: str, lines: Sequence[str]) -> None:
    if lines:
        click.echo(click.style(f"\n{title}", bold=True))
    for line in lines:
        click.echo(f"  {fit(line, max(20, terminal.width() - 3))}")


def _mail(message: Message, state: State) -> str:
    """`#7 head → unit (request, read): …`."""

    def name(reader: str) -> str:
        task = state.tasks.get(reader)
        return plain(task.id if task else reader)

    arrow = "→" if terminal.speaks_unicode() else "->"
    standing = f"not delivered: {one_line(message.failed)}" if message.failed else "read" if message.readers else "unread"
    return f"#{message.id} {name(message.sender)} {arrow} {name(message.to)} ({message.type}, {standing}): {one_line(message.text)}"
