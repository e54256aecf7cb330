"""The scripted model proves itself with the real claude: whatever its tests rely on happens here once."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.model_api import ModelApi
from tests.doubles.model_script import Tool, Turn


class Claude:
    """`claude -p` in a directory and an environment."""

    def __init__(self, program: Path, directory: Path, environment: dict[str, str]) -> None:
        self.command, self.directory, self.environment = [str(program), "-p"], directory, environment

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.command, *words, "--output-format", "json"],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str) -> dict[str, Any]:
        """Its result."""
        with self.start(*words) as process:
            out, err = process.communicate(timeout=60)
        assert out, err
        return dict(json.loads(out))


@pytest.fixture
def real(claude: Path, tmp_path: Path, claude_environment: dict[str, str]) -> Claude:
    return Claude(claude, tmp_path, claude_environment)


def test_a_text_is_the_result(real: Claude, model_api: ModelApi) -> None:
    model_api.route("the answer", Turn("Forty-two.", usage={"input_tokens": 1000, "output_tokens": 50}))
    result = real.run("what is the answer")
    assert (result["result"], result["is_error"], result["usage"]["output_tokens"]) == ("Forty-two.", False, 50)
    assert [request.credential for request in model_api.turns()] == [("api key", "sk-test")]
    assert model_api.turns()[0].session_id == result["session_id"]


def test_a_tool_is_called_and_its_result_comes_back(real: Claude, model_api: ModelApi, tmp_path: Path) -> None:
    file = str(tmp_path / "a.txt")
    model_api.route(
        "TASK-A", Turn("I write.", [Tool("Write", {"file_path": file, "content": "x\n"})]), Turn("Done: {{result:(\\S+a.txt)}}")
    )
    assert real.run("TASK-A: write", "--permission-mode", "acceptEdits")["result"] == f"Done: {file}"
    assert (tmp_path / "a.txt").read_text() == "x\n"
