"""`devsh orchestrate status --line`: one line for the status line of Claude Code or a shell's prompt.

It is asked for all the time, so it reads the views as they are and imports nothing heavy; they are a moment behind at most.
"""

import contextlib
import json
import os
import select
import sys
import time
from collections import Counter
from pathlib import Path

from devsh_memory_mcp.cli.board import ENDED
from devsh_memory_mcp.cli.glance import begun, is_past, rows_of
from devsh_memory_mcp.cli.session import Session
from devsh_memory_mcp.store.bookkeeping import AGENTS_FILE, PLAN_FILE, Document

_PATIENCE = 0.2  # seconds for what comes on stdin
_MOST = 1 << 20
_WORDS = (("running", "running"), ("pending", "waiting"), ("completed", "done"), ("failed", "failed"), ("cancelled", "cancelled"))


def show(session: Session) -> None:
    """Prints the line; nothing where nothing is going on."""
    line = line_of(_rows(session, _said()))
    if line:
        sys.stdout.write(f"{line}\n")


def line_of(rows: list[Document]) -> str:
    """`devsh 3 running · 1 waiting · 2 done · 1 needs input · $0.42`; `≈` where some of it is a list price that nobody is billed."""
    counts = Counter(str(row["status"]) for row in rows)
    parts = [f"{counts[status]} {word}" for status, word in _WORDS if counts[status]]
    asking = sum(1 for row in rows if row["needsInput"] and row["status"] not in ENDED)
    parts += [f"{asking} needs input"] if asking else []
    costs = [(cost, row["costBasis"]) for row in rows if isinstance(cost := row["costUsd"], int | float)]
    total = sum(cost for cost, _ in costs)
    if total >= 0.005:
        parts.append(f"{'≈' if any(basis == 'subscription' for _, basis in costs) else ''}${total:.2f}")
    return f"devsh {' · '.join(parts)}" if parts else ""


def _rows(session: Session, said: Document) -> list[Document]:
    """The tasks of the client's own session where it has an orchestration, else of all in the project in which something is going on."""
    found = begun(session.root) or []
    caller = session.caller(_directory(said))
    if session.orchestration_id:
        wanted = [one for one in found if one.orchestration_id == session.orchestration_id]
    else:
        mine = [one for one in found if one.session is not None and one.session == said.get("session_id")]
        wanted = mine[:1] or [one for one in found if one.project in (caller.project, "")]
    rows: list[Document] = []
    for one in wanted:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):  # no views yet, or somebody else's
            seen = rows_of({name: json.loads((one.directory / name).read_bytes()) for name in (PLAN_FILE, AGENTS_FILE)}, one.directory)
            if seen is not None and (seen[1] is None or not is_past(seen[0], seen[1])):
                rows += seen[0]
    return rows


def _directory(said: Document) -> Path | None:
    """Where the client is, as it says."""
    workspace = said.get("workspace")
    named = (workspace.get("project_dir") if isinstance(workspace, dict) else None) or said.get("cwd")
    return Path(named) if isinstance(named, str) and os.path.isabs(named) else None


def _said() -> Document:
    """What the client tells on stdin, which is read in any case: nothing that can be used where it is no JSON, or does not end."""
    content = b""
    with contextlib.suppress(OSError, ValueError):
        descriptor, until = sys.stdin.fileno(), time.monotonic() + _PATIENCE
        while not os.isatty(descriptor) and len(content) < _MOST:
            if not select.select([descriptor], [], [], max(0.0, until - time.monotonic()))[0]:
                break
            piece = os.read(descriptor, 65536)
            if not piece:
                break
            content += piece
    with contextlib.suppress(ValueError):
        document = json.loads(content)
        return document if isinstance(document, dict) else {}
    return {}
