"""The program `devsh-memory-mcp` in a process of its own: its arguments, who calls, and the server that they come to.

Nothing but the protocol goes to stdout, logs go to stderr.
"""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from devsh_memory_mcp.config import BASE_URLS, TOKEN_VARIABLE, VERSION, Caller, identity_of, memory_root
from devsh_memory_mcp.domain.names import HEAD
from devsh_memory_mcp.errors import DevshError, MemoryRootUnusable, Unauthenticated

Open = Callable[[Caller], AbstractAsyncContextManager[Any]]

PORT = 9776
LOG_FORMAT = "devsh-memory-mcp: %(levelname)s: %(message)s"


class Session(NamedTuple):
    """What serves one client: the server (`MCPServer`), and how many bytes a message to it may have."""

    server: Any
    longest: int


def main(arguments: Sequence[str]) -> None:
    """Serves until the client goes (exit 0) or a signal comes (128 + its number)."""
    given = parsed(arguments)  # for --help and --version, which need nothing of what follows
    if given.transport != "stdio":
        sys.exit(_serve_many(given))
    # Before the SDK, which would otherwise configure logging its own way.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format=LOG_FORMAT)
    from devsh_memory_mcp.faces.mcp_transport import run_stdio  # slow to import: the SDK alone takes a second

    run_stdio(*make_session(arguments, os.environ, os.getcwd()))


def make_session(arguments: Sequence[str], environment: Mapping[str, str], directory: str) -> Session:
    """For a client who started the program so, in that directory. SystemExit where the arguments are wrong."""
    from devsh_memory_mcp.faces.mcp_server import build_server
    from devsh_memory_mcp.faces.mcp_transport import LONGEST_LINE, LONGEST_OF_AGENTS

    given = parsed(arguments)
    given.dir = given.dir and os.path.join(directory, given.dir)
    caller = _caller(given.agent_name, environment, directory, is_worker=given.worker)
    if given.led:
        caller = replace(caller, scope=environment.get("CMUX_ORCHESTRATION_ID", ""))
    is_agents = given.worker or given.led
    is_remote = given.remote is not None or _has_server(given, environment)
    if not is_remote:
        caller = _recognised(caller, given.dir)
    asks_roots = not is_agents and "CLAUDE_PROJECT_DIR" not in environment
    opened = _dialled(given) if is_remote else _opened(given)
    server = build_server(opened, caller, asks_roots=asks_roots, is_here=not is_remote)
    return Session(server, LONGEST_OF_AGENTS if is_agents else LONGEST_LINE)


def _opened(given: argparse.Namespace) -> Open:
    """The way to the orchestrations of this machine."""

    def opened(caller: Caller) -> AbstractAsyncContextManager[Any]:
        from devsh_memory_mcp.wiring import open_orchestrations  # the engine: not before the first call needs it

        _token(given, caller)
        return open_orchestrations(memory_root(given.dir, caller.environment), caller, _named(given, caller))

    return opened


def _dialled(given: argparse.Namespace) -> Open:
    """The way to those of a server."""

    def dialled(caller: Caller) -> AbstractAsyncContextManager[Any]:
        from devsh_memory_mcp.faces.http_address import address_of
        from devsh_memory_mcp.faces.http_client import open_remote

        address = address_of(given.remote, caller.environment)
        assert address is not None
        return open_remote(address, _token(given, caller), caller, _named(given, caller), mirror=_mirror(given, caller))

    return dialled


def _mirror(given: argparse.Namespace, caller: Caller) -> Path | None:
    """The memory root of this machine, into which a pull brings the server's files; None where there is none, as in a sandbox."""
    try:
        return memory_root(given.dir, caller.environment)
    except MemoryRootUnusable:
        return None


def _named(given: argparse.Namespace, caller: Caller) -> str | None:
    return given.orchestration_id or caller.environment.get("CMUX_ORCHESTRATION_ID") or None


def _token(given: argparse.Namespace, caller: Caller) -> str | None:
    """What is shown to a server; Unauthenticated where there has to be one and there is none."""
    token = caller.environment.get(TOKEN_VARIABLE) or None
    if token is None and given.use_env_jwt:
        raise Unauthenticated(f"--use-env-jwt is given, and {TOKEN_VARIABLE} is not set.")
    return token


def _has_server(given: argparse.Namespace, environment: Mapping[str, str]) -> bool:
    """Whether the environment names one; a sub-agent's own server is on its agent's machine, whatever that is told."""
    return not given.worker and not given.led and any(environment.get(name) for name in BASE_URLS)


def _serve_many(given: argparse.Namespace) -> int:
    """One server for all who reach it, as `devsh serve` is one."""
    from devsh_memory_mcp.cli.hosting import Listening, run
    from devsh_memory_mcp.cli.session import Session as CliSession
    from devsh_memory_mcp.cli.session import Surroundings

    try:
        listening = Listening(given.host, given.port, None, ())
        return run(CliSession(Surroundings(), given.dir, None), listening, None, as_json=False, transport=given.transport)
    except DevshError as error:
        sys.stderr.write(f"devsh-memory-mcp: {error}. {error.next_step}\n")
        return 1


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments. SystemExit where they are wrong, or ask for no more than a text."""
    parser = argparse.ArgumentParser(
        prog="devsh-memory-mcp", description="The MCP server of devsh: over stdin and stdout, or over HTTP.", allow_abbrev=False
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
    parser.add_argument(
        "--transport",
        choices=("stdio", "streamable-http", "sse"),
        default="stdio",
        help="how clients reach it: over stdin and stdout (default), or many at a time over HTTP, each with a token of `devsh token`",
    )
    parser.add_argument("--host", default="127.0.0.1", metavar="HOST", help="address to listen at over HTTP (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=PORT, metavar="N", help=f"and its port (default: {PORT})")
    parser.add_argument(
        "--remote", metavar="URL", help="work at a server (`devsh serve`) instead of on this machine (default: CMUX_API_BASE_URL)"
    )
    parser.add_argument("--use-env-jwt", action="store_true", help="fail where CMUX_TASK_RUN_JWT, which the server is shown, is not set")
    parser.add_argument("--worker", action="store_true", help="serve a sub-agent, which is never a head (how agents' own are started)")
    parser.add_argument("--led", action="store_true", help="serve an agent that leads, in its own orchestration (how theirs are started)")
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
