"""`devsh orchestrate wait`: until tasks have ended."""

import sys
from datetime import UTC, datetime

import anyio
import click

from devsh_memory_mcp.cli import failure, notice
from devsh_memory_mcp.cli.asking import ask, build, find, given, interruptible, no_tasks, rows_of, still_running
from devsh_memory_mcp.cli.board import ENDED, change
from devsh_memory_mcp.cli.durations import Milliseconds
from devsh_memory_mcp.cli.group import command
from devsh_memory_mcp.cli.output import line_of, warn, where, write_json
from devsh_memory_mcp.cli.session import session_of
from devsh_memory_mcp.domain.answers import WaitAnswer
from devsh_memory_mcp.domain.requests import WaitRequest
from devsh_memory_mcp.errors import InvalidRequest
from devsh_memory_mcp.ports import Orchestration, Orchestrations


@command(
    "wait",
    "devsh orchestrate wait ns7abc12345",
    "devsh orchestrate wait --timeout 1h",
    "devsh orchestrate wait ns7abc12345 ns7def67890 --any --timeout 90s",
    "devsh orchestrate wait --notify 'notify-send \"devsh: $DEVSH_SUMMARY\"'",
    short_help="Until tasks have ended.",
)
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option(
    "--timeout", type=Milliseconds(), default="5m", show_default=True, metavar="DURATION", help="90s, 5m, 1h30m; 0 answers at once."
)
@click.option("--any/--all", "first", default=False, help="Until the first has ended, or until all have (default).")
@notice.option
@click.pass_context
def wait(context: click.Context, ids: tuple[str, ...], *, timeout: int, first: bool, notify: str | None, as_json: bool) -> int:
    """Wait for tasks, without ID for all of the current orchestration.

    Exits 0 if they completed, 1 if one failed or was cancelled, 3 if the time was over first. No agent is ended by it.
    """
    wanted = tuple(found for each in ids if (found := given(each)))

    async def work(orchestrations: Orchestrations) -> tuple[Orchestration, WaitAnswer]:
        orchestration, tasks = await _meant(orchestrations, wanted)
        return orchestration, await _until(orchestration, tasks, "any" if first else "all", timeout / 1000)

    with interruptible(still_running(wanted[0] if len(wanted) == 1 else None)):
        orchestration, answer = ask(session_of(context), work)
    _progress_line("")
    if as_json:
        write_json(answer)
    else:
        _show(answer)
        where(orchestration.directory)
    code = _exit_code(answer)
    notice.tell_end(notify, answer.tasks, code, session_of(context).surroundings.environment, as_json=as_json)
    return code


async def _until(orchestration: Orchestration, tasks: tuple[str, ...], mode: str, seconds: float) -> WaitAnswer:
    """A wait is answered early when a message comes; at a shell it goes on."""
    deadline = anyio.current_time() + seconds
    while True:
        left = max(0.0, deadline - anyio.current_time())
        answer = await orchestration.wait(build(WaitRequest, ids=tasks, mode=mode, timeout=round(left * 1000)), _progress)
        if answer.finished or answer.timed_out or not left:
            return answer


def _show(answer: WaitAnswer) -> None:
    for row in answer.tasks:
        click.echo(change(line_of(row), datetime.now(UTC)))
    warn(answer.warnings)
    if not answer.finished:
        running = [row.orchestration_task_id for row in answer.tasks if row.status not in ENDED]
        click.echo(f"the time is over: {still_running(running[0] if len(running) == 1 else None)}", err=True)


async def _meant(orchestrations: Orchestrations, wanted: tuple[str, ...]) -> tuple[Orchestration, tuple[str, ...]]:
    tasks: tuple[str, ...] = ()
    if not wanted:
        orchestration = await orchestrations.current()
    else:
        found = [await find(orchestrations, each) for each in wanted]
        if len({orchestration.orchestration_id for orchestration, _ in found}) > 1:
            raise InvalidRequest("These tasks belong to several orchestrations.", next_step="Wait for those of each apart.")
        orchestration, tasks = found[0][0], tuple(task for _, task in found if task)
    if not tasks:
        tasks = tuple(row.orchestration_task_id for row in await rows_of(orchestration))
    if not tasks:
        raise no_tasks(orchestration)
    return orchestration, tasks


def _exit_code(answer: WaitAnswer) -> int:
    if not answer.finished:
        return failure.TIMEOUT
    ended = [row.status for row in answer.tasks if row.status in ENDED] or [answer.status]
    return failure.OK if all(status == "completed" for status in ended) else failure.FAILED


async def _progress(_done: float, _total: float, said: str) -> None:
    _progress_line(said)


def _progress_line(said: str) -> None:
    """Replaces the line on a terminal; elsewhere there is none."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{said}")
        sys.stderr.flush()
