"""Our refs in the user's repositories against what the journal says of them. Nothing here changes anything."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.shim import rundir
from devsh_memory_mcp.store.finding import Ends, Finding
from devsh_memory_mcp.store.inspection import RUNS
from devsh_memory_mcp.store.reference import BASES, Refs, Repository

STALE_BASE = "stale_base_ref"
LOST_SALVAGE = "salvage_ref_missing"
HEADS = "refs/heads"
_NAMED = 5  # branches that a note names

Look = Callable[[Repository, Sequence[str]], Refs | None]  # the refs of a repository, with these commits looked for; None: unreadable


def look(repository: Repository, commits: Sequence[str]) -> Refs | None:
    """Asks the user's own repository, never an agent's checkout."""
    return repository.refs((HEADS, "refs/devsh"), commits)


@dataclass(frozen=True, slots=True)
class Salvage:
    """Saved work that the journal names; `tip` is its commit where that is known."""

    task: Task
    attempt: int
    ref: str
    tip: str | None


def ref_findings(directory: Path, state: State, ends: Ends, look_: Look = look) -> Iterator[Finding]:
    """Saved work that is not where the journal says, bases that are pinned for nothing, branches that are gone."""
    for repository, tasks in by_repository(state):
        salvages = [salvage for task in tasks for salvage in salvages_of(task, ends)]
        refs = look_(repository, [salvage.tip for salvage in salvages if salvage.tip])
        if refs is None:
            yield _unreadable(directory, repository, tasks)
            continue
        for salvage in salvages:
            yield from _of_salvage(directory, repository, salvage, refs)
        for task in stale(tasks, refs):
            what = f"{BASES}/{task.task_run_id} in {repository.git_directory} pins the base of {task.id}, which is over."
            yield Finding(STALE_BASE, directory, what, mending="`devsh fsck --repair` or `devsh gc` removes it.")
        yield from _of_branches(directory, repository, tasks, refs)


def by_repository(state: State) -> list[tuple[Repository, list[Task]]]:
    """The tasks of each repository, with the environment of who worked there last."""
    found: dict[str, list[Task]] = defaultdict(list)
    for task in state.tasks.values():
        if task.spec.repository is not None:
            found[task.spec.repository.git_directory].append(task)
    return [(Repository(name, tasks[-1].spec.environment), tasks) for name, tasks in found.items()]


def salvages_of(task: Task, ends: Ends) -> Iterator[Salvage]:
    """What was saved of each of its attempts."""
    for attempt, ref in task.salvage_refs.items():
        end = ends.get((task.orchestration_task_id, attempt))
        yield Salvage(task, attempt, ref, end.totals.tip if end else None)


def stale(tasks: Sequence[Task], refs: Refs) -> list[Task]:
    """The tasks that are over and whose base is pinned still, as a runner leaves them that was killed at their end."""
    return [task for task in tasks if task.is_terminal and f"{BASES}/{task.task_run_id}" in refs.names]


def _unreadable(directory: Path, repository: Repository, tasks: Sequence[Task]) -> Finding:
    where = repository.git_directory
    if Path(where).is_dir():
        message = f"git cannot read {where}, so what {len(tasks)} tasks saved there was not looked for."
        return Finding("repository_unreadable", directory, message)
    message = f"{where} is not there any more, and with it what {len(tasks)} tasks saved; a repository that was moved is no loss."
    return Finding("repository_missing", directory, message, is_note=True)


def _of_salvage(directory: Path, repository: Repository, salvage: Salvage, refs: Refs) -> Iterator[Finding]:
    said = f"{salvage.ref}, the saved work of attempt {salvage.attempt} of {salvage.task.id},"
    place = directory / RUNS / salvage.task.task_run_id / str(salvage.attempt) / rundir.WORKSPACE_DIRECTORY
    rest = f"its checkout may have it still: {place}" if place.is_dir() else "its checkout is gone as well"
    commit = refs.names.get(salvage.ref)
    if commit is None and salvage.tip in refs.there:
        what = f"{said} is not in {repository.git_directory}, but its commit {str(salvage.tip)[:12]} is."
        yield Finding(LOST_SALVAGE, directory, what, mending="`devsh fsck --repair` puts the ref back.")
    elif commit is None:
        yield Finding(LOST_SALVAGE, directory, f"{said} is not in {repository.git_directory}, nor is its commit; {rest}.")
    elif commit in refs.gone:
        message = f"{said} names {commit[:12]}, which {repository.git_directory} has no longer; {rest}."
        yield Finding("salvage_object_missing", directory, f"{message} A backup or another clone may have the commit.")


def _of_branches(directory: Path, repository: Repository, tasks: Sequence[Task], refs: Refs) -> Iterator[Finding]:
    """Branches are the user's once they are there: he merges them and deletes them."""
    published = sorted({task.branch for task in tasks if task.branch and f"{HEADS}/{task.branch}" not in refs.names})
    if published:
        named = ", ".join(published[:_NAMED]) + (f" and {len(published) - _NAMED} more" if len(published) > _NAMED else "")
        message = f"Published branches that {repository.git_directory} has no longer, as after a merge: {named}."
        yield Finding("branch_gone", directory, f"{message} Their work is in refs/devsh/salvage/ as well.", is_note=True)
