"""What a check finds."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from devsh_memory_mcp.domain.events import AttemptEnded
from devsh_memory_mcp.store.line import Entry

Ends = Mapping[tuple[str, int], AttemptEnded]  # by orchestrationTaskId and attempt


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be; `code` is stable, `repaired` says that it is now.

    A note is no defect: something that somebody may have wanted so.
    """

    code: str
    path: Path
    message: str
    repaired: bool = False
    is_note: bool = False


def ends_of(entries: Iterable[Entry]) -> Ends:
    """How each attempt ended, as the journal tells it."""
    found = (entry.event for entry in entries)
    return {(event.orchestration_task_id, event.attempt): event for event in found if isinstance(event, AttemptEnded)}
