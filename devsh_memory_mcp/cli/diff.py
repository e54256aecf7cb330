"""`devsh orchestrate diff`: what a task changed, as git shows it."""

import os
from collections.abc import Mapping
from pathlib import Path

import click

from devsh_memory_mcp.cli import failure
from devsh_memory_mcp.cli.asking import work_of
from devsh_memory_mcp.cli.checkout import ask as ask_git
from devsh_memory_mcp.cli.checkout import find_checkout, hand_over
from devsh_memory_mcp.cli.group import command
from devsh_memory_mcp.cli.output import write_json
from devsh_memory_mcp.cli.session import session_of
from devsh_memory_mcp.domain.answers import WorkAnswer
from devsh_memory_mcp.engine.repository import without_repository
from devsh_memory_mcp.errors import Conflict, Unavailable


@command(
    "diff",
    "devsh orchestrate diff ns7abc12345",
    "devsh orchestrate diff ns7abc12345 --stat",
    "devsh orchestrate diff ns7abc12345 -- src tests",
    "devsh orchestrate diff ns7abc12345 --json | jq -r '.files[].path'",
    short_help="What a task changed.",
)
@click.argument("any_id", metavar="ID")
@click.argument("paths", metavar="[-- PATH...]", nargs=-1)
@click.option("--stat", is_flag=True, help="Only how much in which file.")
@click.option("--name-only", is_flag=True, help="Only the names of the files.")
@click.pass_context
def diff(context: click.Context, any_id: str, paths: tuple[str, ...], *, stat: bool, name_only: bool, as_json: bool) -> int:
    """Show what an ended task changed against its base, from its branch or from where its work was saved.

    It goes through your own pager and colours, as with `git diff`. With --json: the files and how much of each.
    """
    session = session_of(context)
    work = work_of(session, any_id)
    place, prefix = _place(work, session.surroundings.directory, session.surroundings.environment)
    if as_json:
        write_json(_document(work, place, prefix, session.surroundings.environment, paths))
        return failure.OK
    if work.tip is None:
        click.echo(f"{work.orchestration_task_id} has changed nothing.", err=True)
        return failure.OK
    options = [flag for flag, wanted in (("--stat", stat), ("--name-only", name_only)) if wanted]
    environment = without_repository(session.surroundings.environment)
    return hand_over(["git", *prefix, "diff", *options, _range(work), "--", *paths], place, environment)


def _place(work: WorkAnswer, here: Path, environment: Mapping[str, str]) -> tuple[Path, list[str]]:
    """Where git is run, and what leads it to the repository: nothing where the user stands in it."""
    if work.status in ("pending", "running"):
        where = f"Look at its checkout meanwhile: {work.workspace}" if work.workspace else "It has no checkout yet."
        raise Conflict(f"{work.orchestration_task_id} has not ended ({work.status}), so its work is not saved yet.", next_step=where)
    if work.git_directory is None:
        where = f"Its files are in {work.workspace}." if work.workspace else "Its directory is gone."
        raise Conflict(f"{work.orchestration_task_id} worked on no repository, so there is nothing to compare.", next_step=where)
    if not os.path.isdir(work.git_directory):
        raise Unavailable(f"The repository {work.git_directory} is not there any more.")
    checkout = find_checkout(here, environment)
    if checkout is not None and checkout.git_directory == Path(work.git_directory).resolve():
        return here, []
    return Path(work.git_directory), [f"--git-dir={work.git_directory}"]


def _range(work: WorkAnswer) -> str:
    return f"{work.base_commit}...{work.tip}"


def _document(
    work: WorkAnswer, place: Path, prefix: list[str], environment: Mapping[str, str], paths: tuple[str, ...]
) -> dict[str, object]:
    files: list[dict[str, object]] = []
    if work.tip is not None:
        code, said = ask_git(place, environment, *prefix, "diff", "--numstat", "--no-renames", "-z", _range(work), "--", *paths)
        if code:
            raise Unavailable(f"git cannot compare {_range(work)} in {work.git_directory}.")
        files = [_file(entry) for entry in said.split("\0") if entry]
    return {
        "orchestrationTaskId": work.orchestration_task_id,
        "status": work.status,
        "baseBranch": work.base_branch,
        "baseCommit": work.base_commit,
        "ref": work.ref,
        "tip": work.tip,
        "files": files,
    }


def _file(entry: str) -> dict[str, object]:
    """A line of `--numstat`; a binary file has no numbers."""
    insertions, deletions, path = entry.split("\t", 2)
    return {"path": path, "insertions": _number(insertions), "deletions": _number(deletions)}


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None
