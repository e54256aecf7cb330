"""What may not be asked from elsewhere: a path of this machine, and by a server's guest anything but work behind walls.

Whose guest it is, the memory root says and not the caller: so whoever calls in it, a head in a sandbox too, is held to the same.
"""

import re
from pathlib import Path

from devsh_memory_mcp.config import OPERATOR, Caller
from devsh_memory_mcp.domain.requests import SpawnRequest
from devsh_memory_mcp.engine.repository import NO_REPOSITORY
from devsh_memory_mcp.errors import NotAllowed, RepositoryUnusable
from devsh_memory_mcp.shim.address import is_elsewhere
from devsh_memory_mcp.store.guests import owner_of

_ENCRYPTED = re.compile(r"https://", re.IGNORECASE)
_OTHERWISE = re.compile(r"[a-z][a-z0-9+.-]*://|[^/\s]+@[^/\s]+:", re.IGNORECASE)


def restrained(request: SpawnRequest, caller: Caller, root: Path) -> SpawnRequest:
    """The request as it may be made in this memory root by this caller. RepositoryUnusable, NotAllowed."""
    if caller.remote is not None and _is_path(request.repo):
        raise RepositoryUnusable(
            "A path names a repository of the server's machine, and you are on another.",
            next_step="Name it as owner/repo or by its URL, with what you have pushed to it.",
        )
    return request if owner_of(root) == OPERATOR else _of_guest(request)


def _of_guest(request: SpawnRequest) -> SpawnRequest:
    if request.sandbox == "none":
        raise NotAllowed("A guest's agents run in a sandbox, and nowhere else.", next_step="Leave `sandbox` out.")
    if request.mounts:
        raise NotAllowed("A guest's agents see nothing of the server's machine.", next_step="Leave `mounts` out.")
    if request.repo is not None and _OTHERWISE.match(request.repo) and not _ENCRYPTED.match(request.repo):
        raise NotAllowed("A guest's repositories are fetched by https alone.", next_step="Name it as owner/repo, or by its https URL.")
    if _is_path(request.repo):
        raise NotAllowed("A guest has no repositories on the server's machine.", next_step="Name it as owner/repo, or by its https URL.")
    return request if request.sandbox == "required" else request.model_copy(update={"sandbox": "required"})


def _is_path(repo: str | None) -> bool:
    return repo is not None and repo != NO_REPOSITORY and not is_elsewhere(repo)


def repository_of(request: SpawnRequest, caller: Caller) -> str | None:
    """The repository that is meant where the request names none: of a caller elsewhere nothing is known here."""
    return NO_REPOSITORY if request.repo is None and caller.remote is not None else request.repo
