"""Real claude against a scripted model on loopback."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from devsh_memory_mcp.clients.server import SERVER_NAME
from tests.claude.binary import FOUND, get_claude
from tests.claude.head import Head
from tests.doubles.model_api import ModelApi
from tests.engine.house import House, house, repository
from tests.examples.conftest import Terminal, terminal

__all__ = ["house", "repository", "terminal"]


@pytest.fixture
def model_api() -> Iterator[ModelApi]:
    """A model that the test scripts; what its script did not foresee fails the test."""
    with ModelApi() as api:
        yield api
    assert api.complaints == []


@pytest.fixture(scope="session")
def claude() -> Path:
    """The real program."""
    return get_claude(FOUND, os.environ)


@pytest.fixture
def claude_home(own_surroundings: Path) -> Path:
    """The test's own HOME, in which nobody has logged in."""
    return own_surroundings


@pytest.fixture
def claude_environment(claude: Path, claude_home: Path, model_api: ModelApi) -> dict[str, str]:
    """The whole environment of a claude that speaks to the scripted model.

    The model is its proxy too: whoever wants to go elsewhere ends there, and fails the test.
    """
    temporary = claude_home / "tmp"
    temporary.mkdir()
    return {
        "PATH": os.pathsep.join([str(claude.parent), os.environ["PATH"]]),
        "HOME": str(claude_home),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "ANTHROPIC_BASE_URL": model_api.address,
        "ANTHROPIC_API_KEY": "sk-test",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_MAX_RETRIES": "2",
        "CLAUDE_CODE_TMPDIR": str(temporary),
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "DEVSH_SANDBOX": "none",
        "DISABLE_TELEMETRY": "1",
        "MCP_TIMEOUT": "120000",  # milliseconds: after these it goes on without our server, and several start at once here
        "HTTP_PROXY": model_api.address,
        "HTTPS_PROXY": model_api.address,
        "NO_PROXY": "127.0.0.1,localhost",
    }


@pytest.fixture
def head(claude: Path, house: House, repository: Path, claude_home: Path, claude_environment: dict[str, str]) -> Head:
    """A claude that leads in the house's repository; all that its script does is allowed."""
    (claude_home / ".claude").mkdir()
    (claude_home / ".claude" / "settings.json").write_text(json.dumps({"permissions": {"allow": [f"mcp__{SERVER_NAME}", "Bash"]}}))
    return Head(claude, house, {**claude_environment, "DEVSH_MEMORY_DIR": str(house.root)})


@pytest.fixture
def typist(terminal: Terminal, claude_environment: dict[str, str], tmp_path: Path) -> Terminal:
    """Somebody at a shell who has claude beside devsh and its MCP server."""
    server = tmp_path / "bin" / "devsh-memory-mcp"
    server.write_text((tmp_path / "bin" / "devsh").read_text().replace("devsh_memory_mcp.cli", "devsh_memory_mcp.__main__"))
    server.chmod(0o755)
    path = f"{server.parent}:{claude_environment['PATH']}"
    terminal.environment |= claude_environment | {"PATH": path, "TERM": terminal.environment["TERM"]}
    return terminal
