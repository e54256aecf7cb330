"""`devsh orchestrate logs`: what agents print, in words or as it is."""

import sys
from collections.abc import Callable
from functools import partial

import anyio
import click

from devsh_memory_mcp.agents.plain import plain
from devsh_memory_mcp.cli.asking import ask, find, interruptible, rows_of, still_running
from devsh_memory_mcp.cli.group import command
from devsh_memory_mcp.cli.output import write_json
from devsh_memory_mcp.cli.session import session_of
from devsh_memory_mcp.errors import InvalidRequest
from devsh_memory_mcp.ports import Orchestration, Orchestrations

# How the first word of a line in `agents.claude_words` looks: a deed, trouble, something said to the agent, its course.
LOOKS: dict[str, Callable[[str], str]] = {
    ">": partial(click.style, fg="cyan"),
    "!": partial(click.style, fg="yellow"),
    "<": partial(click.style, fg="magenta"),
    "*": partial(click.style, dim=True),
}


@command(
    "logs",
    "devsh orchestrate logs ns7abc12345",
    "devsh orchestrate logs ns7abc12345 --follow",
    "devsh orchestrate logs -f",
    "devsh orchestrate logs ns7abc12345 --raw | jq -r .type",
    short_help="What an agent does and prints; -f follows.",
)
@click.argument("any_id", metavar="[ID]", required=False)
@click.option("--follow", "-f", is_flag=True, help="Until the task has ended.")
@click.option("--raw", is_flag=True, help="The bytes as they were printed, stdout on stdout and stderr on stderr.")
@click.pass_context
def logs(context: click.Context, any_id: str | None, *, follow: bool, raw: bool, as_json: bool) -> None:
    """Print a task's output; without ID that of all tasks of the current orchestration, each line with the task's id.

    What claude prints as JSON is told in words; a script's lines are shown as they are.
    """
    if raw and as_json:
        raise click.UsageError("--raw gives the bytes as they are; leave out --json.")

    async def work(orchestrations: Orchestrations) -> None:
        orchestration, task_id = await find(orchestrations, any_id)
        tasks = [task_id] if task_id is not None else [row.orchestration_task_id for row in await rows_of(orchestration)]
        if raw:
            await _copy(orchestration, tasks, follow=follow)
            return
        async with anyio.create_task_group() as group:
            for task in tasks:
                label = "" if task_id is not None else f"{task}  "
                printed = partial(_print, orchestration, task, label, follow=follow, as_json=as_json)
                if follow:
                    group.start_soon(printed)
                else:
                    await printed()

    with interruptible(still_running(any_id)):
        ask(session_of(context), work)


async def _copy(orchestration: Orchestration, tasks: list[str], *, follow: bool) -> None:
    if len(tasks) != 1:
        raise InvalidRequest(f"--raw prints one task's bytes, and {len(tasks)} are meant.", next_step="Give the ID of one.")
    async for printed in orchestration.printed(tasks[0], follow=follow):
        stream = sys.stderr if printed.is_error else sys.stdout
        stream.flush()
        stream.buffer.write(printed.content)
        stream.buffer.flush()


async def _print(orchestration: Orchestration, task: str, label: str, *, follow: bool, as_json: bool) -> None:
    """Whole lines, so that those of several agents do not run into each other."""
    is_script = (await orchestration.status(task)).agent_name.startswith("shell/")
    rest = ""
    async for text in orchestration.output(task, follow=follow):
        *lines, rest = (rest + text).split("\n")
        for line in lines:
            _line(task, label, line, is_script=is_script, as_json=as_json)
    if rest:
        _line(task, label, rest, is_script=is_script, as_json=as_json)


def _line(task: str, label: str, line: str, *, is_script: bool, as_json: bool) -> None:
    if as_json:
        write_json({"orchestrationTaskId": task, "line": line}, compact=True)
        return
    if sys.stdout.isatty():
        line = plain(line.rstrip("\r").rpartition("\r")[2])  # the last state of a line that redraws itself
    look = None if is_script else LOOKS.get(line.lstrip().partition(" ")[0])
    click.echo(f"{click.style(label, dim=True) if label else ''}{look(line) if look else line}")
