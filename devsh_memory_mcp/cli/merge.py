"""`devsh orchestrate merge`: the branches of ended tasks into the checkout that the user stands in, one after the other."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from devsh_memory_mcp.cli import failure
from devsh_memory_mcp.cli.asking import ask, demanded
from devsh_memory_mcp.cli.checkout import Checkout, find_checkout, hand_over
from devsh_memory_mcp.cli.group import command
from devsh_memory_mcp.cli.output import quoted, write_json
from devsh_memory_mcp.cli.session import Surroundings, session_of
from devsh_memory_mcp.domain.answers import WorkAnswer
from devsh_memory_mcp.engine.repository import without_repository
from devsh_memory_mcp.errors import Conflict, RepositoryUnusable
from devsh_memory_mcp.ports import Orchestrations


@dataclass(slots=True)
class Merged:
    """What came of it: the branches that are in, the one at which git stopped and the files that wait there, and what is left."""

    done: list[WorkAnswer] = field(default_factory=list)
    stopped: WorkAnswer | None = None
    files: list[str] = field(default_factory=list)
    left: list[WorkAnswer] = field(default_factory=list)


@command(
    "merge",
    "devsh orchestrate merge ns7abc12345",
    "devsh orchestrate merge ns7abc12345 ns7def67890 ns7ghi13579",
    short_help="Merge the branches of tasks into your checkout.",
)
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.pass_context
def merge(context: click.Context, ids: tuple[str, ...], *, as_json: bool) -> int:
    """Merge the branches of completed tasks into what you have checked out, with plain `git merge`, in the order given.

    Refuses a checkout with uncommitted changes. Where branches conflict git stops as always, and it is said how to go on or back.
    """
    for each in ids:
        demanded(each)
    surroundings = session_of(context).surroundings

    async def find(orchestrations: Orchestrations) -> list[WorkAnswer]:
        return [await (await orchestrations.holding(each)).work(each) for each in ids]

    works = list({work.orchestration_task_id: work for work in ask(session_of(context), find)}.values())
    for work in works:
        _demand_branch(work)
    checkout = _checkout(works, surroundings)
    merged = _merge(works, checkout, quiet=as_json)
    if as_json:
        write_json(_document(merged, checkout))
    else:
        _show(merged, checkout)
    return failure.CONFLICT if merged.stopped else failure.OK


def _demand_branch(work: WorkAnswer) -> None:
    """Conflict where there is nothing that could be merged."""
    name = work.orchestration_task_id
    if work.status in ("pending", "running"):
        raise Conflict(f"{name} has not ended ({work.status}).", next_step=f"devsh orchestrate wait {name}")
    ended = {"completed": "has completed", "cancelled": "was cancelled"}.get(work.status, "has failed")
    if work.tip is None:
        raise Conflict(f"{name} {ended} and has changed nothing, so there is nothing to merge.", next_step="Leave it out.")
    if work.status != "completed":
        next_step = f"What it had done was saved: `devsh orchestrate diff {name}` shows it, `git merge {work.ref}` merges it all the same."
        raise Conflict(f"{name} {ended}, so it has no branch to merge.", next_step=next_step)
    if work.branch is None or work.ref != f"refs/heads/{work.branch}":
        raise Conflict(f"The branch {work.branch} of {name} is not there any more.", next_step=f"The work is: git merge {work.ref}")


def _checkout(works: Sequence[WorkAnswer], surroundings: Surroundings) -> Checkout:
    """The checkout that the user stands in, where all of it can be merged. RepositoryUnusable, Conflict."""
    checkout = find_checkout(surroundings.directory, surroundings.environment)
    if checkout is None:
        raise RepositoryUnusable(f"{surroundings.directory} is in no checkout.", next_step="Go into the repository, and repeat it there.")
    for work in works:
        if Path(work.git_directory or "").resolve() != checkout.git_directory:
            raise RepositoryUnusable(
                f"The branch of {work.orchestration_task_id} is in {work.git_directory}, and {checkout.top} is another repository.",
                next_step=_way_to(work),
            )
    if checkout.is_merging:
        next_step = "Conclude it with `git merge --continue`, or undo it with `git merge --abort`."
        raise Conflict(f"A merge was begun in {checkout.top}, and is not concluded.", next_step=next_step)
    if checkout.changes:
        raise Conflict(f"{checkout.top} has uncommitted changes.", next_step="Commit them, or put them aside with `git stash`.")
    if checkout.branch is None:
        raise Conflict(f"{checkout.top} has no branch checked out, so the merge would be on none.", next_step="git switch BRANCH")
    return checkout


def _way_to(work: WorkAnswer) -> str:
    if work.url is None:
        return "Go into a checkout of that repository, and repeat it there."
    fetch = quoted("git", "fetch", work.git_directory or "", f"{work.branch}:{work.branch}")
    return f"In a clone of {work.repo}: {fetch} && {quoted('git', 'merge', work.branch or '')}"


def _merge(works: Sequence[WorkAnswer], checkout: Checkout, *, quiet: bool) -> Merged:
    merged = Merged(left=list(works))
    while merged.left:
        work = merged.left.pop(0)
        line = ["git", "merge", "--no-edit", work.branch or ""]
        if not quiet:
            click.echo(click.style(f"{work.orchestration_task_id}  {quoted(*line)}", bold=True))
        if hand_over(line, checkout.top, without_repository(checkout.environment), to_stderr=quiet):
            merged.stopped, merged.files = work, checkout.conflicts()
            break
        merged.done.append(work)
    return merged


def _show(merged: Merged, checkout: Checkout) -> None:
    if merged.stopped is None:
        names = ", ".join(work.branch or "" for work in merged.done)
        click.echo(f"{click.style('merged', fg='green')} into {checkout.branch}: {names}")
        return
    stopped = merged.stopped
    for work in merged.done:
        click.echo(f"{click.style('merged', fg='green')}    {work.orchestration_task_id}  {work.branch}")
    where = f" in {', '.join(merged.files[:10])}" if merged.files else ""
    state = "conflicts" if checkout.is_merging else "could not be merged"
    click.echo(f"{click.style(state, fg='yellow')}  {stopped.orchestration_task_id}  {stopped.branch}{where}")
    for work in merged.left:
        click.echo(f"{click.style('not yet', dim=True)}   {work.orchestration_task_id}  {work.branch}")
    click.echo(click.style("\nNext:", bold=True))
    for line in _lines_after(merged, checkout):
        click.echo(f"  {line}")


def _lines_after(merged: Merged, checkout: Checkout) -> list[str]:
    """How to go on after git has stopped, and how to go back."""
    left = [work.orchestration_task_id for work in merged.left]
    if merged.stopped is None:
        return []
    if not checkout.is_merging:
        return [quoted("devsh", "orchestrate", "merge", merged.stopped.orchestration_task_id, *left)]
    files = f"{quoted('git', 'add', *merged.files)} && " if merged.files else ""
    resolved = f"{files}git merge --continue   # once the files are as they should be"
    further = [quoted("devsh", "orchestrate", "merge", *left)] if left else []
    return [resolved, *further, "git merge --abort   # leaves this one out; those before it stay merged"]


def _document(merged: Merged, checkout: Checkout) -> dict[str, object]:
    def named(work: WorkAnswer) -> dict[str, object]:
        return {"orchestrationTaskId": work.orchestration_task_id, "branch": work.branch}

    return {
        "directory": str(checkout.top),
        "into": checkout.branch,
        "merged": [named(work) for work in merged.done],
        "stopped": named(merged.stopped) | {"files": merged.files, "isMerging": checkout.is_merging} if merged.stopped else None,
        "left": [named(work) for work in merged.left],
        "next": _lines_after(merged, checkout),
    }
