"""`devsh orchestrate new`: a fresh start in this project."""

import click

from devsh_memory_mcp.cli.asking import ask
from devsh_memory_mcp.cli.group import command
from devsh_memory_mcp.cli.output import where, write_json
from devsh_memory_mcp.cli.session import session_of
from devsh_memory_mcp.ports import Orchestration, Orchestrations


@command("new", "devsh orchestrate new", 'devsh orchestrate new "Release 2.0"', short_help="Begin a new orchestration.")
@click.argument("description", required=False, default="")
@click.option("--max-concurrent", type=click.IntRange(1, 1000), metavar="N", help="Run at most so many of its tasks at once.")
@click.pass_context
def new(context: click.Context, description: str, *, max_concurrent: int | None, as_json: bool) -> None:
    """Begin a new orchestration, which becomes this project's current one. The old one goes on."""

    async def work(orchestrations: Orchestrations) -> Orchestration:
        return await orchestrations.begin(description, max_concurrent=max_concurrent)

    orchestration = ask(session_of(context), work)
    if as_json:
        directory = str(orchestration.directory) if orchestration.directory else None
        write_json({"orchestrationId": orchestration.orchestration_id, "directory": directory})
        return
    click.echo(f"{click.style(orchestration.orchestration_id, bold=True)} is the current orchestration of this project.")
    where(orchestration.directory)
