"""The tasks of an orchestration, newest first, as far as they are known: behind a journal's damage nobody knows what became of them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from devsh_memory_mcp.cli.asking import rows_of
from devsh_memory_mcp.cli.board import Line
from devsh_memory_mcp.cli.output import document, line_of
from devsh_memory_mcp.domain.answers import TaskRow
from devsh_memory_mcp.errors import JournalDamaged
from devsh_memory_mcp.ports import Orchestration
from devsh_memory_mcp.store.bookkeeping import JOURNAL_FILE
from devsh_memory_mcp.store.root import unreadable

DAMAGED = "damaged"  # in the place of a status
_OF_THEN = ("result", "cancelledDependency", "waitingFor", "activity", "needsInput", "completedAt")


@dataclass(frozen=True, slots=True)
class Known:
    """The tasks; where there is `damage`, those that can still be read of, and none of what they say of themselves counts."""

    rows: Sequence[TaskRow]
    damage: JournalDamaged | None = None

    def documents(self) -> list[dict[str, Any]]:
        """As JSON has them."""
        documents = [document(row) for row in self.rows]
        if self.damage is None:
            return documents
        instead = dict.fromkeys(_OF_THEN) | {"status": DAMAGED, "errorMessage": str(self.damage)}
        return [found | instead for found in documents]

    def lines(self) -> list[Line]:
        """As people see them."""
        lines = [line_of(row) for row in self.rows]
        return lines if self.damage is None else [replace(line, status=DAMAGED, error_message=None, started_at=None) for line in lines]


def lost(root: Path | None) -> list[str]:
    """What is to be said of orchestrations that cannot even be opened, whosever they are."""
    return [
        f"{place} cannot be shown: {_why(place)}. `devsh fsck` tells more. {JournalDamaged.next_step}"
        for place in (unreadable(root) if root else ())
    ]


def demand_readable(root: Path | None) -> None:
    """JournalDamaged where an orchestration cannot be opened: nobody can say then that there is none."""
    for place in _unreadable(root):
        raise JournalDamaged(f"Nothing else has been spawned here, and {place} cannot be shown: {_why(place)}.")


def _unreadable(root: Path | None) -> list[Path]:
    """None of them are seen where a server has the files."""
    return unreadable(root) if root is not None else []


def _why(place: Path) -> str:
    return "the beginning of its journal cannot be read" if os.path.lexists(place / JOURNAL_FILE) else f"its {JOURNAL_FILE} is missing"


async def known_of(orchestration: Orchestration, status: str | None = None) -> Known:
    """The tasks, of a sound orchestration only those in that status."""
    try:
        return Known((await rows_of(orchestration, status))[::-1])
    except JournalDamaged as damage:
        return Known(await orchestration.remains() if status is None else (), damage)
