"""`devsh orchestrate spawn`: one task, and whether it runs."""

import sys
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import click

from devsh_memory_mcp.cli import failure
from devsh_memory_mcp.cli.asking import JQ_HINT, ask, build, given, is_current
from devsh_memory_mcp.cli.board import change
from devsh_memory_mcp.cli.detail import base_text
from devsh_memory_mcp.cli.durations import Milliseconds
from devsh_memory_mcp.cli.following import following
from devsh_memory_mcp.cli.group import command
from devsh_memory_mcp.cli.known import lost
from devsh_memory_mcp.cli.output import called, document, facts, line_of, warn, where, write_json
from devsh_memory_mcp.cli.session import session_of
from devsh_memory_mcp.domain.answers import SpawnAnswer, TaskRecord
from devsh_memory_mcp.domain.requests import SpawnRequest
from devsh_memory_mcp.errors import InvalidRequest, UnknownDependency
from devsh_memory_mcp.ports import Orchestration, Orchestrations

PATIENCE = timedelta(seconds=2)
NEVER_STARTED = ("setup", "spawn", "dependency")


def _dependencies(_context: click.Context, _parameter: click.Parameter, ids: tuple[str, ...]) -> tuple[str, ...]:
    """`--depends-on $RUN1` with RUN1 unset swallows the next flag; saying so beats what would follow from it."""
    for found in ids:
        _demand_id("--depends-on", found)
        if found == "null":
            raise UnknownDependency("There is no task 'null' to depend on.", next_step=JQ_HINT)
    return ids


def _resumed(_context: click.Context, _parameter: click.Parameter, any_id: str | None) -> str | None:
    """The same for `--resume $RUN1`."""
    if any_id is not None:
        _demand_id("--resume", any_id)
    return given(any_id)


def _demand_id(flag: str, found: str) -> None:
    if not found or found.startswith("-"):
        eaten = f" (it took {found!r})" if found else ""
        raise click.UsageError(f"{flag} has no id{eaten}: the variable after it is empty, so the spawn before it failed.")


