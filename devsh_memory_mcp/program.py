"""The program `devsh-memory-mcp` in a process of its own: its arguments, who calls, and the server that they come to.

Nothing but the protocol goes to stdout, logs go to stderr.
"""

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, NamedTuple

from devsh_memory_mcp.config import VERSION, Caller, identity_of, memory_root
from devsh_memory_mcp.domain.names import HEAD
from devsh_memory_mcp.errors import DevshError

LOG_FORMAT = "devsh-memory-mcp: %(levelname)s: %(message)s"


class Session(NamedTuple):
    """What serves one client: the server (`MCPServer`), and how many bytes a message to it may have."""

    server: Any
    longest: int


def main(arguments: Sequence[str]) -> None:
    """Serves until the client goes (exit 0) or a signal comes (128 + its number)."""
    parsed(arguments)  # for --help and --version, which need nothing of what follows
    # Before the SDK, which would otherwise configure logging its own way.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format=LOG_FORMAT)
    from devsh_memory_mcp.faces.mcp_transport import run_stdio  # slow to import: the SDK alone takes a second

    run_stdio(*make_session(arguments, os.environ, os.getcwd()))


def make_session(arguments: Sequence[str], environment: Mapping[str, str], directory: str) -> Session:
    """For a client who started the program so, in that directory. SystemExit where the arguments are wrong."""
    from devsh_memory_mcp.faces.mcp_server import build_server
    from devsh_memory_mcp.faces.mcp_transport import LONGEST_LINE, LONGEST_OF_AGENTS
    from devsh_memory_mcp.ports import Orchestrations

    given = parsed(arguments)
    root = given.dir and os.path.join(directory, given.dir)

    def opened(caller: Caller) -> AbstractAsyncContextManager[Orchestrations]:
        from devsh_memory_mcp.wiring import open_orchestrations  # the engine: not before the first call needs it

        named = given.orchestration_id or caller.environment.get("CMUX_ORCHESTRATION_ID") or None
        return open_orchestrations(memory_root(root, caller.environment), caller, named)

    caller = _recognised(_caller(given.agent_name, environment, directory, is_worker=given.worker), root)
    asks_roots = not given.worker and "CLAUDE_PROJECT_DIR" not in environment
    return Session(build_server(opened, caller, asks_roots=asks_roots), LONGEST_OF_AGENTS if given.worker else LONGEST_LINE)


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments. SystemExit where they are wrong, or ask for no more than a text."""
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


def _caller(agent_name: str | None, environment: Mapping[str, str], directory: str, *, is_worker: bool) -> Caller:
    """Who speaks. The head agent's name stays empty where nobody gave one: the client's own name is asked for then."""
    return Caller(
        directory=Path(directory, environment.get("CLAUDE_PROJECT_DIR") or ""),
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
