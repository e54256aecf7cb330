"""`devsh demo`: the whole of it in a few seconds, without a key."""

import time
from collections.abc import Mapping
from pathlib import Path

import anyio
import click

from devsh_memory_mcp.cli import failure
from devsh_memory_mcp.cli.asking import ask, interruptible
from devsh_memory_mcp.cli.demo_plan import PLAN, choose_repository
from devsh_memory_mcp.cli.detail import diff_text, show_text
from devsh_memory_mcp.cli.group import command
from devsh_memory_mcp.cli.output import document, facts, quoted, warn, where, write_json
from devsh_memory_mcp.cli.session import session_of
from devsh_memory_mcp.cli.watch import Watch
from devsh_memory_mcp.domain.answers import ResultsAnswer, TaskRecord
from devsh_memory_mcp.domain.requests import WaitRequest
from devsh_memory_mcp.inventory import find_agents
from devsh_memory_mcp.ports import Orchestration, Orchestrations

LONGEST = 120.0
REDRAWN = 0.5


@command("demo", "devsh demo", "devsh demo --here", short_help="See it work, without a key.")
@click.option("--here", is_flag=True, help="Work in the repository you are in, and keep the branches there.")
@click.pass_context
def demo(context: click.Context, *, here: bool, as_json: bool) -> int:
    """Three agents work side by side on a copy of your repository; a fourth starts when they have ended, from their merged branches.

    The agents are shell scripts, so it needs no key. Exits 0 only if all four completed.
    """
    session = session_of(context)
    repository, said = choose_repository(session.surroundings.directory, in_place=here)
    if not as_json:
        click.echo(f"Three agents side by side {said}, and a fourth that needs what they write.\n")
    started = time.monotonic()

    async def work(orchestrations: Orchestrations) -> tuple[Orchestration, int, ResultsAnswer, TaskRecord]:
        orchestration = await orchestrations.begin("devsh demo")
        batch = await orchestration.spawn_batch(PLAN)
        code = await _watched(orchestration, as_json=as_json)
        if not as_json:
            warn(batch.warnings)
        return orchestration, code, await orchestration.results(), await orchestration.status("report")

    with interruptible("The demonstration's agents end by themselves in a few seconds."):
        orchestration, code, results, report = ask(session, work, directory=repository)
    if as_json:
        write_json(document(results) | {"repository": str(repository)})
        return code
    _tell(results, report, time.monotonic() - started)
    _say_next(orchestration, repository, report, session.surroundings.environment)
    return code


async def _watched(orchestration: Orchestration, *, as_json: bool) -> int:
    with anyio.move_on_after(LONGEST):
        if not as_json:
            return await Watch(orchestration, None, interval=REDRAWN, as_json=False, says_where=False).run()
        answer = await orchestration.wait(WaitRequest(ids=tuple(task.id for task in PLAN.tasks)))
        return failure.OK if all(row.status == "completed" for row in answer.tasks) else failure.FAILED
    return failure.TIMEOUT


def _tell(results: ResultsAnswer, report: TaskRecord, seconds: float) -> None:
    click.echo(click.style("\nEach worked on a branch of its own:", bold=True))
    for result in results.results:
        click.echo(f"  {result.branch or result.error_message or result.status}{diff_text(result.commits, result.diff_stat)}")
    if report.status == "completed":
        click.echo(click.style("\nThe fourth began with the work of the three, merged, and wrote devsh-demo/report.md:", bold=True))
    show_text(report.result or report.error_message, report.result_path)
    completed = f"{results.completed_tasks} of {results.total_tasks} tasks completed in {seconds:.1f} s"
    click.echo(f"\n{click.style(completed, fg='green' if results.completed_tasks == results.total_tasks else 'red', bold=True)}")
    facts([("isolation", report.isolation)])


def _say_next(orchestration: Orchestration, repository: Path, report: TaskRecord, environment: Mapping[str, str]) -> None:
    lines = [quoted("cd", str(repository))]
    if report.branch and report.status == "completed":
        lines += [quoted("git", "diff", f"{report.base_branch or 'HEAD'}...{report.branch}"), quoted("git", "merge", report.branch)]
    lines += ["devsh orchestrate results", 'devsh orchestrate spawn --agent shell/bash "git log --oneline"']
    click.echo(click.style("\nNext:", bold=True))
    for line in lines:
        click.echo(f"  {line}")
    click.echo(f"\n{real_work(environment)}")
    where(orchestration.directory)


def real_work(environment: Mapping[str, str]) -> str:
    """Which agent with a model could be handed work here, and by what command; else how to get one."""
    agents = find_agents(environment)
    ready = next((agent for agent in agents if agent.path and agent.login), None)
    if ready is not None and ready.login is not None:
        model = "haiku" if ready.name == "claude" else "default"
        line = f'devsh orchestrate spawn --agent {ready.name}/{model} "Say what this repository is for, in README.md"'
        return f"Found here: {ready.name}, {ready.login.payer} ({ready.login.place}). Hand it real work:\n  {line}"
    here = next((agent for agent in agents if agent.path), None)
    if here is not None:
        return f"Found here: {here.name}, which is not logged in. {here.kind.log_in[:1].upper()}{here.kind.log_in[1:]}."
    return f"No agent with a model is installed here. {agents[0].name}: {agents[0].kind.install}; then `devsh doctor` says what is missing."
