"""From an ended task to one that goes on: with its session, its work and, where nobody has touched it since, its branch."""

from collections.abc import Mapping
from pathlib import Path

from anyio import to_thread

from devsh_memory_mcp.agents.catalogue import find_adapter
from devsh_memory_mcp.agents.plain import session_word
from devsh_memory_mcp.domain.records import Repository
from devsh_memory_mcp.domain.requests import SpawnRequest
from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.engine import work
from devsh_memory_mcp.engine.briefing import checkout_of
from devsh_memory_mcp.engine.repository import git
from devsh_memory_mcp.errors import Conflict, InvalidRequest


def has_session(task: Task) -> bool:
    """Whether it could be gone on with, once it has ended."""
    return session_word(task.totals.session_id) is not None


def resumed_task(state: State, request: SpawnRequest) -> Task | None:
    """The task that the request goes on from, None where it begins anew. NotFound, Conflict, InvalidRequest."""
    if request.resume is None:
        return None
    task = state.get_task(request.resume)
    name = task.orchestration_task_id
    if not task.is_terminal:
        next_step = f'Send it a message (send_message), or: devsh orchestrate message {name} "…" --type request'
        raise Conflict(f"{name} has not ended ({task.status.value}), so there is nothing to resume.", next_step=next_step)
    if not find_adapter(task.spec.agent_name).takes_messages:
        next_step = "Spawn a task that works on its branch: `--branch`, or `--depends-on` where it has completed."
        raise Conflict(f"{name} was a script of {task.spec.agent_name}, which keeps no session.", next_step=next_step)
    if not has_session(task):
        next_step = "Spawn a new task that says what is to be done."
        raise Conflict(f"{name} ended before its agent had a session ({task.reason or task.status.value}).", next_step=next_step)
    _check(request, task)
    return task


def _check(request: SpawnRequest, task: Task) -> None:
    given = {"--repo": request.repo, "--branch": request.branch, "--include-dirty": request.include_dirty}
    said = [flag for flag, value in given.items() if value]
    if said:
        told = f"{' and '.join(said)} cannot be given with --resume: it goes on with the code that {task.orchestration_task_id} left."
        raise InvalidRequest(told, next_step="Leave it out.")
    wanted = request.agent_name or task.spec.agent_name
    if wanted.partition("/")[0] != task.spec.agent_name.partition("/")[0]:
        told = f"{wanted} cannot go on with a session of {task.spec.agent_name}."
        raise InvalidRequest(told, next_step="Leave --agent (agentName) out, or name a model of the same provider.")


async def continued(state: State, task: Task, another: str, environment: Mapping[str, str]) -> tuple[Repository | None, tuple[str, ...]]:
    """The code that the task left, and what the caller should be warned of. `another` is the branch where its own cannot be moved on."""
    repository, checkout, told = task.spec.repository, checkout_of(state, task), _without_session(task)
    if repository is None or checkout is None:
        return None, (f"{task.orchestration_task_id} worked on no repository; its files are not taken along.", *told)
    found = await to_thread.run_sync(work.find, task)
    if found is None and task.salvage_refs:
        lost = f"What {task.orchestration_task_id} did is in no ref of {repository.git_directory} any more."
        raise Conflict(lost, next_step="Spawn a new task, without --resume.")
    why = await _obstacle(task, found, repository, environment) if task.branch else None
    goes_on = task.branch is not None and why is None
    changed = {
        "base_commit": found.tip if found else checkout.base_commit,
        "branch": task.branch if goes_on else another,
        "continues": goes_on,
        "follows": None,
        "uncommitted": 0,
    }
    moved = (f"{task.branch} {why}, so the work goes on on a branch of its own.",) if why else ()
    return repository.model_copy(update=changed), (*moved, *told)


def _without_session(task: Task) -> tuple[str, ...]:
    """Of an agent whose sessions belong to the checkout in which they began."""
    if find_adapter(task.spec.agent_name).keeps_sessions:
        return ()
    program = task.spec.agent_name.partition("/")[0]
    return (f"{program} takes no session into another checkout: a new one begins, which is told what was said in that of before.",)


async def _obstacle(task: Task, found: work.Work | None, repository: Repository, environment: Mapping[str, str]) -> str | None:
    """Why the task's branch is not to be moved on, None where nothing speaks against it."""
    if found is None or not found.is_branch:
        return "is not there any more"
    if found.tip != task.totals.tip:
        return "has been moved since"
    listed = await git(Path(repository.git_directory), environment, "worktree", "list", "--porcelain")
    for entry in listed.stdout.decode(errors="replace").split("\n\n"):
        lines = entry.splitlines()
        if f"branch refs/heads/{task.branch}" in lines:
            return f"is checked out in {lines[0].removeprefix('worktree ')}"
    return None
