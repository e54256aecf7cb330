"""`devsh serve` and `devsh token`: this machine's orchestrations for others, and what they show to be let in."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from click.core import ParameterSource

from devsh_memory_mcp.cli.durations import Milliseconds
from devsh_memory_mcp.cli.group import command
from devsh_memory_mcp.cli.output import write_json
from devsh_memory_mcp.cli.session import session_of
from devsh_memory_mcp.config import OPERATOR
from devsh_memory_mcp.domain.names import checked_id
from devsh_memory_mcp.errors import InvalidRequest

PORT = 9776
USUAL_LIFE = timedelta(days=30)
MOST_SIGNAL = 128


@command(
    "serve",
    "devsh serve",
    "devsh serve --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem",
    "devsh serve --socket /run/user/1000/devsh.sock",
    hides=("orchestration_id", "remote", "use_env_jwt"),
    short_help="Serve this memory root over HTTP.",
)
@click.option("--host", metavar="HOST", help="Address to listen at (default: 127.0.0.1, or none with --socket alone).")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, metavar="N", help="0 takes any that is free.")
@click.option("--socket", "socket_path", type=click.Path(path_type=Path), metavar="PATH", help="Listen at a unix socket too.")
@click.option("--tls-cert", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE", help="Certificate (PEM).")
@click.option("--tls-key", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE", help="Its private key (PEM).")
@click.option("--allow-host", "hosts", multiple=True, metavar="NAME", help="A name under which clients reach it (can repeat).")
@click.pass_context
def serve(
    context: click.Context,
    *,
    host: str | None,
    port: int,
    socket_path: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    hosts: tuple[str, ...],
    as_json: bool,
) -> int:
    """Serve this memory root over HTTP: the API, live events and MCP, for CLIs and agents elsewhere.

    Every request needs a token; `devsh token` makes one. Ctrl-C or SIGTERM end the server, never an agent.
    """
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key belong together.")
    session = session_of(context)
    from devsh_memory_mcp.cli import hosting  # the web stack: half a second that no other command pays

    asked = host is not None or context.get_parameter_source("port") is ParameterSource.COMMANDLINE or socket_path is None
    listening = hosting.Listening((host or "127.0.0.1") if asked else None, port, socket_path, hosts)
    tls = (str(tls_cert), str(tls_key)) if tls_cert and tls_key else None
    return hosting.run(session, listening, tls, as_json=as_json)


@command(
    "token",
    "devsh token",
    "devsh token --owner anna --expires 90d",
    "devsh token --head orch_abc123def456",
    "export CMUX_TASK_RUN_JWT=$(devsh token)",
    hides=("orchestration_id", "remote", "use_env_jwt"),
    short_help="Make a token for `devsh serve`.",
)
@click.option("--head", metavar="ORCHESTRATION", help="For whoever leads this orchestration, and for nothing else.")
@click.option("--worker", metavar="TASK-RUN", help="For the agent of this task run: it reads, and writes messages.")
@click.option("--owner", metavar="NAME", help="For a guest: a home and orchestrations of his own, sandboxes only, never your logins.")
@click.option(
    "--expires", "milliseconds", type=Milliseconds(may_be_zero=False), metavar="DURATION", help="How long it is good (default: 30d)."
)
@click.pass_context
def token(
    context: click.Context, *, head: str | None, worker: str | None, owner: str | None, milliseconds: int | None, as_json: bool
) -> None:
    """Make a token, on stdout. Without --head or --worker whoever has it does all that you do with `devsh orchestrate`.

    It is signed with the key of your config directory (or CMUX_TASK_RUN_JWT_SECRET): whoever removes that ends all tokens.
    """
    if head and worker:
        raise click.UsageError("--head and --worker are two kinds of token: give one of them.")
    session = session_of(context)
    from devsh_memory_mcp.faces.tokens import NOBODY, TEAM, Claims, Role, mint
    from devsh_memory_mcp.store.server_key import server_key

    now = datetime.now(UTC)
    role: Role = "head" if head else "worker" if worker else "user"
    claims = Claims(
        task_run_id=worker or NOBODY,
        team_id=TEAM,
        user_id=_owner(owner),
        orchestration_id=head,
        role=role,
        iat=now,
        exp=now + (timedelta(milliseconds=milliseconds) if milliseconds else USUAL_LIFE),
    )
    made = mint(server_key(session.surroundings.environment), claims)
    if as_json:
        write_json({"token": made, "role": role, "owner": claims.user_id, "orchestrationId": head, "expiresAt": claims.exp})
        return
    click.echo(made)
    if sys.stdout.isatty():
        click.echo(click.style(f"good until {claims.exp:%Y-%m-%d %H:%M} UTC; whoever has it is let in", dim=True), err=True)


def _owner(name: str | None) -> str:
    if name is None:
        return OPERATOR
    if checked_id(name, "owner") == OPERATOR:
        raise InvalidRequest(f"{OPERATOR!r} is you: leave out --owner.")
    return name
