"""Serving an app with uvicorn over sockets that are given, until a signal comes; then its clients are let go, and it ends.

Uvicorn's own start is not used: it would make the sockets and take the signals in its own way.
"""

import contextlib
import os
import signal
import socket
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import anyio
import uvicorn
from starlette.types import ASGIApp

from devsh_memory_mcp.errors import Unavailable
from devsh_memory_mcp.faces.http_connection import OwnProtocol

BACKLOG = 2048
LETS_GO_WITHIN = 2  # seconds for requests that are being answered when the end comes
MOST_HEADERS = 32 * 1024  # bytes of a request's line and headers


class _Server(uvicorn.Server):
    """Without signal handlers, since who serves has his own; it tells when it has begun."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell = started

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._tell()


def tcp_socket(host: str, port: int) -> socket.socket:
    """A listening address; another server's that is being restarted may have it until now. Unavailable."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        made = socket.socket(family, kind, protocol)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(address)
        except OSError:
            made.close()
            raise
    except OSError as error:
        raise Unavailable(f"{host}:{port} cannot be listened at: {error.strerror or error}.", next_step="Choose another --port.") from error
    return made


def unix_socket(path: Path) -> socket.socket:
    """A listening socket of the user's alone; a dead server's is replaced. Unavailable where one lives there, or something else is."""
    made = socket.socket(socket.AF_UNIX)
    try:
        _clear(path)
        before = os.umask(0o177)
        try:
            made.bind(str(path))
        finally:
            os.umask(before)
    except OSError as error:
        made.close()
        raise Unavailable(f"{path} cannot be listened at: {error.strerror or error}.", next_step="Choose another --socket.") from error
    return made


def _clear(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise FileExistsError(17, "there is something else")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise FileExistsError(17, "another server listens there")


async def serve(
    app: ASGIApp,
    sockets: Sequence[socket.socket],
    *,
    started: Callable[[], None] = lambda: None,
    leaving: Callable[[], None] = lambda: None,
    tls: tuple[str, str] | None = None,
) -> int:
    """Serves until SIGTERM or SIGINT comes, whose number is answered.

    `started` is called when clients are answered, `leaving` when the end has come and clients are still connected.
    """
    certificate, key = tls or (None, None)
    config = uvicorn.Config(
        app,
        http=OwnProtocol,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        backlog=BACKLOG,
        timeout_graceful_shutdown=LETS_GO_WITHIN,
        h11_max_incomplete_event_size=MOST_HEADERS,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    server = _Server(config, started)
    caught = 0
    async with anyio.create_task_group() as tasks:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            tasks.start_soon(_until_served, server, list(sockets), tasks.cancel_scope)
            async for number in signals:
                server.force_exit = bool(caught)  # the second time nobody is waited for
                caught, server.should_exit = int(number), True
                leaving()
    return caught


async def _until_served(server: uvicorn.Server, sockets: list[socket.socket], scope: anyio.CancelScope) -> None:
    await server.serve(sockets=sockets)
    scope.cancel()
