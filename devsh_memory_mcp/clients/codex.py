"""Our server in Codex's `config.toml`: a table of our own at its end, and no other line touched."""

import copy
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devsh_memory_mcp.clients import toml_text
from devsh_memory_mcp.clients.notes import Note, Notes, Plan, emptied, missing_above
from devsh_memory_mcp.clients.server import SERVER_NAME, WAIT_SECONDS
from devsh_memory_mcp.clients.text import Splice, TextChange, read_text, spliced
from devsh_memory_mcp.config import HANDED_ON, HANDED_ON_URLS, home_directory
from devsh_memory_mcp.errors import Conflict, InvalidRequest
from devsh_memory_mcp.inventory import CREDENTIALS

TABLES = "mcp_servers"
TABLE = f"{TABLES}.{SERVER_NAME}"
START_SECONDS = 30

# Codex starts servers with a handful of variables. By name: which orchestration is meant, and what agents need of their caller.
_OURS = (
    "DEVSH_MEMORY_DIR", "DEVSH_ALLOW_REMOTE_FS", "CMUX_ORCHESTRATION_ID", "CMUX_DEFAULT_CODING_AGENT", "CMUX_HEAD_AGENT",
    "CMUX_TASK_RUN_ID", "CMUX_PARENT_TASK_RUN_ID", "CMUX_IS_ORCHESTRATION_HEAD",
)  # fmt: skip
_BY_ITSELF = ("HOME", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER")


@dataclass(frozen=True, slots=True)
class CodexFile:
    """Codex's configuration, and how our server is started from there."""

    path: Path
    command: tuple[str, ...]

    @property
    def entry(self) -> dict[str, toml_text.Value]:
        """Our server as Codex knows it. A call is cut after five minutes without the timeout, and asks each time without the approval."""
        program, *arguments = self.command
        names = dict.fromkeys((*_OURS, *HANDED_ON, *HANDED_ON_URLS, *CREDENTIALS))
        return {
            "command": program,
            **({"args": arguments} if arguments else {}),
            "env_vars": [name for name in names if name not in _BY_ITSELF],
            "startup_timeout_sec": START_SECONDS,
            "tool_timeout_sec": WAIT_SECONDS,
            "default_tools_approval_mode": "approve",
        }

    def installing(self, notes: Notes, *, replace: bool) -> Plan:
        """The table put at the end; Conflict where one of that name is not ours, unless it is to be replaced."""
        before, document = self._read()
        there = document.get(TABLES, {}).get(SERVER_NAME)
        note = notes.of(self.path)
        if there == self.entry:
            return Plan()
        if there is not None and note is None and not replace:
            raise Conflict(
                f"{self.path} has [{TABLE}] already, which `devsh setup` did not write; nothing was changed.",
                next_step="--replace puts ours in its place, and --remove then puts that back.",
            )
        text = before or ""
        if there is None:
            block = ("" if not text else "\n" if text.endswith("\n") else "\n\n") + self._block()
            splice = Splice(len(text), len(text), block)
            note = Note(is_new=before is None, directories=missing_above(Path(os.path.realpath(self.path))), text=block)
        else:
            old = self._where(text, note)
            block = self._block()
            splice = Splice(old.start, old.end, block, None if note else "old")
            replaced = note.replaced if note else text[old.start : old.end]
            note = (note or Note()).model_copy(update={"text": block, "replaced": replaced})
        return self._plan(before, document, self.entry, splice, note)

    def removing(self, notes: Notes) -> Plan:
        """The table taken out, or what it replaced put back."""
        before, document = self._read()
        there = document.get(TABLES, {}).get(SERVER_NAME)
        note = notes.of(self.path)
        if there is None or before is None:
            return Plan(notes={str(self.path): None} if note else {})
        if note is None and there != self.entry:
            return Plan(said=[f"{self.path}: [{TABLE}] was not written by `devsh setup`, so it stays."])
        note = note or Note()
        old = self._where(before, note)
        splice = Splice(old.start, old.end, note.replaced or "", "new" if note.replaced else None)
        if note.is_new and not spliced(before, [splice]).strip():
            return Plan([TextChange(self.path, before, None, (Splice(0, len(before), ""),)), *emptied(note)], {str(self.path): None})
        entry = toml_text.loads(note.replaced)[TABLES][SERVER_NAME] if note.replaced else None
        return self._plan(before, document, entry, splice, None)

    def _block(self) -> str:
        lines = [f"{key} = {toml_text.written(value)}" for key, value in self.entry.items()]
        return "\n".join([f"[{TABLE}]", *lines]) + "\n"

    def _where(self, text: str, note: Note | None) -> Splice:
        """Exactly what we put in, else the table as somebody has rewritten it."""
        own = note.text if note else None
        if own and text.count(own) == 1:
            return Splice(text.index(own), text.index(own) + len(own), "")
        found = toml_text.find_table(text, TABLE)
        if found is None:
            raise self._refusal(f"{TABLE} is not written as a table of its own")
        return found

    def _read(self) -> tuple[str | None, dict[str, Any]]:
        before = read_text(self.path)
        try:
            document = toml_text.loads(before or "")
        except ValueError as error:
            raise self._refusal(str(error)) from error
        if not isinstance(document.get(TABLES, {}), dict):
            raise self._refusal(f"{TABLES} is no table")
        return before, document

    def _plan(self, before: str | None, document: dict[str, Any], entry: dict[str, Any] | None, splice: Splice, note: Note | None) -> Plan:
        after = spliced(before or "", [splice])
        wanted = copy.deepcopy(document)
        servers = wanted.setdefault(TABLES, {})
        if entry is None:
            servers.pop(SERVER_NAME, None)
        else:
            servers[SERVER_NAME] = entry
        try:
            is_right = {TABLES: {}, **toml_text.loads(after)} == wanted
        except ValueError:
            is_right = False
        if not is_right:
            raise self._refusal("it cannot be done without touching other lines")
        return Plan([TextChange(self.path, before, after, (splice,))], {str(self.path): note})

    def _refusal(self, why: str) -> InvalidRequest:
        return InvalidRequest(f"{self.path} cannot be changed: {why}. It is as it was.", next_step="Mend it and repeat the command.")


def codex_file(environment: Mapping[str, str], command: tuple[str, ...]) -> CodexFile:
    """`$CODEX_HOME/config.toml`, else `~/.codex/config.toml`."""
    named = environment.get("CODEX_HOME")
    home = Path(os.path.abspath(Path(named).expanduser())) if named else home_directory(environment) / ".codex"
    return CodexFile(home / "config.toml", command)
