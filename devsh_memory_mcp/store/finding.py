"""What a check finds."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from devsh_memory_mcp.domain.events import AttemptEnded
from devsh_memory_mcp.store.line import Entry

Ends = Mapping[tuple[str, int], AttemptEnded]  # by orchestrationTaskId and attempt


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be, `what`; `code` is stable, `repaired` says that it is mended now.

    `mending` is a sentence on what a repair does, empty where it does nothing; `advice` is one on what a person can do. A note is no
    defect: something that somebody may have wanted so, or that nobody can change.
    """

    code: str
    path: Path
    what: str
    repaired: bool = False
    is_note: bool = False
    mending: str = ""
    advice: str = ""

    @property
    def message(self) -> str:
        """What to say of it; what is to be done is not said of what is mended."""
        more = () if self.repaired else (self.advice, self.mending)
        return " ".join(filter(None, (self.what, *more)))


def ends_of(entries: Iterable[Entry]) -> Ends:
    """How each attempt ended, as the journal tells it."""
    found = (entry.event for entry in entries)
    return {(event.orchestration_task_id, event.attempt): event for event in found if isinstance(event, AttemptEnded)}
