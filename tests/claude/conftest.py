"""Real claude against a scripted model on loopback."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.claude.binary import FOUND, HOW_TO_GET_IT
from tests.doubles.model_api import ModelApi


@pytest.fixture
def model_api() -> Iterator[ModelApi]:
    """A model that the test scripts; what its script did not foresee fails the test."""
    with ModelApi() as api:
        yield api
    assert api.complaints == []


@pytest.fixture(scope="session")
def claude() -> Path:
    """The real program. Where continuous integration has none, nothing would be proved: that fails."""
    if FOUND is None and os.environ.get("CI") == "true":
        pytest.fail(HOW_TO_GET_IT)
    return FOUND or pytest.skip(HOW_TO_GET_IT)


@pytest.fixture
def claude_home(own_surroundings: Path) -> Path:
    """The HOME of the test's own, in which nobody has ever logged in."""
    return own_surroundings


@pytest.fixture
def claude_environment(claude: Path, claude_home: Path, model_api: ModelApi) -> dict[str, str]:
    """All that claude gets: it speaks to the scripted model, and whatever wants to go elsewhere goes there too and fails the test."""
    return {
        "PATH": os.pathsep.join([str(claude.parent), os.environ["PATH"]]),
        "HOME": str(claude_home),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "ANTHROPIC_BASE_URL": model_api.address,
        "ANTHROPIC_API_KEY": "sk-test",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_TELEMETRY": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "DISABLE_AUTOUPDATER": "1",
        "HTTP_PROXY": model_api.address,
        "HTTPS_PROXY": model_api.address,
        "NO_PROXY": "127.0.0.1,localhost",
    }
