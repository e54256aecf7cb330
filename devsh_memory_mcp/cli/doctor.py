"""`devsh doctor`: what is here, what is missing, and the command that gets it."""

import anyio
import click

from devsh_memory_mcp.cli import failure
from devsh_memory_mcp.cli.group import command
from devsh_memory_mcp.cli.output import write_json
from devsh_memory_mcp.cli.session import session_of
from devsh_memory_mcp.config import VERSION
from devsh_memory_mcp.engine.checkup import Checkup, examine
from devsh_memory_mcp.inventory import AgentCli, Login

MARKS = {"ok": ("ok", "green"), "note": ("note", "yellow"), "missing": ("missing", "red")}


@command("doctor", "devsh doctor", "devsh doctor --json", hides=("orchestration_id",), short_help="What is here, and what is missing.")
@click.pass_context
def doctor(context: click.Context, *, as_json: bool) -> int:
    """Look for agents' CLIs and their logins, git, the memory root, settings, and what stands in the way.

    Says who pays where there are several logins, and for what is missing the command that gets it. Exits 0 when a task that names no agent
    could be handed out here, 1 otherwise. It takes a few seconds at most and shows no secret.
    """
    session = session_of(context)
    checkup = anyio.run(examine, session.caller(), session.given_root)
    if as_json:
        write_json(_document(checkup))
        return failure.OK if checkup.is_well else failure.FAILED
    for agent in checkup.agents:
        _line(*_agent(agent, checkup))
    for check in checkup.checks:
        _line(check.state, check.topic, check.said, check.remedy)
    if checkup.is_well:
        click.echo(click.style("\nAll is here that the work needs.", fg="green"))
        return failure.OK
    click.echo(click.style("\nSomething is missing that the work needs; see above.", fg="red"))
    return failure.FAILED


def _agent(agent: AgentCli, checkup: Checkup) -> tuple[str, str, str, str | None]:
    """Its line; a CLI that is not there is nothing to worry about as long as nobody wants it."""
    if agent.path is None:
        return "note", agent.name, "is not on your PATH", agent.kind.install
    said = f"{checkup.versions.get(agent.name, 'does not answer')}, {agent.path}"
    if agent.login is None:
        return "note", agent.name, f"{said}; no login was found", agent.kind.log_in
    return "ok", agent.name, f"{said}; {_login(agent.login)}", None


def _login(login: Login) -> str:
    return f"login: {login.place}, {login.payer}"


def _line(state: str, topic: str, said: str, remedy: str | None) -> None:
    word, colour = MARKS[state]
    click.echo(f"{click.style(f'{word:<8}', fg=colour)}{topic:<14} {said}")
    if remedy:
        click.echo(f"{'':<22} {click.style('→', dim=True)} {remedy}")


def _document(checkup: Checkup) -> dict[str, object]:
    return {
        "ok": checkup.is_well,
        "version": VERSION,
        "agents": [
            {
                "name": agent.name,
                "path": agent.path,
                "version": checkup.versions.get(agent.name),
                "usable": agent.path is not None and agent.login is not None,
                "logins": [{"place": login.place, "costBasis": login.cost_basis, "plan": login.plan} for login in agent.logins],
            }
            for agent in checkup.agents
        ],
        "checks": [{"topic": check.topic, "state": check.state, "message": check.said, "next": check.remedy} for check in checkup.checks],
    }
