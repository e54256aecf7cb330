"""A server over HTTP in the test's own process, at a port of loopback, over the test's own memory root."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import uvicorn
from starlette.types import ASGIApp

from devsh_memory_mcp.config import OPERATOR
from devsh_memory_mcp.faces.http_front import Addition, Front
from devsh_memory_mcp.faces.http_server import build_app
from devsh_memory_mcp.faces.tokens import NOBODY, TEAM, Claims, Role, mint
from devsh_memory_mcp.wiring import hosting

KEY = b"a signing key of thirty-two bytes"
Plug = Callable[[Front], Addition]


def token(
    role: Role = "user",
    *,
    owner: str = OPERATOR,
    run: str = NOBODY,
    orchestration: str | None = None,
    seconds: float = 3600,
    key: bytes = KEY,
) -> str:
    """One of the server below."""
    now = datetime.now(UTC)
    return mint(key, Claims(run, TEAM, owner, orchestration, role, now, now + timedelta(seconds=seconds)))


def shown(made: str) -> dict[str, str]:
    """The header that shows a token."""
    return {"Authorization": f"Bearer {made}"}


@asynccontextmanager
async def served(
    root: Path, environment: dict[str, str], plugs: Sequence[Plug] = (), *, around: Callable[[ASGIApp], ASGIApp] | None = None
) -> AsyncIterator[str]:
    """The server's address; `around` is put around its app."""
    root.mkdir(exist_ok=True)
    app = build_app(KEY, hosting(root, environment), lambda: datetime.now(UTC), plugs)
    async with listening(around(app) if around else app) as url:
        yield url


@asynccontextmanager
async def listening(app: ASGIApp) -> AsyncIterator[str]:
    """An app at an address of its own."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", timeout_graceful_shutdown=1)
    host = uvicorn.Server(config)
    host.config.load()
    host.lifespan = config.lifespan_class(config)
    await host.startup()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(host.main_loop)
        yield f"http://127.0.0.1:{host.servers[0].sockets[0].getsockname()[1]}"
        host.should_exit = True
    await host.shutdown()
