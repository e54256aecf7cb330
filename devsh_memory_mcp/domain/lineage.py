"""What a task comes from: its dependencies, the branch that it starts from, and the dependency that ended it. Pure."""

from typing import NamedTuple

from devsh_memory_mcp.domain.records import Repository
from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.domain.status import Status


class Base(NamedTuple):
    """Where a checkout begins; no commit as long as that is still to be made."""

    branch: str | None = None
    commit: str | None = None


def dependencies(state: State, task: Task) -> list[Task]:
    """Those that are known."""
    return [state.tasks[name] for name in task.spec.depends_on if name in state.tasks]


def has_branch_in(task: Task, repository: Repository) -> bool:
    """Whether the task left a branch in that repository."""
    theirs = task.spec.repository
    return bool(task.branch and task.totals.tip and theirs and theirs.git_directory == repository.git_directory)


def sources(state: State, task: Task, repository: Repository) -> list[Task]:
    """The tasks whose branches in that repository the task comes from, in the order in which they are named.

    A dependency that left no branch, having changed nothing, stands for what it came from itself.
    """
    return _sources(state, dependencies(state, task), repository)


def _sources(state: State, tasks: list[Task], repository: Repository) -> list[Task]:
    found: list[Task] = []
    seen: set[str] = set()
    ahead = [*reversed(tasks)]
    while ahead:
        one = ahead.pop()
        if one.orchestration_task_id in seen:
            continue
        seen.add(one.orchestration_task_id)
        if has_branch_in(one, repository):
            found.append(one)
        elif one.status is Status.COMPLETED and not one.branch:
            ahead += reversed(dependencies(state, one))
    return found


def followed(state: State, task: Task) -> Task | None:
    """The task whose branch this one goes on from: the dependency that it follows, or what that one came from."""
    repository = task.spec.repository
    leader = state.tasks.get(repository.follows or "") if repository else None
    if repository is None or leader is None or leader.orchestration_task_id not in task.spec.depends_on:
        return None
    return next(iter(_sources(state, [leader], repository)), None)


def base_of(state: State, task: Task) -> Base:
    """What its checkout begins with: the followed dependency's branch, as it is planned or was published, else what was resolved."""
    repository = task.spec.repository
    if repository is None:
        return Base()
    leader = state.tasks.get(repository.follows or "")
    if leader is not None and leader.orchestration_task_id in task.spec.depends_on and not leader.is_terminal and leader.spec.repository:
        return Base(leader.spec.repository.branch)
    found = followed(state, task)
    return Base(found.branch, found.totals.tip) if found else Base(repository.base_branch, repository.base_commit)


def cancelled_dependency(state: State, task: Task) -> str | None:
    """The dependency that ended the task by having been cancelled: its error calls that one failed, as is promised."""
    if task.reason != "dependency":
        return None
    return next((one.id for one in dependencies(state, task) if is_cause(task, one) and one.status is Status.CANCELLED), None)


def is_cause(task: Task, dependency: Task) -> bool:
    """Whether it is the dependency that the task's error names."""
    return task.error_message == f"Dependency {dependency.id} failed"
