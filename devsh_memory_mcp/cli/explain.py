"""`devsh orchestrate explain`: why a task is where it is."""

import click

from devsh_memory_mcp.cli.asking import ask, demanded
from devsh_memory_mcp.cli.board import mark
from devsh_memory_mcp.cli.group import command
from devsh_memory_mcp.cli.output import write_json
from devsh_memory_mcp.cli.session import session_of
from devsh_memory_mcp.domain.answers import Explanation
from devsh_memory_mcp.ports import Orchestrations


@command("explain", "devsh orchestrate explain ns7abc12345", short_help="Why a task waits, or why it failed.")
@click.argument("any_id", metavar="ID")
@click.pass_context
def explain(context: click.Context, any_id: str, *, as_json: bool) -> None:
    """Say why a task is where it is, the most important reason first."""
    demanded(any_id)

    async def work(orchestrations: Orchestrations) -> Explanation:
        return await (await orchestrations.holding(any_id)).explain(any_id)

    answer = ask(session_of(context), work)
    if as_json:
        write_json(answer)
        return
    click.echo(f"{click.style(answer.orchestration_task_id, bold=True)}  {mark(answer.status)}")
    for sentence in answer.because:
        click.echo(f"  {sentence}")
    if answer.next:
        click.echo(f"  next: {answer.next}")
