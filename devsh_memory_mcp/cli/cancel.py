"""`devsh orchestrate cancel`: ends a task and keeps its work."""

import click

from devsh_memory_mcp.cli.asking import ask, demanded
from devsh_memory_mcp.cli.group import command
from devsh_memory_mcp.cli.output import quoted, write_json
from devsh_memory_mcp.cli.session import session_of
from devsh_memory_mcp.domain.answers import CancelAnswer, TaskRecord
from devsh_memory_mcp.ports import Orchestrations


@command(
    "cancel",
    "devsh orchestrate cancel ns7abc12345",
    "devsh orchestrate cancel ns7abc12345 --cascade",
    short_help="End a task; what it did is kept.",
)
@click.argument("any_id", metavar="ID")
@click.option("--cascade", is_flag=True, help="Cancel the tasks that depend on it too; without it they fail.")
@click.pass_context
def cancel(context: click.Context, any_id: str, *, cascade: bool, as_json: bool) -> None:
    """End a pending or running task. Its work is kept in a salvage ref."""
    demanded(any_id)

    async def work(orchestrations: Orchestrations) -> tuple[CancelAnswer, TaskRecord]:
        orchestration = await orchestrations.holding(any_id)
        return await orchestration.cancel(any_id, cascade=cascade), await orchestration.status(any_id)

    answer, record = ask(session_of(context), work)
    if as_json:
        write_json(answer)
        return
    others = f" and {answer.cancelled_count - 1} that depend on it" if answer.cancelled_count > 1 else ""
    click.echo(
        f"{answer.orchestration_task_id} is {answer.status}{others}."
        if answer.cancelled
        else f"{any_id} had ended already: {answer.status}."
    )
    if record.status == "cancelled" and record.salvage_refs:
        click.echo(f"Its work: {quoted('git', 'checkout', record.salvage_refs[-1])}")
    if answer.next:
        click.echo(answer.next)
