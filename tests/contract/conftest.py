"""Everyone who answers `Orchestrations`: this machine, and a server of it in this process, over TCP and over a unix socket."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from devsh_memory_mcp.config import OPERATOR, Caller
from devsh_memory_mcp.faces.http_address import parse_address
from devsh_memory_mcp.faces.http_client import open_remote
from devsh_memory_mcp.faces.http_server import build_app
from devsh_memory_mcp.faces.serving import served, tcp_socket, unix_socket
from devsh_memory_mcp.faces.tokens import NOBODY, TEAM, Claims, Role, mint
from devsh_memory_mcp.ports import Orchestrations
from devsh_memory_mcp.wiring import hosting, open_orchestrations
from tests.doubles.aftermath import BOUND
from tests.doubles.asgi import InProcess
from tests.engine.house import House, house, repository

__all__ = ["house", "repository"]

KEY = b"a key of the tests, and of nobody else"
KINDS = ("local", "in process", "tcp", "unix")


def token(role: Role = "user", orchestration_id: str | None = None, run: str = NOBODY, key: bytes = KEY, **changed: object) -> str:
    now = datetime.now(UTC)
    fields = {"user_id": OPERATOR, "iat": now, "exp": now + timedelta(hours=1)} | changed
    return mint(key, Claims(task_run_id=run, team_id=TEAM, orchestration_id=orchestration_id, role=role, **fields))  # type: ignore[arg-type]


@dataclass
class Place:
    """One of them; `open` is a caller of his own each time."""

    kind: str
    house: House
    directory: Path

    @asynccontextmanager
    async def open(self, orchestration_id: str | None = None, token: str = "", **fields: object) -> AsyncIterator[Orchestrations]:
        with anyio.fail_after(BOUND):
            async with self._opened(orchestration_id, token or TOKEN, fields) as orchestrations:
                yield orchestrations

    @asynccontextmanager
    async def _opened(self, orchestration_id: str | None, shown: str, fields: dict[str, object]) -> AsyncIterator[Orchestrations]:
        caller = self.house.caller(**fields)
        if self.kind == "local":
            async with open_orchestrations(self.house.root, caller, orchestration_id) as here:
                yield here
            return
        async with self.remote(shown, caller, orchestration_id) as remote:
            yield remote

    @asynccontextmanager
    async def remote(self, shown: str, caller: Caller, orchestration_id: str | None = None) -> AsyncIterator[Orchestrations]:
        async with (
            self.served() as (address, transport),
            open_remote(parse_address(address), shown, caller, orchestration_id, transport=transport) as remote,
        ):
            yield remote

    @asynccontextmanager
    async def served(self) -> AsyncIterator[tuple[str, InProcess | None]]:
        """The address of a server, and the way there where it is none."""
        app = build_app(KEY, hosting(self.house.root, dict(os.environ)), lambda: datetime.now(UTC))
        if self.kind == "in process":
            async with app.router.lifespan_context(app), anyio.create_task_group() as tasks:
                yield "http://localhost", InProcess(app, tasks)
                tasks.cancel_scope.cancel()
            return
        path = self.directory / "s"
        socket = unix_socket(path) if self.kind == "unix" else tcp_socket("127.0.0.1", 0)
        address = f"unix:{path}" if self.kind == "unix" else f"http://127.0.0.1:{socket.getsockname()[1]}"
        with socket:
            async with served(app, [socket]):
                yield address, None


TOKEN = token()


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, house: House, short_directory: Path) -> Place:
    return Place(request.param, house, short_directory)


@pytest.fixture
def short_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A socket's path has 107 bytes at most."""
    return tmp_path_factory.mktemp("s")
