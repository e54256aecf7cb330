"""The agent's own commits: where its HEAD stands, and how they leave a `.git` that must not be trusted.

HEAD is read as text. The commits leave as a bundle made behind a guard, as the agent itself ran; only that file is read outside.
"""

import contextlib
import os
import stat
import time
import typing

from devsh_memory_mcp.errors import NoSandbox
from devsh_memory_mcp.shim import rundir
from devsh_memory_mcp.shim.cell import Cell
from devsh_memory_mcp.shim.git import Git
from devsh_memory_mcp.shim.loop import Loop
from devsh_memory_mcp.shim.output import Stream
from devsh_memory_mcp.shim.process import CommandFailed
from devsh_memory_mcp.shim.wall import Task, Wall

_HEAD_SECONDS = 10.0
_BUNDLE_SECONDS = 120.0
_AGENT_REF = "refs/devsh/agent"
_SCRIPT = 'umask 077; git rev-parse --verify "HEAD^{commit}"; bundle=$1; shift; exec git bundle create -q "$bundle" HEAD "$@"'


class Made(typing.NamedTuple):
    """What making a bundle came to: what was said, the end of it, and the bundle, where there is one."""

    said: str
    path: str | None


class Bundler:
    """Makes bundles in the workspace, behind a guard of its own and, where the agent was in one, in its sandbox without network."""

    def __init__(
        self, loop: Loop, directory: str, environment: dict[str, str], lock: int, cell: Cell | None, *, is_barred: bool = False
    ) -> None:
        self._loop = loop
        self._path = f"{directory}/{rundir.BUNDLE_FILE}"
        self._log = f"{directory}/{rundir.BUNDLE_LOG_FILE}"
        self._environment = environment
        self._lock = lock
        self._cell = cell
        self._is_barred = is_barred  # the agent was in a sandbox that cannot be had any more, and nothing of his runs outside

    def make(self, script: str, workspace: str, *arguments: str) -> Made:
        """Runs `script` with the path of the bundle to make and `arguments`. It has to say a word at once. CommandFailed, OSError."""
        for path in (self._path, self._log):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        if self._is_barred:
            return Made("", None)
        said, complaint = Stream(self._log, 8192), Stream(self._log, 8192)
        path = self._path if self._cell is None else f"{self._cell.new_out()}/{rundir.BUNDLE_FILE}"
        task = Task(("sh", "-c", script, "sh", path, *arguments), self._environment, workspace, said, complaint)
        wall = Wall(self._loop, self._enclosed(task), self._lock)
        if wall.go():
            began = time.monotonic()
            # HEAD is told at once, or it is a pipe or worse; the bundle of a long history takes its time.
            if self._loop.wait(lambda: wall.has_ended or said.total > 0, began + _HEAD_SECONDS):
                self._loop.wait(lambda: wall.has_ended, began + _BUNDLE_SECONDS)
        wall.end(0.0)
        made = wall.status == 0 and is_file(path)
        if made and path != self._path:
            os.rename(path, self._path)
        return Made(said.tail, self._path if made else None)

    def _enclosed(self, task: Task) -> Task:
        try:
            return task if self._cell is None else self._cell.enclose(task, network=False)
        except NoSandbox as error:
            raise CommandFailed(str(error)) from error


def take_over(tool: Git, bundler: Bundler, start: str) -> tuple[str, str] | None:
    """The agent's commits into the shim's own git directory: their tip and its tree, None where HEAD is where it started.

    CommandFailed where they cannot be had; the files can be saved all the same.
    """
    if find_head(tool.workspace) == start:
        return None
    demand_repository(f"{tool.workspace}/.git")
    head, bundle = _bundle_head(tool, bundler, "--not", start, tool.checkout.base_commit)
    if head is None:
        raise CommandFailed("the checkout's HEAD cannot be read")
    if head == start:
        return None
    if bundle is None:
        known = _find_commit(tool, head)
        if known is not None:  # it went back, or over to a branch that was there before
            return known
        _, bundle = _bundle_head(tool, bundler)  # perhaps a repository made anew, which knows nothing of our base
    if bundle is None:
        raise CommandFailed("no bundle of the agent's commits can be made")
    tool.own("fetch", "-q", "--no-write-fetch-head", "--no-tags", "--no-auto-maintenance", bundle, f"+HEAD:{_AGENT_REF}")
    tip, tree = tool.own("rev-parse", _AGENT_REF, f"{_AGENT_REF}^{{tree}}").text.split()
    return tip, tree


def demand_repository(inner: str) -> None:
    """CommandFailed where a git would wait for ever to read what should be a file."""
    packed = f"{inner}/packed-refs"
    if not is_file(f"{inner}/HEAD") or (os.path.lexists(packed) and not is_file(packed)):
        raise CommandFailed("the checkout's .git is not a repository any more")


def _bundle_head(tool: Git, bundler: Bundler, *arguments: str) -> tuple[str | None, str | None]:
    """The commit at HEAD and the path of a bundle that leads to it; None for what could not be had."""
    made = bundler.make(_SCRIPT, tool.workspace, *arguments)
    words = made.said.split()
    return (words[0] if words and is_hash(words[0]) else None), made.path


def _find_commit(tool: Git, head: str) -> tuple[str, str] | None:
    try:
        tip, tree = tool.own("rev-parse", "--verify", f"{head}^{{commit}}", f"{head}^{{tree}}").text.split()
    except (CommandFailed, ValueError):
        return None
    return tip, tree


def find_head(workspace: str) -> str | None:
    """The commit at HEAD where it can be read as plain text without following anything, None otherwise."""
    inner = f"{workspace}/.git"
    if not is_directory(inner):
        return None
    content = read_text(f"{inner}/HEAD")
    if content is not None and content.startswith("ref: refs/heads/"):
        name = content[5:]
        if ".." in name:
            return None
        content = read_text(f"{inner}/{name}") or _packed(read_text(f"{inner}/packed-refs", 1 << 20) or "", name)
    return content if content is not None and is_hash(content) else None


def _packed(content: str, name: str) -> str | None:
    return next((line.partition(" ")[0] for line in content.splitlines() if line.partition(" ")[2] == name), None)


def read_text(path: str, most: int = 4096) -> str | None:
    """A small regular file, without the white space around it; never a pipe, a device or what a link points at."""
    with contextlib.suppress(OSError, ValueError), rundir.open_regular(path) as file:
        if os.fstat(file.fileno()).st_size < most:
            content = file.read(most)
            return content.decode(errors="surrogateescape").strip() if len(content) < most else None
    return None


def is_hash(word: str) -> bool:
    """Whether it is written as git writes the name of an object."""
    return len(word) in (40, 64) and all(letter in "0123456789abcdef" for letter in word)


def is_directory(path: str) -> bool:
    """A directory itself, not a link to one."""
    return _has_kind(path, stat.S_ISDIR)


def is_file(path: str) -> bool:
    """A regular file itself, not a link to one."""
    return _has_kind(path, stat.S_ISREG)


def _has_kind(path: str, is_kind: typing.Callable[[int], bool]) -> bool:
    try:
        return is_kind(os.lstat(path).st_mode)
    except OSError:
        return False
