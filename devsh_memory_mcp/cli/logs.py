"""`devsh orchestrate logs`: what agents print."""

import anyio
import click

from devsh_memory_mcp.cli.asking import ask, find, interruptible, rows_of, still_running
from devsh_memory_mcp.cli.group import command
from devsh_memory_mcp.cli.output import write_json
from devsh_memory_mcp.cli.session import session_of
from devsh_memory_mcp.ports import Orchestration, Orchestrations


@command(
    "logs",
    "devsh orchestrate logs ns7abc12345",
    "devsh orchestrate logs ns7abc12345 --follow",
    "devsh orchestrate logs -f",
    short_help="What an agent prints; -f follows.",
)
@click.argument("any_id", metavar="[ID]", required=False)
@click.option("--follow", "-f", is_flag=True, help="Until the task has ended.")
@click.pass_context
def logs(context: click.Context, any_id: str | None, *, follow: bool, as_json: bool) -> None:
    """Print a task's output; without ID that of all tasks of the current orchestration, each line with the task's id."""

    async def work(orchestrations: Orchestrations) -> None:
        orchestration, task_id = await find(orchestrations, any_id)
        if task_id is not None:
            await _print(orchestration, task_id, "", follow=follow, as_json=as_json)
            return
        tasks = [row.orchestration_task_id for row in await rows_of(orchestration)]
        if not follow:
            for task in tasks:
                await _print(orchestration, task, f"{task}  ", follow=False, as_json=as_json)
            return
        async with anyio.create_task_group() as group:
            for task in tasks:
                group.start_soon(_follow, orchestration, task, as_json)

    with interruptible(still_running(any_id)):
        ask(session_of(context), work)


async def _follow(orchestration: Orchestration, task: str, as_json: bool) -> None:  # noqa: FBT001  start_soon takes no keywords
    await _print(orchestration, task, f"{task}  ", follow=True, as_json=as_json)


async def _print(orchestration: Orchestration, task: str, prefix: str, *, follow: bool, as_json: bool) -> None:
    """Whole lines, so that those of several agents do not run into each other."""
    rest = ""
    async for chunk in orchestration.output(task, follow=follow):
        *lines, rest = (rest + chunk).split("\n")
        for line in lines:
            _line(task, prefix, line, as_json=as_json)
    if rest:
        _line(task, prefix, rest, as_json=as_json)


def _line(task: str, prefix: str, line: str, *, as_json: bool) -> None:
    if as_json:
        write_json({"orchestrationTaskId": task, "line": line}, compact=True)
    else:
        click.echo(f"{click.style(prefix, dim=True)}{line}" if prefix else line)
