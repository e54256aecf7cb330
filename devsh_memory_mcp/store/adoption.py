"""A directory of the existing implementation, made an orchestration of ours: its tasks shown, all its files kept."""

import os
from pathlib import Path

from pydantic_core import from_json

from devsh_memory_mcp.domain.events import OrchestrationCreated
from devsh_memory_mcp.domain.names import Choose, checked_id
from devsh_memory_mcp.errors import InvalidId, JournalDamaged
from devsh_memory_mcp.ports import Clock
from devsh_memory_mcp.store.bookkeeping import AGENTS_FILE, JOURNAL_FILE, MAILBOX_FILE, PLAN_FILE, VIEWS_FILE
from devsh_memory_mcp.store.files import nanoseconds, unused_name
from devsh_memory_mcp.store.journal import create
from devsh_memory_mcp.store.line import own_lines
from devsh_memory_mcp.store.plan import Document
from devsh_memory_mcp.store.reader import Reader
from devsh_memory_mcp.store.views import Views, imported_events

_VIEWS = (PLAN_FILE, AGENTS_FILE, MAILBOX_FILE)


def adopt(directory: Path, fallback_id: str, clock: Clock, choose: Choose) -> None:
    """Begins a journal in a directory that has none of ours. The caller holds the root's lock.

    PLAN.json, AGENTS.json, MAILBOX.json and EVENTS.jsonl are kept as `<name>.imported`; whoever is killed in between does the rest
    the next time, since the journal comes after the copies and before the new views.
    """
    journal = directory / JOURNAL_FILE
    if journal.exists() and any(True for _ in own_lines(journal.read_bytes())):
        raise JournalDamaged(f"{journal} does not begin with the creation of an orchestration.")
    plan = _plan(directory)
    kept = {name: _second_name(directory / name, clock) for name in _VIEWS if (directory / name).is_file()}
    if journal.exists():
        os.rename(journal, _imported_name(journal, clock))
    events = imported_events(plan, choose, kept=", ".join(path.name for path in kept.values())) if plan else ()
    (directory / VIEWS_FILE).unlink(missing_ok=True)  # of a journal that is no more
    create(directory, _created(plan, fallback_id, directory), clock.now(), *events)
    for name in kept:
        os.unlink(directory / name)
    reader = Reader(journal)
    reader.catch_up()
    Views(directory, clock, choose).write(reader.state, reader.offset, {})  # no runner can know this orchestration yet
    reader.close()


def _created(plan: Document, fallback_id: str, directory: Path) -> OrchestrationCreated:
    name = plan.get("orchestrationId")
    try:
        orchestration_id = checked_id(name) if isinstance(name, str) else fallback_id
    except InvalidId:
        orchestration_id = fallback_id
    head, description = plan.get("headAgent"), plan.get("description")
    return OrchestrationCreated(
        orchestration_id=orchestration_id,
        head_agent=head if isinstance(head, str) else "cli",
        description=description if isinstance(description, str) else "",
        imported_from=str(directory),
    )


def _plan(directory: Path) -> Document:
    try:
        document = from_json((directory / PLAN_FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _second_name(path: Path, clock: Clock) -> Path:
    name = _imported_name(path, clock)
    if not name.exists():
        os.link(path, name)
    return name


def _imported_name(path: Path, clock: Clock) -> Path:
    """`<name>.imported`, or one that is free where another file has that."""
    name = path.with_name(f"{path.name}.imported")
    if not os.path.lexists(name) or (path.exists() and os.path.samefile(name, path)):
        return name
    return unused_name(path, "imported", nanoseconds(clock.now()))
