"""Which orchestration's directory is meant: the caller's own, one by its id, or whatever a path names."""

from pathlib import Path

from devsh_memory_mcp.cli.asking import ask, find
from devsh_memory_mcp.cli.session import Session
from devsh_memory_mcp.errors import InvalidRequest
from devsh_memory_mcp.ports import Orchestrations
from devsh_memory_mcp.store.bookkeeping import JOURNAL_FILE


def find_place(session: Session, given: str | None) -> Path:
    """The directory of the orchestration of that id, or of a task of it; without one that of the current orchestration. NotFound."""

    async def work(orchestrations: Orchestrations) -> Path:
        orchestration, _ = await find(orchestrations, given)
        if orchestration.directory is None:
            raise InvalidRequest(f"The files of {orchestration.orchestration_id} are on another machine.")
        return orchestration.directory

    return ask(session, work)


def find_path(session: Session, given: str | None) -> Path | None:
    """The path that is named, None where it is no path but an id: a directory that is called as a task is none of ours."""
    if not given:
        return None
    path = session.surroundings.directory / Path(given).expanduser()
    is_no_id = any(character in given for character in "/.~")
    return path if is_no_id or (path / JOURNAL_FILE).exists() else None
