"""Which of the tasks' branches are in their repository's checkout by now, as far as git can tell."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import anyio

from devsh_memory_mcp.domain.state import State
from devsh_memory_mcp.domain.status import Status
from devsh_memory_mcp.engine.repository import git, without_repository

PATIENCE = 5.0  # seconds
Branches = dict[str, dict[str, str]]  # of each directory that git is asked in, by orchestrationTaskId


def published(state: State) -> Branches:
    """The branches with work on them, and where they are."""
    found: Branches = defaultdict(dict)
    for task in state.tasks.values():
        repository = task.spec.repository
        if task.status is Status.COMPLETED and task.branch and repository is not None:
            found[repository.work_tree or repository.git_directory][task.orchestration_task_id] = task.branch
    return found


async def merged(branches: Branches, environment: Mapping[str, str]) -> frozenset[str]:
    """The tasks whose branch is in what is checked out, or gone; one that git cannot answer for is neither."""
    found: set[str] = set()

    async def ask(directory: str, of: dict[str, str]) -> None:
        refs = (f"refs/heads/{branch}" for branch in of.values())
        answer = await git(Path(directory), environment, "for-each-ref", "--no-merged=HEAD", "--format=%(refname:lstrip=2)", *refs)
        if answer.returncode == 0:
            open_ = set(answer.stdout.decode(errors="surrogateescape").splitlines())
            found.update(name for name, branch in of.items() if branch not in open_)

    environment = without_repository(environment)
    with anyio.move_on_after(PATIENCE):
        async with anyio.create_task_group() as questions:
            for directory, of in branches.items():
                questions.start_soon(ask, directory, of)
    return frozenset(found)
