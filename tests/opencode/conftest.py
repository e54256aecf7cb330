"""Real opencode against a scripted model on loopback."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.claude.binary import find, get
from tests.claude.test_worker import Team
from tests.doubles.model_api import ModelApi
from tests.engine.house import House, house, repository
from tests.opencode.binary import HOW_TO_GET_IT, SAYS, SURROUNDINGS

__all__ = ["house", "repository"]

DATA = ".local/share/opencode"


@pytest.fixture
def model_api() -> Iterator[ModelApi]:
    """A model that the test scripts; what its script did not foresee fails the test."""
    with ModelApi() as api:
        yield api
    assert api.complaints == []


@pytest.fixture(scope="session")
def opencode() -> Path:
    """The real program."""
    return get(find("opencode", SAYS, SURROUNDINGS), HOW_TO_GET_IT, SURROUNDINGS)


@pytest.fixture(scope="session")
def used_before(opencode: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which opencode has made its database: two that are the first ones there at the same time get in each other's way."""
    home = tmp_path_factory.mktemp("opencode")
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TERM": "dumb", "HTTPS_PROXY": "http://127.0.0.1:9"}
    subprocess.run([str(opencode), "session", "list"], env=environment, cwd=home, check=True, capture_output=True, timeout=120)
    return home


@pytest.fixture
def configuration(own_surroundings: Path, used_before: Path, model_api: ModelApi) -> Path:
    """The user's own, which says where the model is, and names a server of his."""
    shutil.copytree(used_before / DATA, own_surroundings / DATA)
    path = own_surroundings / ".config" / "opencode" / "opencode.json"
    path.parent.mkdir(parents=True)
    mine = {"type": "local", "command": ["touch", str(own_surroundings / "started")]}
    there = {"anthropic": {"options": {"baseURL": f"{model_api.address}/v1"}}}
    path.write_text(json.dumps({"provider": there, "mcp": {"mine": mine}}), encoding="utf-8")
    return path


@pytest.fixture
def team(house: House, repository: Path, opencode: Path, configuration: Path, model_api: ModelApi) -> Team:
    """A house whose callers have opencode, logged in at the scripted model.

    The model is its proxy too: whoever wants to go elsewhere ends there, and fails the test. It is its package registry as well, since
    nothing keeps opencode from asking that for a package of its own; the model has none, which opencode bears.
    """
    return Team(
        house,
        {
            "PATH": os.pathsep.join([str(opencode.parent), os.environ["PATH"]]),
            "HOME": os.environ["HOME"],
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "DEVSH_SANDBOX": "none",
            "ANTHROPIC_API_KEY": "sk-test",
            "HTTP_PROXY": model_api.address,
            "HTTPS_PROXY": model_api.address,
            "NO_PROXY": "127.0.0.1,localhost",
            "NPM_CONFIG_REGISTRY": f"{model_api.address}/packages/",
        },
    )
