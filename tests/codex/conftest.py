"""Real codex against a scripted model on loopback."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.claude.binary import get
from tests.claude.test_worker import Team
from tests.codex.binary import FOUND, HOW_TO_GET_IT
from tests.doubles.model_api import ModelApi
from tests.doubles.model_dialect import RESPONSES
from tests.engine.house import House, house, repository

__all__ = ["house", "repository"]


@pytest.fixture
def model_api() -> Iterator[ModelApi]:
    """A model that the test scripts; what its script did not foresee fails the test."""
    with ModelApi(RESPONSES) as api:
        yield api
    assert api.complaints == []


@pytest.fixture(scope="session")
def codex() -> Path:
    """The real program."""
    return get(FOUND, HOW_TO_GET_IT, os.environ)


@pytest.fixture
def codex_home(own_surroundings: Path) -> Path:
    """The directory of the test's own in which nobody has logged in."""
    path = own_surroundings / ".codex"
    path.mkdir()
    return path


@pytest.fixture
def codex_environment(codex: Path, codex_home: Path, model_api: ModelApi) -> dict[str, str]:
    """The whole environment of a codex that speaks to the scripted model.

    The model is its proxy too: whoever wants to go elsewhere ends there, and fails the test. Its home must not lie in the directory
    for temporary files, or its sandbox has no program to be made with.
    """
    temporary = codex_home.parent / "tmp"
    temporary.mkdir()
    return {
        "PATH": os.pathsep.join([str(codex.parent), os.environ["PATH"]]),
        "HOME": str(codex_home.parent),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "DEVSH_SANDBOX": "none",
        "TMPDIR": str(temporary),
        "OPENAI_BASE_URL": f"{model_api.address}/v1",
        "CODEX_API_KEY": "sk-test",
        "HTTP_PROXY": model_api.address,
        "HTTPS_PROXY": model_api.address,
        "NO_PROXY": "127.0.0.1,localhost",
    }


@pytest.fixture
def team(house: House, repository: Path, codex_environment: dict[str, str]) -> Team:
    """A house whose callers have codex, logged in at the scripted model."""
    return Team(house, codex_environment)
