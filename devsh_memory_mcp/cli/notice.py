"""What is done when a wait is over, for whoever has looked away: the terminal's bell, and a command of his own."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

import click

from devsh_memory_mcp.cli import failure, terminal
from devsh_memory_mcp.cli.board import ENDED, counts
from devsh_memory_mcp.cli.output import warn
from devsh_memory_mcp.domain import answers

SECONDS = 30
Row = answers.TaskRow | answers.TaskRecord

option = click.option(
    "--notify",
    metavar="COMMAND",
    help=f"Run by sh at the end, at most {SECONDS} s, with DEVSH_STATUS, DEVSH_TASK_ID, DEVSH_ORCHESTRATION_ID and DEVSH_SUMMARY set.",
)


def tell_end(
    command: str | None, rows: Sequence[Row], code: int, environment: Mapping[str, str], *, as_json: bool, seconds: float = SECONDS
) -> None:
    """Rings, and runs the command. That it failed is told, and changes nothing: the tasks are as they are."""
    if terminal.is_foreground() and not as_json:  # a background job's would stand in front of others' lines
        click.echo("\a", nl=False)
    if not command:
        return
    sys.stdout.flush()
    why = _run(command, {**environment, **_told(rows, code)}, seconds)
    warn([f"--notify {why}."] if why else [])


def _told(rows: Sequence[Row], code: int) -> dict[str, str]:
    """The outcome as variables; of several tasks all ids, and `failed` where they ended differently."""
    ended = {row.status for row in rows if row.status in ENDED}
    overall = {failure.OK: "completed", failure.TIMEOUT: "timeout"}.get(code) or (ended.pop() if len(ended) == 1 else "failed")
    return {
        "DEVSH_STATUS": overall,
        "DEVSH_TASK_ID": " ".join(row.orchestration_task_id for row in rows),
        "DEVSH_ORCHESTRATION_ID": rows[0].orchestration_id if rows else "",
        "DEVSH_SUMMARY": click.unstyle(counts(row.status for row in rows)),
    }


def _run(command: str, environment: Mapping[str, str], seconds: float) -> str | None:
    """Why it failed, None where it did not. It has a process group of its own, which ends with it or with the time."""
    try:
        with subprocess.Popen(
            ["sh", "-c", command], env=dict(environment), stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno(), process_group=0
        ) as running:
            try:
                code = running.wait(seconds)
            except BaseException as error:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(running.pid, signal.SIGKILL)
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                return f"was ended after {seconds:g} s"
    except (OSError, ValueError) as error:
        return f"could not be run: {error}"
    return f"has failed with exit code {code}" if code else None
