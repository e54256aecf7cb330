"""Who calls on this machine, where a token is to say so: the same as at a server, without one."""

from dataclasses import replace
from datetime import UTC, datetime

from devsh_memory_mcp.config import Caller
from devsh_memory_mcp.domain.names import HEAD
from devsh_memory_mcp.errors import Unauthenticated
from devsh_memory_mcp.faces.tokens import verify
from devsh_memory_mcp.store.server_key import server_key


def borne(token: str, caller: Caller) -> tuple[Caller, str | None]:
    """The caller as the token knows him, and the orchestration that it is for. Unauthenticated."""
    claims = verify(server_key(caller.environment), token, datetime.now(UTC))
    if claims.is_guest:
        raise Unauthenticated("The token is a guest's.", next_step="Show it to a server: --remote, or CMUX_API_BASE_URL.")
    if claims.role == "worker":
        return replace(caller, identity=claims.task_run_id), claims.orchestration_id
    return replace(caller, identity=HEAD, run=claims.task_run_id if claims.role == "head" else None), claims.orchestration_id
