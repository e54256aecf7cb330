"""What `devsh serve` does once its options are read: listen, say where, and serve until it is told to end."""

import ipaddress
import logging
import shlex
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import anyio
import click

from devsh_memory_mcp.cli.output import warn, write_json
from devsh_memory_mcp.cli.session import Session
from devsh_memory_mcp.faces.http_mcp import mcp_over_http
from devsh_memory_mcp.faces.http_server import build_app
from devsh_memory_mcp.faces.serving import serve, tcp_socket, unix_socket
from devsh_memory_mcp.store.server_key import server_key
from devsh_memory_mcp.wiring import hosting


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a server is reached; without `host` at no network address. `hosts` are further names of it."""

    host: str | None
    port: int
    socket: Path | None
    hosts: tuple[str, ...]


def run(session: Session, listening: Listening, tls: tuple[str, str] | None, *, as_json: bool, transport: str = "streamable-http") -> int:
    """Serves until a signal comes; the exit code. `transport` is the one that is shown for MCP."""
    logging.basicConfig(level=logging.WARNING, format="devsh serve: %(levelname)s: %(message)s")
    root, environment = session.root, session.surroundings.environment
    key, names = server_key(environment), _names(listening)
    app = build_app(key, hosting(root, environment), lambda: datetime.now(UTC), [mcp_over_http], names)
    with ExitStack() as stack:
        sockets: list[socket.socket] = []
        urls: list[str] = []
        if listening.host is not None:
            made = stack.enter_context(tcp_socket(listening.host, listening.port))
            sockets.append(made)
            urls.append(_url(made, "https" if tls else "http"))
        if listening.socket is not None:
            path = session.surroundings.directory / listening.socket
            sockets.append(stack.enter_context(unix_socket(path)))
            stack.callback(path.unlink, missing_ok=True)
            urls.append(f"unix:{path}")
        told = partial(_tell, urls, root, transport, as_json=as_json)
        if listening.host is not None and tls is None and not ipaddress.ip_address(sockets[0].getsockname()[0]).is_loopback:
            warn(["Tokens and answers cross the network as they are: --tls-cert and --tls-key, or a proxy before it, hide them."])
        caught = anyio.run(partial(serve, app, sockets, started=told, leaving=app.state.leave, tls=tls))
    if not as_json:
        click.echo("\nended; agents go on", err=True)
    return 0 if caught else 1


def _names(listening: Listening) -> tuple[str, ...]:
    return (*listening.hosts, *((listening.host,) if listening.host else ()))


def _url(made: socket.socket, scheme: str) -> str:
    host, port = made.getsockname()[:2]
    address = ipaddress.ip_address(host)
    shown = socket.gethostname() if address.is_unspecified else f"[{host}]" if address.version == 6 else host
    return f"{scheme}://{shown}:{port}"


def _tell(urls: Sequence[str], root: Path, transport: str, *, as_json: bool) -> None:
    if as_json:
        write_json({"urls": list(urls), "memoryRoot": str(root)}, compact=True)
        return
    for url in urls:
        click.echo(f"{click.style(url, bold=True)}")
    shown = urls[0]
    click.echo(f"  memory    {root}")
    click.echo("  token     devsh token                      (give it to a client as CMUX_TASK_RUN_JWT)")
    click.echo(f"  CLI       CMUX_TASK_RUN_JWT=… devsh orchestrate --help; devsh orchestrate list --remote {shlex.quote(shown)}")
    if shown.startswith("http"):
        kind, path = ("sse", "sse") if transport == "sse" else ("http", "mcp")
        line = f'claude mcp add --transport {kind} devsh-memory {shown}/{path} --header "Authorization: Bearer $(devsh token)"'
        click.echo(f"  Claude    {line}")
