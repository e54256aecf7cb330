"""Where an ended task's work is: its published branch, else a salvage ref, as the user's repository has them now."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from devsh_memory_mcp.agents.catalogue import find_adapter
from devsh_memory_mcp.agents.plain import session_word
from devsh_memory_mcp.domain.answers import WorkAnswer
from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.engine.briefing import checkout_of
from devsh_memory_mcp.engine.evidence import repository_of
from devsh_memory_mcp.engine.reading import Places
from devsh_memory_mcp.errors import DevshError


@dataclass(frozen=True, slots=True)
class Work:
    """A ref with the task's work and the commit that it is at now; `is_branch` where it is the branch that was published.

    `head` is what its agent began on, None where the repository no longer has that.
    """

    ref: str
    tip: str
    is_branch: bool
    head: str | None = None

    def fields(self) -> dict[str, str]:
        """As the answer has them: compared with what the agent began on, where that is known."""
        return {"ref": self.ref, "tip": self.tip} | ({"base_commit": self.head} if self.head else {})


def find(task: Task) -> Work | None:
    """The published branch where it is still there, else the newest salvage ref; it asks git, and blocks."""
    repository = repository_of(task)
    if repository is None or not task.is_terminal:
        return None
    branch = f"refs/heads/{task.branch}" if task.branch else None
    for ref in (branch, *reversed(task.salvage_refs.values())):
        if ref is not None and (tip := repository.find_commit(ref)) is not None:
            began = task.totals.head
            return Work(ref, tip, ref == branch, began and repository.find_commit(began))
    return None


def describe(state: State, task: Task, directory: Path) -> WorkAnswer:
    """What the journal knows of it; the ref is still to be looked for."""
    repository, checkout = task.spec.repository, checkout_of(state, task)
    places = Places(directory).of(task)
    session_id = task.totals.session_id or places.get("session_id")
    return WorkAnswer(
        orchestration_task_id=task.orchestration_task_id,
        id=task.id,
        agent_name=task.spec.agent_name,
        status=task.status.value,
        repo=repository.name if repository else None,
        git_directory=repository.git_directory if repository else None,
        url=repository.url if repository else None,
        base_branch=checkout.base_branch if checkout else None,
        base_commit=checkout.base_commit if checkout else None,
        branch=task.branch,
        run_directory=places.get("run_directory"),
        workspace=places.get("workspace"),
        session=_session(task.spec.agent_name, session_id),
    )


def _session(agent_name: str, session_id: object) -> tuple[str, ...] | None:
    word = session_word(session_id)
    if word is None:
        return None
    with contextlib.suppress(DevshError):  # an agent of another release is none of ours, and no reason to hide where its work is
        return find_adapter(agent_name).reopen(word)
    return None
