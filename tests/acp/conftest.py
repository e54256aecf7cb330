"""A scripted agent that speaks ACP, in a house of its own."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from devsh_memory_mcp.domain.requests import SpawnRequest
from tests.claude.test_worker import Team
from tests.engine.house import House, house, repository

__all__ = ["house", "repository"]
PROGRAM = Path(__file__).parents[1] / "doubles" / "acp_agent.py"


class Scripted:
    """The agent's script, and what it was told."""

    def __init__(self, directory: Path) -> None:
        self._script = directory / "script.json"

    def does(self, *turns: list[dict[str, Any]], **manners: object) -> None:
        self._script.write_text(json.dumps({"turns": turns} | manners), encoding="utf-8")

    @property
    def name(self) -> str:
        return f"acp/{sys.executable} {PROGRAM} {self._script}"

    def task(self, prompt: str = "Do it.", **fields: object) -> SpawnRequest:
        return SpawnRequest.model_validate({"prompt": prompt, "agent_name": self.name} | fields)

    def heard(self, method: str) -> list[dict[str, Any]]:
        """The parameters of what it was told so."""
        lines = self._script.with_suffix(".heard").read_text(encoding="utf-8").splitlines()
        return [said["params"] for said in map(json.loads, lines) if said.get("method") == method]


@pytest.fixture
def agent(tmp_path: Path) -> Scripted:
    """It says one word, where the test writes no other script."""
    scripted = Scripted(tmp_path)
    scripted.does([{"say": "Done."}])
    return scripted


@pytest.fixture
def team(house: House, repository: Path) -> Team:
    """A house whose callers have what every agent needs."""
    return Team(house, {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "LANG": "C.UTF-8"})
