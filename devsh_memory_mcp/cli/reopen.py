"""`devsh orchestrate open`: into the agent's own session, or a shell, in the checkout that it left."""

import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from devsh_memory_mcp.agents.catalogue import find_adapter
from devsh_memory_mcp.cli import failure
from devsh_memory_mcp.cli.asking import work_of
from devsh_memory_mcp.cli.checkout import hand_over
from devsh_memory_mcp.cli.group import command
from devsh_memory_mcp.cli.output import quoted, write_json
from devsh_memory_mcp.cli.session import session_of
from devsh_memory_mcp.domain.answers import WorkAnswer
from devsh_memory_mcp.errors import Conflict, NotAvailable, Unavailable
from devsh_memory_mcp.shim.rundir import OPEN_FILE
from devsh_memory_mcp.store.lock import alone


@command(
    "open",
    "devsh orchestrate open ns7abc12345",
    "devsh orchestrate open ns7abc12345 --shell",
    'cd "$(devsh orchestrate open ns7abc12345 --json | jq -r .directory)"',
    short_help="Go on yourself in a task's own session or checkout.",
)
@click.argument("any_id", metavar="ID")
@click.option("--shell", "in_shell", is_flag=True, help="A shell in the checkout, also where the agent has a session of its own.")
@click.option("--while-running", is_flag=True, help="Also while the agent still works there.")
@click.pass_context
def reopen(context: click.Context, any_id: str, *, in_shell: bool, while_running: bool, as_json: bool) -> int:
    """Open the interactive session of a task's agent in its checkout: for a script, and with --shell, your shell.

    It runs as you, with your login, at your terminal. The checkout is not removed while it is open. With --json it is only said what
    would be run, and where.
    """
    session = session_of(context)
    work = work_of(session, any_id)
    place = _place(work, while_running=while_running)
    environment = session.surroundings.environment
    line = (environment.get("SHELL") or "sh",) if in_shell or work.session is None else work.session
    if as_json:
        write_json({"orchestrationTaskId": work.orchestration_task_id, "command": list(line), "directory": str(place)})
        return failure.OK
    _demand_start(work, line, place, environment)
    with _kept(work, place):
        click.echo(click.style(f"{work.orchestration_task_id}: {quoted(*line)} in {place}", dim=True), err=True)
        code = hand_over(line, place, environment)
    _say_how_to_keep(work, place)
    return code


def _demand_start(work: WorkAnswer, line: Sequence[str], place: Path, environment: Mapping[str, str]) -> None:
    """Before anything is done: NotAvailable without the agent's program, Unavailable without a terminal, or a script for the shell."""
    name = work.orchestration_task_id
    if line == work.session and shutil.which(line[0], path=environment.get("PATH", os.defpath)) is None:
        provider = find_adapter(work.agent_name).provider
        install = f"Install it ({provider.install}), or" if provider else "To"
        raise NotAvailable(
            f"The session of {name} is opened by {line[0]!r}, which is not on your PATH.",
            next_step=f"{install} look at its checkout: devsh orchestrate open {name} --shell",
        )
    if not os.isatty(0) and (line == work.session or stat.S_ISCHR(os.fstat(0).st_mode)):  # a shell may be given a script
        typed = f"{quoted('cd', str(place))} && {quoted(*line)}"
        raise Unavailable("There is no terminal here to open it at.", next_step=f"At a terminal: {typed}")


def _place(work: WorkAnswer, *, while_running: bool) -> Path:
    """The checkout. Conflict where there is none, or where the agent is at work in it."""
    name = work.orchestration_task_id
    if work.status == "pending":
        raise Conflict(f"{name} has not begun, so there is nothing to open.", next_step=f"devsh orchestrate explain {name}")
    if work.status == "running" and not while_running:
        raise Conflict(
            f"{name} is at work in its checkout.",
            next_step=f"Wait for it (devsh orchestrate wait {name}), write to it (message), or open it all the same with --while-running.",
        )
    if work.workspace is None or not os.path.isdir(work.workspace):
        raise Conflict(f"The checkout of {name} was removed.", next_step=_way_to(work))
    return Path(work.workspace)


def _way_to(work: WorkAnswer) -> str:
    if work.ref is None or work.git_directory is None:
        return "It left no work either."
    ref = work.branch if work.ref == f"refs/heads/{work.branch}" else work.ref
    again = f'; its agent goes on with: devsh orchestrate spawn --resume {work.orchestration_task_id} "…"' if work.session else ""
    return f"Its work is there: {quoted('git', f'--git-dir={work.git_directory}', 'worktree', 'add', f'../{work.id}', ref or '')}{again}"


@contextmanager
def _kept(work: WorkAnswer, place: Path) -> Iterator[None]:
    """While this lasts no collection takes the checkout away."""
    directory = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with alone(directory, OPEN_FILE) as is_ours:
            if not is_ours:
                raise Conflict(f"{work.orchestration_task_id} is open already.", next_step="Leave it there first.")
            if not place.is_dir():
                raise Conflict(f"The checkout of {work.orchestration_task_id} was removed.", next_step=_way_to(work))
            yield
    finally:
        os.close(directory)


def _say_how_to_keep(work: WorkAnswer, place: Path) -> None:
    if work.git_directory is None:
        return
    push = quoted("git", "-C", str(place), "push", "origin", "HEAD:refs/heads/NAME")
    click.echo(click.style(f"What you commit there is in that checkout alone; to have it as a branch: {push}", dim=True), err=True)
