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
from collections.abc import Sequence
from pathlib import Path

from devsh_memory_mcp.cli.board import Line, total_cost
from devsh_memory_mcp.cli.glance import Begun, begun, is_past, line_of_row, rows_of
from devsh_memory_mcp.cli.session import Session
from devsh_memory_mcp.store.bookkeeping import AGENTS_FILE, PLAN_FILE, Document

_PATIENCE = 0.2  # seconds for what comes on stdin
_MOST = 1 << 20
_WORDS = (("running", "running"), ("pending", "waiting"), ("completed", "done"), ("failed", "failed"), ("cancelled", "cancelled"))


def show(session: Session) -> None:
    """Prints the line; nothing where nothing is going on."""
    line = line_of(_lines(session, _said()))
    if line:
        sys.stdout.write(f"{line}\n")


def line_of(lines: Sequence[Line]) -> str:
    """`devsh 3 running · 1 waiting · 2 done · 1 needs input · $0.42`; the sum is the board's."""
    counts = Counter(line.status for line in lines)
    parts = [f"{counts[status]} {word}" for status, word in _WORDS if counts[status]]
    asking = sum(1 for line in lines if line.needs_input and not line.has_ended)
    parts += filter(None, (f"{asking} needs input" if asking else "", total_cost(lines)))
    return f"devsh {' · '.join(parts)}" if parts else ""


def _lines(session: Session, said: Document) -> list[Line]:
    """The tasks of the orchestration that the board shows, or of the client's own session's; none where it ended long ago."""
    one = _meant(session, begun(session.root) or [], said)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):  # no views yet, or somebody else's
        if one is not None:
            seen = rows_of({name: json.loads((one.directory / name).read_bytes()) for name in (PLAN_FILE, AGENTS_FILE)}, one.directory)
            if seen is not None and (seen[1] is None or not is_past(seen[0], seen[1])):
                return [line_of_row(row) for row in seen[0]]
    return []


def _meant(session: Session, found: list[Begun], said: Document) -> Begun | None:
    """As in the engine: the named one, else the session's, else the one that a shell shares with its project, else the project's newest."""
    if session.orchestration_id:
        return next((one for one in found if one.orchestration_id == session.orchestration_id), None)
    project = session.caller(_directory(said)).project
    here = [one for one in found if one.project in (project, "")]
    mine = next((one for one in found if one.session is not None and one.session == said.get("session_id")), None)
    return mine or next((one for one in here if one.session is None), here[0] if here else None)


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
