"""`devsh orchestrate results`: what all tasks came to, and the lines to type next."""

import click

from devsh_memory_mcp.cli.asking import ask, find, is_current
from devsh_memory_mcp.cli.board import counts
from devsh_memory_mcp.cli.detail import show_result
from devsh_memory_mcp.cli.group import command
from devsh_memory_mcp.cli.output import warn, where, write_json
from devsh_memory_mcp.cli.session import session_of
from devsh_memory_mcp.domain.aftermath import advice, conflict_text, lines_after
from devsh_memory_mcp.domain.answers import ResultsAnswer
from devsh_memory_mcp.errors import NotFound
from devsh_memory_mcp.ports import Orchestrations


@command(
    "results",
    "devsh orchestrate results",
    "devsh orchestrate results orch_abc123 --json",
    "devsh orchestrate results ns7abc12345",
    use_env_jwt_shown=True,
    short_help="What came of the tasks, and what to type next.",
)
@click.argument("any_id", metavar="[ORCHESTRATION-ID]", required=False)
@click.pass_context
def results(context: click.Context, any_id: str | None, *, as_json: bool) -> None:
    """Show the results of an orchestration (without ID the current one), or of one task."""

    session = session_of(context)

    async def work(orchestrations: Orchestrations) -> tuple[ResultsAnswer, bool]:
        orchestration, task_id = await find(orchestrations, any_id)
        answer = await orchestration.results()
        found = answer if task_id is None else _only(answer, task_id)
        return found, await is_current(session, orchestrations, orchestration)

    answer, by_name = ask(session, work)
    if as_json:
        write_json(answer)
    else:
        show(answer, by_name=by_name)


def show(answer: ResultsAnswer, *, by_name: bool = False) -> None:
    """For people; ends with the path. The lines to type call tasks by their names where these mean them."""
    found = counts(result.status for result in answer.results)
    click.echo(f"{click.style(answer.orchestration_id, bold=True)}  {answer.status}: {found}\n")
    for result in answer.results:
        show_result(result)
    for conflict in answer.conflicts:
        click.echo(f"{click.style('conflict', fg='yellow')}  {conflict_text(conflict)}: the second of them to be merged needs your hand")
    warn(answer.warnings)
    lines = lines_after(answer.results, by_name=by_name)
    if lines:
        click.echo(click.style("Next:", bold=True))
    for line in lines:
        click.echo(f"  {line}")
    where(answer.directory)


def _only(answer: ResultsAnswer, any_id: str) -> ResultsAnswer:
    found = [result for result in answer.results if any_id in (result.orchestration_task_id, result.id, result.task_run_id)]
    if not found:
        raise NotFound(f"There is no task {any_id!r}.")
    status = "failed" if found[0].status == "cancelled" else found[0].status
    completed = sum(1 for result in found if result.status == "completed")
    conflicts = tuple(each for each in answer.conflicts if found[0].orchestration_task_id in each.orchestration_task_ids)
    changed = {"results": tuple(found), "status": status, "total_tasks": 1, "completed_tasks": completed, "conflicts": conflicts}
    return answer.model_copy(update=changed | {"next": advice(found, conflicts)})
