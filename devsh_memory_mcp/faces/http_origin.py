"""What a request means where it is sent from: the caller's repository by its address, since no path of his machine is on the server's.

What he has not pushed is not there either, and he is told so.
"""

from dataclasses import dataclass

import anyio

from devsh_memory_mcp.agents.figures import counted
from devsh_memory_mcp.config import Caller
from devsh_memory_mcp.domain.requests import BatchRequest, BatchTask, SpawnRequest
from devsh_memory_mcp.errors import NotAvailable, RepositoryUnusable
from devsh_memory_mcp.shim.address import has_secret, is_elsewhere, without_login

NO_REPOSITORY = "none"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the caller stands: his repository's address, the branch that is there as here, and what is not there."""

    url: str | None = None
    branch: str | None = None
    warnings: tuple[str, ...] = ()


class Origin:
    """Of one caller. His repository is looked at once, when a request first needs it."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._standing: Standing | None = None

    async def of_spawn(self, request: SpawnRequest) -> tuple[SpawnRequest, tuple[str, ...]]:
        """The request as it is to be sent, and what its sender should know. RepositoryUnusable, NotAvailable."""
        _check(request.repo, includes_dirty=request.include_dirty)
        if request.repo is not None or request.depends_on or request.resume or self._is_led():
            return request, ()
        here = await self._look()
        return request.model_copy(update=_named(here, request.branch)), here.warnings

    async def of_batch(self, request: BatchRequest) -> tuple[BatchRequest, tuple[str, ...]]:
        """The same of several; a task that depends on another goes on from its branch."""
        for repo, dirty in ((request.defaults.repo, False), *((task.repo, task.include_dirty) for task in request.tasks)):
            _check(repo, includes_dirty=dirty)
        if request.defaults.repo is not None or self._is_led() or not any(map(_is_open, request.tasks)):
            return request, ()
        here = await self._look()
        tasks = [
            task.model_copy(update=_named(here, task.branch or request.defaults.branch)) if _is_open(task) else task
            for task in request.tasks
        ]
        return request.model_copy(update={"tasks": tuple(tasks)}), here.warnings

    def _is_led(self) -> bool:
        """Whether a head in a sandbox asks: the server knows what it works on."""
        return self._caller.environment.get("CMUX_IS_ORCHESTRATION_HEAD") == "1"

    async def _look(self) -> Standing:
        if self._standing is None:
            self._standing = await _look(self._caller)
        return self._standing


def _is_open(task: BatchTask) -> bool:
    return task.repo is None and not task.depends_on


def _check(repo: str | None, *, includes_dirty: bool) -> None:
    if repo is not None and repo != NO_REPOSITORY and not is_elsewhere(repo):
        raise RepositoryUnusable(
            f"{repo[:200]!r} is a path of this machine, and the work is on a server.",
            next_step="Leave `repo` out for the repository that you stand in, or name it as owner/repo or by its URL.",
        )
    if includes_dirty:
        raise NotAvailable("Uncommitted changes stay on this machine, and the work is on a server.", next_step="Commit and push them.")


def _named(here: Standing, branch: str | None) -> dict[str, object]:
    if here.url is None:
        return {}
    return {"repo": here.url, **({"branch": here.branch} if branch is None and here.branch is not None else {})}


async def _look(caller: Caller) -> Standing:
    """What git says; nothing where he stands in no repository."""
    head = await _git(caller, "rev-parse", "-q", "--verify", "HEAD")
    address = await _git(caller, "remote", "get-url", "origin")
    if head is None and address is None:
        return Standing()
    url = without_login(address) if address else None
    if url is None or not is_elsewhere(url) or has_secret(url):
        why = "has no remote `origin`" if address is None else "has an `origin` that a server does not reach"
        return Standing(warnings=(f"Your repository {why}: the agent gets an empty directory. `--repo` names another.",))
    branch = await _git(caller, "symbolic-ref", "-q", "--short", "HEAD")
    there = branch and await _git(caller, "rev-parse", "-q", "--verify", f"refs/remotes/origin/{branch}")
    return Standing(url, branch if there else None, tuple(await _missing(caller, head, branch if there else None)))


async def _missing(caller: Caller, head: str | None, branch: str | None) -> list[str]:
    """What is here and not there, as far as is known here."""
    said = []
    pushed = head and await _git(caller, "for-each-ref", "--contains", head, "--format=%(refname)", "refs/remotes/origin")
    if head and not pushed:
        where = f"the branch {branch} of `origin`" if branch else "the main branch of `origin`"
        said.append(f"Your HEAD ({head[:10]}) is not pushed: the agent begins at {where}.")
    elif head and branch is None:
        said.append("What you have checked out is no branch of `origin`: the agent begins at its main branch.")
    changed = await _git(caller, "--no-optional-locks", "status", "--porcelain", "--untracked-files=normal")
    if changed:
        said.append(f"Uncommitted changes ({counted(len(changed.splitlines()), 'file')}) are not included.")
    return said


async def _git(caller: Caller, *arguments: str) -> str | None:
    """What it prints; None where it fails, or is not there."""
    theirs = {name: value for name, value in caller.environment.items() if name not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")}
    own = {**theirs, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = await anyio.run_process(["git", "-C", str(caller.directory), *arguments], check=False, env=own)
    except OSError:
        return None
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None
