"""Where one orchestration is, and what a call on it needs."""

from dataclasses import dataclass
from pathlib import Path

from devsh_memory_mcp.engine.link import RunnerLink
from devsh_memory_mcp.ports import Clock
from devsh_memory_mcp.store.journal import FileJournal


@dataclass(frozen=True, slots=True)
class Site:
    """An orchestration's files, its journal, the way to its runner."""

    orchestration_id: str
    directory: Path
    journal: FileJournal
    link: RunnerLink
    clock: Clock
