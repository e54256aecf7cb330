"""What to type once tasks have ended: the lines that bring their work into the user's hands, as results end with them."""

import shlex
from collections.abc import Iterable, Mapping, Sequence

from devsh_memory_mcp.domain.answers import BranchConflict, TaskResult

_MOST_TOLD = 5
_MOST_LINES = 12
_ENDED_BADLY = ("failed", "cancelled")


def lines_after(results: Sequence[TaskResult], *, by_name: bool = False) -> list[str]:
    """`by_name` where names lead to these tasks, else by their ids.

    A line to see each task's work, then one that merges it; what opens pull requests, fetches saved work, and goes on.
    """
    called = {result.orchestration_task_id: shlex.quote(result.id) if by_name else result.orchestration_task_id for result in results}
    done = [result for result in results if result.status == "completed" and result.branch]
    saved = [result for result in results if result.status in _ENDED_BADLY and result.salvage_refs]
    return [
        *(f"devsh orchestrate diff {called[result.orchestration_task_id]}" for result in done if result.commits),
        *_merges(done, called),
        *(_pull_request(result) for result in done if result.pr_title and not result.pr_url),
        *(shlex.join(("git", "checkout", result.salvage_refs[-1])) for result in saved),
        *_first("devsh orchestrate open {}", called, (result for result in (*saved, *done) if result.workspace)),
        *_first('devsh orchestrate spawn --resume {} "…"', called, (result for result in (*saved, *done) if result.session_id)),
    ]


def _merges(done: Sequence[TaskResult], called: Mapping[str, str]) -> list[str]:
    repositories = dict.fromkeys(result.repo for result in done)
    ids = [" ".join(called[result.orchestration_task_id] for result in done if result.repo == repository) for repository in repositories]
    return [f"devsh orchestrate merge {each}" for each in ids]


def _pull_request(result: TaskResult) -> str:
    """From the user's own repository as he would; from a mirror with all that it cannot know."""
    branch, title = result.branch or "", result.pr_title or ""
    push, create = ["git", "push", "origin", branch], ["gh", "pr", "create", "--head", branch, "--title", title]
    if result.url:
        push[1:3] = [f"--git-dir={result.git_directory}", "push", result.url]
        create += ["--repo", result.repo or ""]
    return f"{shlex.join(push)} && {shlex.join(create)}"


def _first(line: str, called: Mapping[str, str], candidates: Iterable[TaskResult]) -> list[str]:
    """The line for one of them: it is the same for each, and those that need it most come first."""
    return [line.format(called[result.orchestration_task_id]) for result in list(candidates)[:1]]


def conflict_text(conflict: BranchConflict) -> str:
    """The two branches and where they meet."""
    both, left = " and ".join(conflict.branches), len(conflict.files) - _MOST_TOLD
    if not conflict.files:
        return both
    more = f" and {left} more" if left > 0 else ""
    return f"{both} in {', '.join(conflict.files[:_MOST_TOLD])}{more}"


def advice(results: Sequence[TaskResult], conflicts: Sequence[BranchConflict]) -> str | None:
    """The same for whoever reads no list: the first lines, and a word on branches that conflict."""
    lines = lines_after(results)
    if not lines:
        return None
    said = f"To type next: {'; '.join(f'`{line}`' for line in lines[:_MOST_LINES])}."
    if not conflicts:
        return said
    more = f" ({len(conflicts)} such pairs in all)" if len(conflicts) > 1 else ""
    return f"{conflict_text(conflicts[0])} conflict{more}: the second merge of such a pair needs a hand. {said}"
