"""Serving an app with uvicorn over sockets that are given, until a signal comes; then its clients are let go, and it ends.

Uvicorn's own start is not used: it would make the sockets and take the signals in its own way.
"""

import contextlib
import os
import signal
import socket
import stat
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import anyio
import uvicorn
from starlette.types import ASGIApp

from devsh_memory_mcp.alongside import alongside
from devsh_memory_mcp.errors import Unavailable
from devsh_memory_mcp.faces.http_connection import OwnProtocol

BACKLOG = 2048
LETS_GO_WITHIN = 2  # seconds for requests that are being answered when the end comes
MOST_HEADERS = 32 * 1024  # bytes of a request's line and headers


class _Server(uvicorn.Server):
    """Without signal handlers, since who serves has his own; it tells when it has begun."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.begun = anyio.Event()
        self.failure: Unavailable | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit:
            raise Unavailable("The server could not begin; its log has the reason.") from None
        self.begun.set()


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


@contextlib.asynccontextmanager
async def served(
    app: ASGIApp,
    sockets: Sequence[socket.socket],
    *,
    leaving: Callable[[], None] = lambda: None,
    tls: tuple[str, str] | None = None,
) -> AsyncIterator[uvicorn.Server]:
    """The app answers at these sockets while the context lasts; they are closed with it. Unavailable where it cannot begin.

    `leaving` is called when the end has come and clients are still connected.
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
    server = _Server(config)
    over = anyio.Event()

    async def run() -> None:
        try:
            await server.serve(sockets=list(sockets))
        except Unavailable as error:
            server.failure = error
            server.begun.set()
        finally:
            over.set()

    async with alongside() as tasks:
        tasks.start_soon(run)
        await server.begun.wait()
        if server.failure is not None:
            raise server.failure
        try:
            yield server
        finally:
            leaving()
            server.should_exit = True
            with anyio.CancelScope(shield=True):  # whoever is being answered is let go first, for so long as that may take
                await over.wait()


async def serve(
    app: ASGIApp,
    sockets: Sequence[socket.socket],
    *,
    started: Callable[[], None] = lambda: None,
    leaving: Callable[[], None] = lambda: None,
    tls: tuple[str, str] | None = None,
) -> int:
    """Serves until SIGTERM or SIGINT comes, whose number is answered; `started` is called when clients are answered."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with alongside() as tasks, served(app, sockets, leaving=leaving, tls=tls) as server:
            started()
            caught = await anext(aiter(signals))
            tasks.start_soon(_hurry, signals, server)
    return int(caught)


async def _hurry(signals: AsyncIterator[signal.Signals], server: uvicorn.Server) -> None:
    """Whoever asks a second time does not want anybody to be waited for."""
    async for _ in signals:
        server.force_exit = True
