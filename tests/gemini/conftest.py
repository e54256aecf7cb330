"""Real Gemini CLI against a scripted model on loopback."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.claude.binary import find, get
from tests.claude.test_worker import Team
from tests.doubles.model_api import ModelApi
from tests.doubles.model_dialect import GEMINI
from tests.engine.house import House, house, repository
from tests.gemini.binary import HOW_TO_GET_IT, SAYS, SURROUNDINGS

__all__ = ["house", "repository"]


@pytest.fixture
def model_api() -> Iterator[ModelApi]:
    """A model that the test scripts; what its script did not foresee fails the test."""
    with ModelApi(GEMINI) as api:
        yield api
    assert api.complaints == []


@pytest.fixture(scope="session")
def gemini() -> Path:
    """The real program."""
    return get(find("gemini", SAYS, SURROUNDINGS), HOW_TO_GET_IT, SURROUNDINGS)


@pytest.fixture
def team(house: House, repository: Path, gemini: Path, own_surroundings: Path, model_api: ModelApi) -> Team:
    """A house whose callers have gemini, logged in at the scripted model, and have told it to send nobody any statistics.

    The model is its proxy too: whoever wants to go elsewhere ends there, and fails the test.
    """
    settings = own_surroundings / ".gemini" / "settings.json"
    settings.parent.mkdir()
    mine = {"command": "touch", "args": [str(own_surroundings / "started")]}
    settings.write_text(json.dumps({"privacy": {"usageStatisticsEnabled": False}, "mcpServers": {"mine": mine}}), encoding="utf-8")
    return Team(
        house,
        {
            "PATH": os.pathsep.join([str(gemini.parent), SURROUNDINGS["PATH"]]),
            "HOME": str(own_surroundings),
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "DEVSH_SANDBOX": "none",
            "GEMINI_API_KEY": "sk-test",
            "GOOGLE_GEMINI_BASE_URL": model_api.address,
            "HTTP_PROXY": model_api.address,
            "HTTPS_PROXY": model_api.address,
            "NO_PROXY": "127.0.0.1,localhost",
        },
    )
