from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devsh_memory_mcp.domain.events import OrchestrationCreated
from devsh_memory_mcp.store.journal import FileJournal, create
from tests.doubles.clock import START, StoppedClock

CREATED = OrchestrationCreated(orchestration_id="orch_test00000001", project="/srv/project", description="A test.")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "orchestrations" / CREATED.orchestration_id
    create(made, CREATED, START)
    return made


@pytest.fixture
async def journal(directory: Path, clock: StoppedClock) -> AsyncIterator[FileJournal]:
    opened = FileJournal(directory, clock)
    yield opened
    await opened.aclose()
