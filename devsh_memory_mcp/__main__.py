"""`devsh-memory-mcp`: the MCP server over stdin and stdout. Nothing but the protocol goes to stdout, logs go to stderr."""

import argparse
import logging
import os
import sys
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from devsh_memory_mcp.config import VERSION, Caller, identity_of, memory_root
from devsh_memory_mcp.domain.names import HEAD
from devsh_memory_mcp.errors import DevshError


def main() -> None:
    """Serves until the client goes (exit 0) or a signal comes (128 + its number)."""
    given = _arguments(sys.argv[1:])
    # Before the SDK, which would otherwise configure logging its own way.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="devsh-memory-mcp: %(levelname)s: %(message)s")
    # What is slow to import, and not needed for --help and --version: the SDK alone takes a second.
    from devsh_memory_mcp.faces.mcp_server import build_server
    from devsh_memory_mcp.faces.mcp_transport import LONGEST_LINE, LONGEST_OF_AGENTS, run_stdio
    from devsh_memory_mcp.ports import Orchestrations

    def opened(caller: Caller) -> AbstractAsyncContextManager[Orchestrations]:
        from devsh_memory_mcp.wiring import open_orchestrations  # the engine: not before the first call needs it

        root = memory_root(given.dir, caller.environment)
        return open_orchestrations(root, caller, given.orchestration_id or caller.environment.get("CMUX_ORCHESTRATION_ID") or None)

    caller = _recognised(_caller(given.agent_name, os.environ, is_worker=given.worker), given.dir)
    asks_roots = not given.worker and "CLAUDE_PROJECT_DIR" not in os.environ
    run_stdio(build_server(opened, caller, asks_roots=asks_roots), LONGEST_OF_AGENTS if given.worker else LONGEST_LINE)


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="devsh-memory-mcp", description="The MCP server of devsh, over stdin and stdout.", allow_abbrev=False
    )
    parser.add_argument(
        "--dir",
        metavar="PATH",
        help="memory root (default: DEVSH_MEMORY_DIR, else /root/lifecycle/memory where that can be written, else ~/.local/state/devsh)",
    )
    parser.add_argument(
        "--agent-name", "--agent", metavar="NAME", help="name of the head agent (default: CMUX_HEAD_AGENT, else the client's name)"
    )
    parser.add_argument(
        "--orchestration-id", metavar="ID", help="orchestration to work on (default: CMUX_ORCHESTRATION_ID, else the session's own)"
    )
    parser.add_argument("--worker", action="store_true", help="serve a sub-agent, which is never a head (how agents' own are started)")
    parser.add_argument("--version", action="version", version=f"devsh-memory-mcp {VERSION}")
    return parser.parse_args(arguments)


def _caller(agent_name: str | None, environment: Mapping[str, str], *, is_worker: bool) -> Caller:
    """Who speaks. The head agent's name stays empty where nobody gave one: the client's own name is asked for then."""
    return Caller(
        directory=Path(environment.get("CLAUDE_PROJECT_DIR") or os.getcwd()),
        environment=dict(environment),
        identity=environment.get("CMUX_TASK_RUN_ID") or HEAD if is_worker else identity_of(environment),
        head_agent=agent_name or environment.get("CMUX_HEAD_AGENT") or "",
        session=environment.get("CLAUDE_CODE_SESSION_ID") or None,
        is_shell=False,
        is_worker=is_worker,
    )


def _recognised(caller: Caller, directory: str | None) -> Caller:
    """Which tools there are is settled before the first call, so whoever says that he is an agent is looked up now."""
    if caller.is_head:
        return caller
    from devsh_memory_mcp.wiring import recognise  # the engine: a head's start does not pay for it

    try:
        return recognise(memory_root(directory, caller.environment), caller)
    except DevshError:
        return caller  # the first call says what is wrong


if __name__ == "__main__":
    main()
