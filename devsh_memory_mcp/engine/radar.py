"""Which published branches of a repository conflict with each other, as `git merge-tree` says.

Asked of the user's repository as he would; what git makes up while it tries goes into a directory of its own, so that nothing there
changes: no work tree, no ref, no object.
"""

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import anyio

from devsh_memory_mcp.domain.answers import BranchConflict
from devsh_memory_mcp.domain.state import State
from devsh_memory_mcp.engine.repository import git, without_repository

MOST_PAIRS = 120
_SECONDS = 10.0
_AT_ONCE = 4
_CLEAN, _CONFLICT, _UNKNOWN_OPTION = 0, 1, 129  # git's exit codes; the last where it has no `--write-tree` yet


@dataclass(frozen=True, slots=True)
class Published:
    """A branch that a task has published."""

    task_id: str
    name: str
    git_directory: str
    files: frozenset[str]


@dataclass(slots=True)
class Seen:
    """What was found; `warnings` say what could not be told."""

    conflicts: tuple[BranchConflict, ...] = ()
    warnings: tuple[str, ...] = ()


def published(state: State) -> tuple[Published, ...]:
    """The branches of the tasks that have completed."""
    return tuple(
        Published(task.orchestration_task_id, task.branch, task.spec.repository.git_directory, frozenset(task.totals.changed_files))
        for task in state.tasks.values()
        if task.branch and task.spec.repository
    )


def pairs_of(branches: Iterable[Published]) -> list[tuple[Published, Published]]:
    """What is to be compared, those first that are the most likely to meet: they changed the same files."""
    pairs = [pair for pair in combinations(branches, 2) if pair[0].git_directory == pair[1].git_directory and pair[0].name != pair[1].name]
    return sorted(pairs, key=lambda pair: not pair[0].files & pair[1].files)


def parse(said: bytes) -> tuple[str, ...]:
    """The files that `merge-tree --name-only -z --no-messages` tells of: a tree, then their names."""
    return tuple(dict.fromkeys(name.decode(errors="replace") for name in said.split(b"\0")[1:] if name))


async def look(branches: tuple[Published, ...], environment: Mapping[str, str]) -> Seen:
    """Compares the branches as they stand now, so many and for so long as is borne; those that are gone are left out."""
    pairs = pairs_of(branches)
    if not pairs:
        return Seen()
    radar = _Radar(without_repository(environment))
    done = False
    with anyio.move_on_after(_SECONDS), tempfile.TemporaryDirectory(prefix="devsh-") as scratch:
        await radar.compare(pairs[:MOST_PAIRS], scratch)
        done = True
    left = max(0, len(pairs) - MOST_PAIRS)
    if left or not done:
        radar.warnings.append(f"Not all of {len(pairs)} pairs of branches were compared, so more of them may conflict.")
    found = sorted(radar.conflicts, key=lambda conflict: conflict.branches)
    return Seen(tuple(found), tuple(dict.fromkeys(radar.warnings)))


@dataclass(slots=True)
class _Radar:
    environment: Mapping[str, str]
    conflicts: list[BranchConflict] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    _turns: anyio.Semaphore = field(default_factory=lambda: anyio.Semaphore(_AT_ONCE))

    async def compare(self, pairs: list[tuple[Published, Published]], scratch: str) -> None:
        tips: dict[tuple[str, str], str] = {}
        for directory in dict.fromkeys(one.git_directory for one, _ in pairs):
            names = {branch.name for pair in pairs for branch in pair if branch.git_directory == directory}
            tips |= await self._tips(directory, names)
        async with anyio.create_task_group() as tasks:
            for one, other in pairs:
                first, second = tips.get((one.git_directory, one.name)), tips.get((other.git_directory, other.name))
                if first and second and first != second:
                    tasks.start_soon(self._try, one, other, (first, second), scratch)

    async def _tips(self, directory: str, names: set[str]) -> dict[tuple[str, str], str]:
        refs = sorted(f"refs/heads/{name}" for name in names)
        answer = await self._git(directory, "for-each-ref", "--format=%(objectname) %(refname)", *refs)
        if answer is None:
            self.warnings.append(f"Whether branches conflict cannot be told: {directory} cannot be read.")
            return {}
        lines = (line.partition(" ") for line in answer[1].decode(errors="surrogateescape").splitlines())
        return {(directory, ref.removeprefix("refs/heads/")): commit for commit, _, ref in lines}

    async def _try(self, one: Published, other: Published, tips: tuple[str, str], scratch: str) -> None:
        store = {"GIT_OBJECT_DIRECTORY": scratch, "GIT_ALTERNATE_OBJECT_DIRECTORIES": _quoted(f"{one.git_directory}/objects")}
        async with self._turns:
            question = ("merge-tree", "--write-tree", "--name-only", "-z", "--no-messages", *tips)
            answer = await self._git(one.git_directory, *question, **store)
        code, said = answer or (-1, b"")
        if code == _CONFLICT:
            ids = (one.task_id, other.task_id)
            self.conflicts.append(BranchConflict(branches=(one.name, other.name), orchestration_task_ids=ids, files=parse(said)))
        elif code == _UNKNOWN_OPTION:
            self.warnings.append("Whether branches conflict cannot be told: git 2.38 or later is needed for it.")
        elif code != _CLEAN:
            self.warnings.append(f"{one.name} and {other.name} could not be compared.")

    async def _git(self, directory: str, *arguments: str, **more: str) -> tuple[int, bytes] | None:
        """Exit code and output, None where git could not even be asked; refs that are not there are no failure."""
        try:
            answer = await git(Path(directory), {**self.environment, **more}, *arguments)
        except OSError:
            return None
        return None if answer.returncode == 128 else (answer.returncode, answer.stdout)


def _quoted(path: str) -> str:
    """As git reads a list of directories, in which a colon would end one."""
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
