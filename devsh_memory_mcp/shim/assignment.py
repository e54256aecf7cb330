"""What an agent's adapter is told of an attempt."""

import typing

from devsh_memory_mcp.agents.adapter import Assignment, Session
from devsh_memory_mcp.shim import rundir
from devsh_memory_mcp.shim.mcp_socket import bridge_command
from devsh_memory_mcp.shim.rundir import Run


def assignment_of(run: Run, directory: str, environment: typing.Mapping[str, str], *, is_walled: bool = False) -> Assignment:
    """For the attempt in that run directory; `is_walled` says that it is in a sandbox."""
    return Assignment(
        run.agent_name,
        run.prompt,
        f"{directory}/{rundir.PROMPT_FILE}",
        f"{directory}/{rundir.WORKSPACE_DIRECTORY}",
        environment,
        session=Session(*run.session) if run.session else None,
        permissions=run.permissions,
        allow=run.allow,
        hide=() if is_walled else run.hide,  # they are in its user's settings, which are not there inside
        cost_basis=run.cost_basis,
        server=bridge_command() if is_walled and run.server_command else run.server_command,
        max_turns=run.max_turns,
        max_cost_usd=run.max_cost_usd,
        is_walled=is_walled,
    )