@command(
    "spawn",
    'devsh orchestrate spawn --agent shell/bash "make test"',
    'devsh orchestrate spawn --agent shell/bash --name docs --timeout 10m "make html"',
    'devsh orchestrate spawn --agent shell/bash --depends-on docs "make publish"',
    'devsh orchestrate spawn --resume ns7abc12345 "The review says: …"',
    'devsh orchestrate spawn --cloud-workspace --agent claude/opus-4.6 "Coordinate …"',
    "devsh orchestrate spawn --agent shell/bash - < script.sh",
    use_env_jwt_shown=True,
    short_help="Hand a task to a new agent.",
)
@click.argument("prompt", nargs=-1)
@click.option(
    "--agent",
    "agent_name",
    metavar="NAME",
    help="Agent to use (default: `devsh config get default_agent`); shell/bash runs the prompt as a script.",
)
@click.option("--repo", metavar="REPO", help="owner/repo, URL, path or none (default: the repository you are in).")
@click.option("--branch", metavar="NAME", help="Branch to start from (default: what is checked out, or main).")
@click.option("--pr-title", metavar="TITLE", help="Title for the pull request, for the line that opens it.")
@click.option(
    "--open-pr/--no-open-pr", default=None, help="Push the branch and open the pull request once it has completed (owner/repo or URL; gh)."
)
@click.option("--priority", type=click.IntRange(0, 10), metavar="N", help="0 is the highest, 10 the lowest (default: 5).")
@click.option(
    "--depends-on", multiple=True, metavar="ID", is_eager=True, callback=_dependencies, help="Start after this task (can repeat)."
)
@click.option("--resume", metavar="ID", callback=_resumed, help="Go on with the session, work and branch of this ended task.")
@click.option("--name", metavar="NAME", help="Your own name for the task, for --depends-on and all other commands.")
@click.option("--retries", type=click.IntRange(0, 10), metavar="N", help="How often to try again after a failure (default: 0).")
@click.option(
    "--timeout",
    "timeout_ms",
    type=Milliseconds(may_be_zero=False),
    metavar="DURATION",
    help="End the agent after this long, e.g. 30m: SIGTERM, and 5 s later SIGKILL.",
)
@click.option("--setup", metavar="COMMAND", help="Run in the checkout before the agent, e.g. 'npm ci'.")
@click.option("--verify", metavar="COMMAND", help="What its work has to pass in the checkout, e.g. 'pytest -q'; else it has failed.")
@click.option(
    "--stall-timeout",
    "stall_timeout_ms",
    type=Milliseconds(may_be_zero=False),
    metavar="DURATION",
    help="End the agent when it prints nothing for this long, e.g. 5m.",
)
@click.option("--max-turns", type=click.IntRange(1), metavar="N", help="End the agent after so many turns of its model.")
@click.option(
    "--max-cost-usd", type=click.FloatRange(0, min_open=True), metavar="USD", help="End the agent when it has cost so much, e.g. 2.50."
)
@click.option("--include-dirty", is_flag=True, help="Start from your uncommitted changes too.")
@click.option(
    "--permissions",
    type=click.Choice(["acceptEdits", "bypass"]),
    help="What a model's agent may do unasked: by itself all in a sandbox (bypass), edits and common commands without one (acceptEdits).",
)
@click.option(
    "--sandbox",
    type=click.Choice(["auto", "required", "none"]),
    help="Walls around the agent. By itself it has them where they work here, unless its login is in your home alone.",
)
@click.option(
    "--network",
    metavar="on|off|allow:HOST,…",
    help="The network of an agent in a sandbox: all (default), none, or these hosts.",
)
@click.option(
    "--mount",
    "mounts",
    multiple=True,
    metavar="PATH[:rw]",
    help="Show it to an agent in a sandbox, too; what it may write has to be writable for everybody where you are root (can repeat).",
)
@click.option("--billing", type=click.Choice(["subscription", "api"]), help="Who pays, where a subscription and a key are both there.")
@click.option("--memory", metavar="SIZE", help="End the agent when it and all it starts use more memory, e.g. 4G.")
@click.option("--cpus", type=click.FloatRange(0.01, 1024), metavar="N", help="Give it so many processors at most, e.g. 2 or 0.5.")
@click.option("--disk", metavar="SIZE", help="End the agent when its checkout, HOME and /tmp hold so much more, e.g. 10G.")
@click.option("--keep", is_flag=True, help="Keep the checkout after the end.")
@click.option("--on-dependency-failure", type=click.Choice(["fail", "run"]), help="What to do when a dependency fails (default: fail).")
@click.option(
    "--max-concurrent", type=click.IntRange(1, 1000), metavar="N", help="Run at most so many tasks of this orchestration at once."
)
@click.option("--idempotency-key", metavar="KEY", help="Repeating with the same key answers with the same task.")
@click.option("--prompt-file", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Read the prompt from a file.")
@click.option(
    "--cloud-workspace",
    "--head",
    "cloud_workspace",
    is_flag=True,
    help="Spawn a head: an agent that leads an orchestration of its own and spawns agents there.",
)
@click.option(
    "--on-head-exit",
    type=click.Choice(["keep", "cancel"]),
    help="What becomes of a head's agents when it ends (default: they go on, and end with one that is cancelled).",
)
@click.pass_context
def spawn(
    context: click.Context,
    /,
    prompt: tuple[str, ...],
    *,
    prompt_file: Path | None,
    as_json: bool,
    idempotency_key: str | None,
    **fields: object,
) -> int:
    """Hand a task to a new agent, which works on a branch of its own.

    Returns when the agent runs, or when it is known why it cannot yet. PROMPT is one argument, in quotes; `-` reads it from stdin.
    """
    fields |= {"prompt": _prompt(prompt, prompt_file), "idempotency_key": idempotency_key or uuid.uuid4().hex}
    request, session = build(SpawnRequest, **fields), session_of(context)

    async def work(orchestrations: Orchestrations) -> tuple[Orchestration, SpawnAnswer, TaskRecord, bool]:
        own = orchestrations.holding(request.resume) if request.resume else orchestrations.current(create=True, request=request)
        orchestration = await own
        answer = await orchestration.spawn(request)
        record = await _settled(orchestration, answer.orchestration_task_id)
        return orchestration, answer, record, await is_current(session, orchestrations, orchestration)

    warn(lost(session.files))
    orchestration, answer, record, by_name = ask(session, work)
    if as_json:
        write_json({**document(answer), "status": record.status, "waitingFor": record.waiting_for, "errorMessage": record.error_message})
    else:
        _show(answer, record, by_name=by_name)
        where(orchestration.directory)
    return failure.FAILED if record.status == "failed" and record.reason in NEVER_STARTED else failure.OK


def _prompt(words: tuple[str, ...], file: Path | None) -> str:
    if file is not None:
        if words:
            raise click.UsageError("Give the prompt either as an argument or with --prompt-file.")
        return _said(file.read_text(), f"The file {file}")
    if not words:
        raise click.UsageError('The prompt is missing: devsh orchestrate spawn [flags] "prompt"')
    if len(words) > 1:
        raise click.UsageError(f"The prompt has to be one argument, in quotes; these are {len(words)}: {', '.join(map(repr, words[:4]))}")
    return _said(sys.stdin.read(), "Standard input") if words[0] == "-" else _said(words[0], "The prompt")


def _said(text: str, what: str) -> str:
    if not text.strip():
        raise InvalidRequest(f"{what} is empty.", next_step="Say what the agent is to do.")
    return text


async def _settled(orchestration: Orchestration, task_id: str) -> TaskRecord:
    """The task once it runs, has ended, or says what it waits for; as it is when patience is over."""
    async with following(orchestration) as bell:
        with anyio.move_on_after(PATIENCE.total_seconds()):
            while True:
                record = await orchestration.status(task_id)
                if record.status != "pending" or record.waiting_for:
                    return record
                await bell.heard()
    return await orchestration.status(task_id)


def _show(answer: SpawnAnswer, record: TaskRecord, *, by_name: bool) -> None:
    click.echo(change(line_of(record), datetime.now(UTC)))
    facts([("agent", record.agent_name), ("branch", record.branch and record.branch + base_text(record)), ("in", record.repo)])
    warn(answer.warnings)
    if record.leads:
        facts([("leads", record.leads)])
    click.echo(f"  {click.style('follow   ', dim=True)} devsh orchestrate status {called(record, by_name=by_name)} --watch")
