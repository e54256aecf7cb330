from dataclasses import dataclass

import pytest

from devsh_memory_mcp.cli.main import run
from devsh_memory_mcp.cli.session import Surroundings
from tests.doubles.orchestration import FakeOrchestration, FakeOrchestrations


@dataclass
class Said:
    code: int
    out: str
    err: str


@pytest.fixture
def orchestration():
    return FakeOrchestration()


@pytest.fixture
def devsh(orchestration, capfd, tmp_path):
    """Types a command line; `devsh.world` are the orchestrations it finds."""
    world = FakeOrchestrations(orchestration)

    def typed(*words, environment=None):
        surroundings = Surroundings(
            environment={"DEVSH_MEMORY_DIR": str(tmp_path), **(environment or {})}, directory=tmp_path, open=world.open
        )
        code = run([str(word) for word in words], surroundings)
        captured = capfd.readouterr()
        return Said(code, captured.out, captured.err)

    typed.world = world
    return typed
