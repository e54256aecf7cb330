"""Which code a task works on: from `repo` and `branch` as a caller writes them to a repository, a base commit and a new branch.

Everything here runs as the caller, in his repositories and with his git configuration, before any agent exists.
"""

import difflib
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import anyio
from anyio import to_thread

from devsh_memory_mcp.domain.names import DEFAULT_BRANCH_PREFIX, FALLBACK_BRANCH_PREFIX, branch_name
from devsh_memory_mcp.domain.records import Repository
from devsh_memory_mcp.errors import BaseNotFound, RepositoryUnusable, Unavailable
from devsh_memory_mcp.settings import Settings
from devsh_memory_mcp.shim.address import has_secret, is_elsewhere, without_secrets
from devsh_memory_mcp.shim.runtime import expanded

NO_REPOSITORY = "none"
_GITHUB = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9_.-]+")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://|[^/\s]+@[^/\s]+:", re.IGNORECASE)
_OF_PATHS = (".", "/", "~")
_NETWORK_SECONDS = 60
_LONGEST_NAME = 4000
_OF_ANOTHER_REPOSITORY = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_COMMON_DIR",
    "GIT_PREFIX",
    "GIT_NAMESPACE",
)


def without_repository(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without what git sets in hooks and aliases, which would send every command to that one repository."""
    return {name: value for name, value in environment.items() if name not in _OF_ANOTHER_REPOSITORY}


def is_hosted(repository: Repository) -> bool:
    """Whether it was named as owner/repo or by a URL, so that it is somewhere else too."""
    return is_elsewhere(repository.name)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the caller said. `directory` is where he is, `mirrors` where bare copies of remote repositories are kept.

    `settings_of` gives the settings of a working tree, or of a repository without one.
    """

    repo: str | None
    branch: str | None
    include_dirty: bool
    directory: Path
    environment: Mapping[str, str]
    mirrors: Path
    settings_of: Callable[[str | None], Settings]


@dataclass(frozen=True, slots=True)
class Local:
    """A repository on this machine as git describes it."""

    git_directory: str
    work_tree: str | None
    head: str | None
    current_branch: str | None
    branches: dict[str, str]
    identity: tuple[str, str]
    uncommitted: int


async def resolve(wanted: Wanted, prompt: str, task_id: str) -> tuple[Repository | None, tuple[str, ...]]:
    """The repository and what the caller should be warned of; None where the task gets an empty directory.

    Raises RepositoryUnusable, BaseNotFound.
    """
    repo = wanted.repo
    _check(repo, wanted.branch)
    if repo == NO_REPOSITORY:
        return None, ()
    if shutil.which("git", path=wanted.environment.get("PATH")) is None:
        raise Unavailable("git was not found on PATH.", next_step="Install git, or spawn with repo `none`.")
    if repo is None:
        local = await _inspect(wanted.directory, wanted.environment)
        return (None, ()) if local is None else await _on_local(local, str(wanted.directory), wanted, prompt, task_id)
    if repo.startswith(_OF_PATHS):
        path = (wanted.directory / expanded(repo, wanted.environment)).resolve()
        local = await _inspect(path, wanted.environment) if os.path.isdir(path) else None
        if local is None:
            what = "is not a git repository" if os.path.isdir(path) else "does not exist"
            shown = without_secrets(str(path))[:500]
            raise RepositoryUnusable(f"{shown} {what}.", next_step="Name a repository, or `none` for an empty directory.")
        return await _on_local(local, str(path), wanted, prompt, task_id)
    if not _URL.match(repo) and not _GITHUB.fullmatch(repo):
        raise RepositoryUnusable(
            f"{without_secrets(repo)[:200]!r} is neither owner/repo, a URL nor a path.", next_step="A path begins with '.', '/' or '~'."
        )
    return await _on_remote(repo, wanted, prompt, task_id)


def _check(repo: str | None, branch: str | None) -> None:
    """What no system call and no command line could take is no name."""
    if repo is not None and ("\0" in repo or len(repo) > _LONGEST_NAME):
        raise RepositoryUnusable(f"{without_secrets(repo)[:100]!r} cannot be the name of a repository.")
    if repo is not None and not repo.startswith(_OF_PATHS) and has_secret(repo):
        raise RepositoryUnusable(
            "The repository's URL holds a user, a password or a query; what is spawned is written down, so nothing secret may be in it.",
            next_step="Name it without them; a git credential helper, or an ssh address, lets git in.",
        )
    if branch is not None and ("\0" in branch or len(branch) > _LONGEST_NAME):
        raise BaseNotFound(f"{branch[:100]!r} cannot be the name of a branch.")


async def _inspect(directory: Path, environment: Mapping[str, str]) -> Local | None:
    """What git says of the repository that `directory` is in, None where it is in none."""
    found: dict[str, CompletedProcess[bytes]] = {}

    async def ask(name: str, *arguments: str) -> None:
        found[name] = await git(directory, environment, *arguments)

    async with anyio.create_task_group() as questions:
        questions.start_soon(ask, "where", "rev-parse", "--path-format=absolute", "--git-common-dir", "--show-toplevel")
        questions.start_soon(ask, "refs", "for-each-ref", "--format=%(refname) %(objectname) %(HEAD)", "refs/heads", "refs/remotes")
        questions.start_soon(ask, "dirty", "--no-optional-locks", "status", "--porcelain", "-z", "--untracked-files=normal")
        questions.start_soon(ask, "who", "config", "--get-regexp", r"^user\.(name|email)$")
        questions.start_soon(ask, "head", "rev-parse", "-q", "--verify", "HEAD^{commit}")
    lines = found["where"].stdout.decode(errors="surrogateescape").splitlines()
    if not lines:
        if b"dubious ownership" in found["where"].stderr:
            raise RepositoryUnusable(
                f"git refuses {directory}: it belongs to another user.", next_step="git config --global safe.directory …"
            )
        return None
    branches, current = _branches(found["refs"].stdout.decode(errors="surrogateescape"))
    return Local(
        git_directory=lines[0],
        work_tree=lines[1] if len(lines) > 1 else None,
        head=found["head"].stdout.decode().strip() or None,
        current_branch=current,
        branches=branches,
        identity=_identity(found["who"].stdout.decode(errors="replace")),
        uncommitted=found["dirty"].stdout.count(b"\0"),
    )


def _branches(text: str) -> tuple[dict[str, str], str | None]:
    branches: dict[str, str] = {}
    current = None
    for line in text.splitlines():
        ref, commit, *mark = line.split(" ")
        name = ref.removeprefix("refs/heads/").removeprefix("refs/remotes/")
        branches[name] = commit
        current = name if mark and mark[0] == "*" else current
    return branches, current


def _identity(text: str) -> tuple[str, str]:
    values = dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
    return values.get("user.name", ""), values.get("user.email", "")


async def _on_local(local: Local, name: str, wanted: Wanted, prompt: str, task_id: str) -> tuple[Repository, tuple[str, ...]]:
    if not os.access(f"{local.git_directory}/refs", os.W_OK) or not os.access(f"{local.git_directory}/objects", os.W_OK):
        next_step = "Clone it to a place of your own, and name that."
        raise RepositoryUnusable(f"{name} cannot be written, so no branch can be made in it.", next_step=next_step)
    base = wanted.branch or local.current_branch
    commit = local.head if wanted.branch is None else await _commit_of(local, wanted)
    if commit is None:
        raise RepositoryUnusable(f"{name} has no commit yet.", next_step="Commit something first; agents start from a commit.")
    warnings = []
    if local.uncommitted and wanted.include_dirty and local.work_tree and wanted.branch is None:
        commit = await _snapshot(local, commit, wanted.environment)
    elif local.uncommitted and wanted.branch is None:
        changes = "1 uncommitted change is" if local.uncommitted == 1 else f"{local.uncommitted} uncommitted changes are"
        warnings.append(f"{changes} not included in the checkout; --include-dirty (includeDirty) includes them.")
    settings = await to_thread.run_sync(wanted.settings_of, local.work_tree)
    prefix, told = _prefix(local, settings.branch_prefix)
    author, warned = _author(local.identity)
    repository = Repository(
        name=name if wanted.repo else local.work_tree or name,
        git_directory=local.git_directory,
        base_commit=commit,
        base_branch=base,
        branch=branch_name(prefix, prompt, task_id),
        author_name=author[0],
        author_email=author[1],
        work_tree=local.work_tree,
        uncommitted=0 if wanted.include_dirty else local.uncommitted,
        include=await _included(local, wanted.environment, settings.include),
    )
    return repository, (*warnings, *told, *warned)


async def _commit_of(local: Local, wanted: Wanted) -> str:
    """The commit of the branch that was asked for: local, else of `origin`, else anything git knows by that name."""
    branch = wanted.branch or ""
    for name in (branch, f"origin/{branch}"):
        if name in local.branches:
            return local.branches[name]
    if branch and not branch.startswith("-"):
        found = await git(Path(local.git_directory), wanted.environment, "rev-parse", "-q", "--verify", f"{branch}^{{commit}}")
        if found.returncode == 0:
            return found.stdout.decode().strip()
    raise _no_base(branch, [name for name in local.branches if not name.endswith("/HEAD")])


def _no_base(branch: str, names: list[str]) -> BaseNotFound:
    ours = (DEFAULT_BRANCH_PREFIX, FALLBACK_BRANCH_PREFIX)
    theirs = [name for name in names if not name.startswith(ours) or branch.startswith(ours)] or names
    near = difflib.get_close_matches(branch, theirs, n=3, cutoff=0.3) or sorted(theirs)[:3]
    hint = f"Nearest: {', '.join(near)}." if near else "The repository has no branches."
    return BaseNotFound(f"There is no branch {branch[:100]!r}.", next_step=hint)


def _prefix(local: Local, wanted: str) -> tuple[str, tuple[str, ...]]:
    """A branch that is named like a directory of the prefix leaves no room below it."""
    blocked = next((wanted[:end] for end, sign in enumerate(wanted) if sign == "/" and wanted[:end] in local.branches), None)
    if blocked is None:
        return wanted, ()
    told = f"The repository has a branch named {blocked!r}, so new branches begin with {FALLBACK_BRANCH_PREFIX!r}."
    return FALLBACK_BRANCH_PREFIX, (told,)


def _author(identity: tuple[str, str]) -> tuple[tuple[str, str], tuple[str, ...]]:
    if all(identity):
        return identity, ()
    return ("devsh agent", "devsh@localhost"), ("git knows no user.name and user.email here; commits are by `devsh agent`.",)


async def _snapshot(local: Local, parent: str, environment: Mapping[str, str]) -> str:
    """A commit of the working tree as it stands, on no branch; index and files stay as they are."""
    where = Path(local.work_tree or "")
    with tempfile.TemporaryDirectory(prefix="devsh-") as scratch:
        index = {**environment, "GIT_INDEX_FILE": f"{scratch}/index"}
        await _checked_git(where, index, "read-tree", parent)
        await _checked_git(where, index, "add", "-A")
        tree = await _checked_git(where, index, "write-tree")
    message = "Uncommitted work, as it stood when the task was spawned"
    author = ("-c", "user.name=devsh agent", "-c", "user.email=devsh@localhost", "-c", "commit.gpgsign=false")
    return await _checked_git(where, environment, *author, "commit-tree", tree, "-p", parent, "-m", message)


async def _included(local: Local, environment: Mapping[str, str], patterns: tuple[str, ...]) -> tuple[str, ...]:
    """The ignored files that `.worktreeinclude` and the settings name, relative to the working tree."""
    if local.work_tree is None:
        return ()
    named = [f"--exclude={pattern}" for pattern in patterns]
    if os.path.isfile(f"{local.work_tree}/.worktreeinclude"):
        named.append("--exclude-from=.worktreeinclude")
    if not named:
        return ()
    where = Path(local.work_tree)
    wanted = await git(where, environment, "ls-files", "--others", "--ignored", *named, "-z")
    ignored = await git(where, environment, "ls-files", "--others", "--ignored", "--exclude-standard", "-z")
    both = set(wanted.stdout.split(b"\0")) & set(ignored.stdout.split(b"\0"))
    return tuple(sorted(path.decode(errors="surrogateescape") for path in both if path))


async def _on_remote(repo: str, wanted: Wanted, prompt: str, task_id: str) -> tuple[Repository, tuple[str, ...]]:
    """A repository of another machine: its base is asked for now, its objects come when the task starts.

    Where the caller stands in a clone of the same repository that has the commit, that clone is used.
    """
    url = _as_git_takes_it(repo) if _URL.match(repo) else f"https://github.com/{repo}.git"
    heads, default = await _remote_heads(url, wanted)
    base = wanted.branch or ("main" if "main" in heads else default)
    if base is None or base not in heads:
        raise _no_base(base or "main", list(heads))
    local = await _inspect(wanted.directory, wanted.environment)
    borrowed = local if local and await _is_clone_of(local, url, heads[base], wanted) else None
    author, warned = _author(local.identity if local else await _global_identity(wanted))
    prefix = (await to_thread.run_sync(wanted.settings_of, None)).branch_prefix
    mirror = wanted.mirrors / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.git"
    repository = Repository(
        name=repo,
        git_directory=borrowed.git_directory if borrowed else str(mirror),
        url=None if borrowed else url,
        base_commit=heads[base],
        base_branch=base,
        branch=branch_name(_prefix(borrowed, prefix)[0] if borrowed else prefix, prompt, task_id),
        author_name=author[0],
        author_email=author[1],
    )
    return repository, warned


def _as_git_takes_it(url: str) -> str:
    """The URL with its scheme in small letters: git knows no other, though they mean the same."""
    scheme, found, rest = url.partition("://")
    return f"{scheme.lower()}{found}{rest}" if found else url


async def _remote_heads(url: str, wanted: Wanted) -> tuple[dict[str, str], str | None]:
    if url.startswith("-") or "::" in url.partition("://")[0]:
        raise RepositoryUnusable(f"{without_secrets(url)[:200]!r} is not a URL that git may fetch.")
    with anyio.move_on_after(_NETWORK_SECONDS) as scope:
        answer = await git(wanted.directory, wanted.environment, "ls-remote", "--symref", "--", url, "HEAD", "refs/heads/*")
    if scope.cancelled_caught:
        raise Unavailable(f"{without_secrets(url)} did not answer within {_NETWORK_SECONDS} s.")
    if answer.returncode != 0:
        said = answer.stderr.decode(errors="replace").strip().splitlines() or ["it says nothing"]
        fatal = next((line for line in said if line.startswith("fatal:")), said[0])
        raise RepositoryUnusable(f"git cannot read {without_secrets(url)}: {without_secrets(fatal)[:300]}")
    heads, default = {}, None
    for line in answer.stdout.decode(errors="surrogateescape").splitlines():
        value, _, ref = line.partition("\t")
        if value.startswith("ref: refs/heads/"):
            default = value.removeprefix("ref: refs/heads/")
        elif ref.startswith("refs/heads/"):
            heads[ref.removeprefix("refs/heads/")] = value
    return heads, default


async def _is_clone_of(local: Local, url: str, commit: str, wanted: Wanted) -> bool:
    origin = await git(Path(local.git_directory), wanted.environment, "config", "--get", "remote.origin.url")
    if _same_place(origin.stdout.decode(errors="replace").strip()) != _same_place(url):
        return False
    return (await git(Path(local.git_directory), wanted.environment, "cat-file", "-e", f"{commit}^{{commit}}")).returncode == 0


def _same_place(url: str) -> str:
    """Host and path of a URL, however it is written."""
    plain = re.sub(r"^[a-zA-Z+]+://", "", url)
    plain = re.sub(r"^[^/@]*@", "", plain).replace(":", "/", 1)
    return plain.removesuffix("/").removesuffix(".git").lower()


async def _global_identity(wanted: Wanted) -> tuple[str, str]:
    who = await git(wanted.directory, wanted.environment, "config", "--global", "--get-regexp", r"^user\.(name|email)$")
    return _identity(who.stdout.decode(errors="replace"))


async def _checked_git(where: Path, environment: Mapping[str, str], *arguments: str) -> str:
    answer = await git(where, environment, *arguments)
    if answer.returncode != 0:
        said = answer.stderr.decode(errors="replace").strip()
        raise RepositoryUnusable(f"git {arguments[0]} failed in {where}: {without_secrets(said)[:300]}")
    return answer.stdout.decode(errors="surrogateescape").strip()


async def git(where: Path, environment: Mapping[str, str], *arguments: str) -> CompletedProcess[bytes]:
    """One git command, as the caller; its exit code is the reader's business."""
    own = {**environment, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    return await anyio.run_process(["git", "-C", str(where), *arguments], check=False, env=own)
