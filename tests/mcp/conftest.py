"""One server over a canned orchestration, spoken to in both eras of the protocol."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from doubles.mcp_client import Connect
from doubles.orchestrations import Canned
from mcp import Client
from mcp.client._memory import InMemoryTransport

from devsh_memory_mcp.config import Caller
from devsh_memory_mcp.faces.mcp_server import build_server


@pytest.fixture(params=["legacy", "2026-07-28"])
def era(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def connect(era: str) -> Connect:
    """A client of a server over the given orchestrations; further names are the caller's fields."""

    def connected(orchestrations: Any, *, client: Any = None, **caller: Any) -> AbstractAsyncContextManager[Client]:
        own = {"directory": Path("/project"), "environment": {}, "is_shell": False, **caller}
        options = {} if client is None else {"client_info": client}
        # As lines of JSON in both eras: without them requests lack what a client puts beside their parameters.
        return Client(InMemoryTransport(build_server(orchestrations, Caller(**own))), mode=era, **options)

    return connected


@pytest.fixture
def canned() -> Canned:
    return Canned()
