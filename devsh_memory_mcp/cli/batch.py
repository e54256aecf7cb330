"""`devsh orchestrate spawn-batch`: many tasks in one commit, from YAML or JSON."""

import sys
import uuid
from pathlib import Path

import click

from devsh_memory_mcp.cli.asking import ask, validated
from devsh_memory_mcp.cli.board import mark
from devsh_memory_mcp.cli.group import command
from devsh_memory_mcp.cli.known import lost
from devsh_memory_mcp.cli.output import warn, where, write_json
from devsh_memory_mcp.cli.session import session_of
from devsh_memory_mcp.domain.answers import BatchAnswer
from devsh_memory_mcp.domain.requests import BatchRequest
from devsh_memory_mcp.errors import InvalidRequest
from devsh_memory_mcp.ports import Orchestration, Orchestrations


@command(
    "spawn-batch",
    "devsh orchestrate spawn-batch plan.yaml",
    "generate-plan | devsh orchestrate spawn-batch -",
    short_help="Hand over many tasks at once, from a file.",
)
@click.argument("file", metavar="FILE|-")
@click.option("--max-concurrent", type=click.IntRange(1, 1000), metavar="N", help="Run at most so many tasks at once.")
@click.option("--idempotency-key", metavar="KEY", help="Repeating with the same key answers with the same tasks.")
@click.pass_context
def spawn_batch(context: click.Context, file: str, *, max_concurrent: int | None, idempotency_key: str | None, as_json: bool) -> None:
    """Admit all tasks of a YAML or JSON file, or none of them.

    The file is a list of tasks, or {tasks: [...], defaults: {agentName, repo, branch, sandbox, network, memory, cpus, disk},
    maxConcurrent}. A task has an id and a prompt, and may have agentName, dependsOn, priority, retries, timeoutMs, stallTimeoutMs,
    maxTurns, maxCostUsd, repo, branch, prTitle, setup, verify, includeDirty, keep, onDependencyFailure, sandbox, network, mounts,
    memory, cpus, disk.
    """
    plan = _plan(file) | {"idempotencyKey": idempotency_key or uuid.uuid4().hex}
    request = validated(BatchRequest, plan | ({"maxConcurrent": max_concurrent} if max_concurrent else {}))

    async def work(orchestrations: Orchestrations) -> tuple[Orchestration, BatchAnswer]:
        orchestration = await orchestrations.current(create=True, request=request)
        return orchestration, await orchestration.spawn_batch(request)

    session = session_of(context)
    warn(lost(session.files))
    orchestration, answer = ask(session, work)
    if as_json:
        write_json(answer)
        return
    for task in answer.tasks:
        click.echo(
            f"{task.orchestration_task_id}  {mark(task.status)}  {task.agent_name}  {task.task_id}  {task.waiting_for or ''}".rstrip()
        )
    warn(answer.warnings)
    click.echo("  follow    devsh orchestrate status --watch")
    where(orchestration.directory)


def _plan(file: str) -> dict[str, object]:
    import yaml

    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
        found = yaml.safe_load(text)
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{file} is neither YAML nor JSON: {' '.join(str(error).split())[:200]}.") from error
    if isinstance(found, list):
        return {"tasks": found}
    if not isinstance(found, dict):
        raise InvalidRequest(f"{file} holds no tasks.", next_step="`devsh orchestrate spawn-batch --help` shows its shape.")
    return found
