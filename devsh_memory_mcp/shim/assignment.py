"""What an agent's adapter is told of an attempt."""

import typing

from devsh_memory_mcp.agents.adapter import Assignment, Session
from devsh_memory_mcp.agents.plain import session_word
from devsh_memory_mcp.errors import InvalidId
from devsh_memory_mcp.shim import rundir
from devsh_memory_mcp.shim.mcp_socket import bridge_command
from devsh_memory_mcp.shim.rundir import TOKEN_VARIABLE, Run


def assignment_of(run: Run, directory: str, environment: typing.Mapping[str, str], inside: str | None = None) -> Assignment:
    """For the attempt in that run directory; `inside` is where our MCP server is found in its sandbox, None without one."""
    is_walled = inside is not None
    return Assignment(
        run.agent_name,
        run.prompt,
        f"{directory}/{rundir.PROMPT_FILE}",
        f"{directory}/{rundir.WORKSPACE_DIRECTORY}",
        environment,
        session=Session(run.session.id, resumed(run), run.session.cost_usd) if run.session else None,
        permissions=run.permissions,
        allow=run.allow,
        hide=() if is_walled else run.hide,  # they are in its user's settings, which are not there inside
        cost_basis=run.cost_basis,
        server=bridge_command(inside) if inside is not None and run.server_command else run.server_command,
        max_turns=run.max_turns,
        max_cost_usd=run.max_cost_usd,
        is_walled=is_walled,
    )


def resumed(run: Run) -> str | None:
    """The session that the agent goes on with, None where it begins anew. InvalidId."""
    given = run.session.resumes if run.session else None
    if given is None or session_word(given) is not None:
        return given
    raise InvalidId("What it was to go on with is no id of a session.", next_step="Spawn a new task, without --resume.")


class Shown(typing.NamedTuple):
    """`login` is what the agent's environment has beside what was recorded, `known` what its adapter is told of that environment.

    `credentials` are the variables of the login by name.
    """

    login: typing.Mapping[str, str]
    known: typing.Mapping[str, str]
    credentials: tuple[str, ...]


def shown_to(
    environment: typing.Mapping[str, str], secrets: typing.Mapping[str, str], instead: typing.Mapping[str, str], *, is_walled: bool
) -> Shown:
    """The secrets themselves where the agent is not in a sandbox; there, nothing of them but what stands for them `instead`.

    Its token is the agent's own in any case.
    """
    login = instead if is_walled else secrets
    known = {**environment, **instead} if is_walled else environment
    credentials = tuple(name for name in secrets if name in login and name != TOKEN_VARIABLE)
    return Shown({**login, **({TOKEN_VARIABLE: secrets[TOKEN_VARIABLE]} if TOKEN_VARIABLE in secrets else {})}, known, credentials)
