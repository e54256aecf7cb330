"""`devsh auth`: with what agents are logged in, where that is not to be what the caller's shell or the CLI itself has."""

import os
import shutil
import sys
from collections.abc import Mapping

import click

from devsh_memory_mcp.cli.checkout import hand_over
from devsh_memory_mcp.cli.group import command
from devsh_memory_mcp.cli.output import write_json
from devsh_memory_mcp.cli.session import Session, session_of
from devsh_memory_mcp.domain.records import Billing
from devsh_memory_mcp.errors import InvalidRequest
from devsh_memory_mcp.inventory import AgentCli, find_agents
from devsh_memory_mcp.logins import KINDS, forget, kind_of, place, store

_LONGEST = 16 * 1024


@command(
    "auth",
    "devsh auth claude",
    "devsh auth claude < token.txt",
    "devsh auth codex --billing api",
    "devsh auth",
    "devsh auth claude --remove",
    hides=("orchestration_id",),
    short_help="Store what agents are logged in with.",
)
@click.argument("program", type=click.Choice(list(KINDS)), required=False)
@click.option("--billing", type=click.Choice(["subscription", "api"]), help="What it is: a subscription's token, or a key.")
@click.option("--remove", is_flag=True, help="Forget what was stored for it.")
@click.option("--status", is_flag=True, help="Show what each is logged in with, and who pays; so does leaving out PROGRAM.")
@click.pass_context
def auth(context: click.Context, *, program: str | None, billing: Billing | None, remove: bool, status: bool, as_json: bool) -> None:
    """Store a key or a token for the agents of one program. It comes before those in your environment and before the program's own login.

    At a terminal it runs `claude setup-token` for Claude Code, whose token lasts a year, is paid by your subscription and serves many
    agents at once; else it reads the first line of stdin. It is kept in a file that only you can read (0600), in no keyring.
    """
    session = session_of(context)
    environment = session.surroundings.environment
    if program is None or status:
        if program is None and (remove or billing):
            raise click.UsageError(f"Say for which program: {', '.join(KINDS)}.")
        _show(session, program, as_json=as_json)
    elif remove:
        was_there = forget(program, environment)
        if as_json:
            write_json({"program": program, "removed": was_there})
        else:
            click.echo(f"Forgotten for {program}." if was_there else f"Nothing was stored for {program}.")
    else:
        _demand_place(session)
        value = _ask(program, billing, session, as_json=as_json)
        kind = kind_of(program, value, billing)
        where = store(program, value, kind, environment)
        if as_json:
            write_json({"program": program, "billing": kind, "path": str(where)})
            return
        click.echo(f"Stored for {program} in {where}; paid by {'your subscription' if kind == 'subscription' else 'the token'}.")


def _demand_place(session: Session) -> None:
    """InvalidRequest where the configuration lies in a memory root, which agents are shown."""
    path = place(session.surroundings.environment)
    if path.resolve().is_relative_to(session.root.resolve()):
        raise InvalidRequest(f"{path} is in the memory root {session.root}.", next_step="Set XDG_CONFIG_HOME, or --dir, to another place.")


def _ask(program: str, billing: Billing | None, session: Session, *, as_json: bool) -> str:
    """From a person at a terminal, unseen; else the first line of stdin."""
    if as_json or not sys.stdin.isatty():
        value = sys.stdin.readline(_LONGEST).strip()
        if not value:
            raise InvalidRequest("There is no key or token on stdin.", next_step=f"devsh auth {program} < FILE, or at a terminal.")
        return value
    environment = session.surroundings.environment
    if program == "claude" and billing != "api" and _has(program, environment):
        click.echo("claude setup-token gives a token for your subscription; copy what it prints.", err=True)
        hand_over(("claude", "setup-token"), session.surroundings.directory, environment)
    answer: str = click.prompt(f"Key or token of {program} (it is not shown)", hide_input=True, err=True)
    return answer.strip()


def _has(program: str, environment: Mapping[str, str]) -> bool:
    return shutil.which(program, path=environment.get("PATH", os.defpath)) is not None


def _show(session: Session, program: str | None, *, as_json: bool) -> None:
    agents = [agent for agent in find_agents(session.surroundings.environment) if agent.name in KINDS and program in (None, agent.name)]
    if as_json:
        write_json({"logins": {agent.name: [_document(agent, at) for at in range(len(agent.logins))] for agent in agents}})
        return
    for agent in agents:
        if agent.login is None:
            click.echo(f"{agent.name:<8} no login was found; devsh auth {agent.name} stores one")
        for at, login in enumerate(agent.logins):
            click.echo(
                f"{agent.name if at == 0 else '':<8} {login.place}, {login.payer}{'' if at == 0 else click.style(', not used', dim=True)}"
            )


def _document(agent: AgentCli, at: int) -> dict[str, object]:
    login = agent.logins[at]
    return {"place": login.place, "stored": login.is_stored, "costBasis": login.cost_basis, "plan": login.plan, "used": at == 0}
