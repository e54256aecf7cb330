"""`devsh orchestrate status`: how tasks are doing; in full, or in one line that has to come fast."""

import click

from devsh_memory_mcp.cli.group import command
from devsh_memory_mcp.cli.session import session_of


@command(
    "status",
    "devsh orchestrate status",
    "devsh orchestrate status --watch",
    "devsh orchestrate status ns7abc12345 --watch --interval 5",
    "devsh orchestrate status ns7abc12345 --json | jq -r .branch",
    "devsh orchestrate status --line",
    short_help="How a task is doing, or all of them; --watch follows.",
)
@click.argument("any_id", metavar="[ID]", required=False)
@click.option("--watch", "-w", "watching", is_flag=True, help="Follow it until it has ended; exits as `wait` does.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=3.0,
    show_default=True,
    metavar="SECONDS",
    help="How often the board looks what agents do; changes show at once, clocks go on each second.",
)
@click.option("--all", "everything", is_flag=True, help="Every orchestration, not only the current one.")
@click.option("--line", "in_a_line", is_flag=True, help="One line, e.g. as Claude Code's status line (it reads that one's JSON on stdin).")
@click.option("--notify", metavar="COMMAND", help="With --watch: run at the end, see `devsh orchestrate wait --help`.")
@click.pass_context
def status(
    context: click.Context,
    any_id: str | None,
    *,
    watching: bool,
    interval: float,
    everything: bool,
    in_a_line: bool,
    notify: str | None,
    as_json: bool,
) -> int:
    """Show a task, or without ID the board of the current orchestration.

    ID is a task's id, its name or its task run id, or an orchestration's id.
    """
    session = session_of(context)
    if in_a_line:
        if any_id or watching or everything or notify or as_json:
            raise click.UsageError("--line stands alone: it is about this project, or the orchestration of --orchestration-id.")
        from devsh_memory_mcp.cli import status_line

        status_line.show(session)
        return 0
    if watching and everything:
        raise click.UsageError("--watch follows one task or one orchestration: leave out --all, or give an orchestration's id.")
    if notify and not watching:
        raise click.UsageError("--notify says when a watch is over: give --watch too.")
    from devsh_memory_mcp.cli import overview

    return overview.show(session, overview.Wanted(any_id, watching, interval, everything, as_json, notify))
