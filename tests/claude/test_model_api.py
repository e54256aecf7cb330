"""The scripted model proves itself with the real claude: what the tests of the agent rely on happens here once."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.model_answer import limit_headers
from tests.doubles.model_api import ModelApi
from tests.doubles.model_script import Error, Tool, Turn

RESET = 2_000_000_000


class Claude:
    """`claude -p` in a directory and an environment."""

    def __init__(self, program: Path, directory: Path, environment: dict[str, str]) -> None:
        self.program, self.directory, self.environment = program, directory, environment

    def start(self, *words: str) -> subprocess.Popen[str]:
        command = [str(self.program), "-p", *words, "--output-format", "json"]
        null, pipe = subprocess.DEVNULL, subprocess.PIPE
        return subprocess.Popen(command, cwd=self.directory, env=self.environment, stdin=null, stdout=pipe, stderr=pipe, text=True)

    def run(self, *words: str) -> dict[str, Any]:
        return result_of(self.start(*words))

    def log_in(self) -> None:
        """With a subscription in place of an API key."""
        del self.environment["ANTHROPIC_API_KEY"]
        self.environment["CLAUDE_CODE_OAUTH_TOKEN"] = "sk-ant-oat01-test"


def result_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    with process:
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
    [request] = model_api.turns()
    assert (request.credential, request.session_id) == (("api key", "sk-test"), result["session_id"])


def test_a_tool_is_called_and_its_result_comes_back(real: Claude, model_api: ModelApi, tmp_path: Path) -> None:
    file = str(tmp_path / "a.txt")
    write = Tool("Write", {"file_path": file, "content": "x\n"})
    model_api.route("TASK-A", Turn("I write.", [write]), Turn("Done: {{result:\\S+a.txt}}", expect="I write."))
    assert real.run("TASK-A: write", "--permission-mode", "acceptEdits")["result"] == f"Done: {file}"
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "x\n"


def test_a_resumed_session_goes_on_in_its_script(real: Claude, model_api: ModelApi) -> None:
    model_api.route("TASK-R", Turn("The word is plover."), Turn("{{all:word is (\\w+)}}", expect="TASK-R(?s:.*)say it"))
    session = real.run("TASK-R: think of a word")["session_id"]
    assert real.run("now say it", "--resume", session)["result"] == "plover"


def test_agents_at_one_model_are_told_apart_and_held_apart(real: Claude, model_api: ModelApi) -> None:
    model_api.route("TASK-A", Turn("a", hold="b is done"))
    model_api.route("TASK-B", Turn("b"))
    first, second = real.start("TASK-A"), real.start("TASK-B")
    model_api.await_turn("TASK-A")
    assert result_of(second)["result"] == "b"
    assert first.poll() is None
    model_api.open("b is done")
    assert result_of(first)["result"] == "a"


def test_an_overload_passes(real: Claude, model_api: ModelApi) -> None:
    model_api.route("", Turn("At last.", error=Error(529, "overloaded_error", "Overloaded"), times=1))
    assert real.run("try")["result"] == "At last."
    assert len(model_api.turns()) == 2


def test_a_stream_that_breaks_off_is_asked_for_again(real: Claude, model_api: ModelApi) -> None:
    model_api.route("", Turn("Whole.", drop=True, times=1))
    assert real.run("try")["result"] == "Whole."
    assert len(model_api.turns()) == 2


def test_a_spent_subscription_says_when_it_is_reset(real: Claude, model_api: ModelApi) -> None:
    real.log_in()
    model_api.route("", Turn(error=Error(429, "rate_limit_error", "Limit", limit_headers("rejected", RESET))))
    result = real.run("try")
    assert (result["is_error"], result["api_error"]) == (True, "usage_limit_reached")
    assert "resets May 18, 2033" in result["result"]


def test_a_refused_key_is_an_error(real: Claude, model_api: ModelApi) -> None:
    real.environment["CLAUDE_CODE_MAX_RETRIES"] = "0"
    model_api.refused = {"api key"}
    result = real.run("try")
    assert (result["api_error_status"], result["result"]) == (401, "Invalid API key · Fix external API key")
    assert {request.credential for request in model_api.turns()} == {("api key", "sk-test")}


def test_a_refused_subscription_is_an_error(real: Claude, model_api: ModelApi) -> None:
    real.environment["CLAUDE_CODE_MAX_RETRIES"] = "0"
    real.log_in()
    model_api.refused = {"bearer"}
    result = real.run("try")
    assert (result["api_error_status"], result["result"]) == (401, "Failed to authenticate. API Error: 401 Invalid bearer token")
    assert {request.credential for request in model_api.turns()} == {("bearer", "sk-ant-oat01-test")}


def test_a_model_that_never_answers_is_waited_for(real: Claude, model_api: ModelApi) -> None:
    model_api.route("", Turn(hang=True))
    with real.start("try") as process:
        model_api.await_turn()
        assert process.poll() is None
        process.terminate()
        assert process.communicate(timeout=20)[0] == ""
    assert process.returncode == 143


def test_whatever_claude_wants_from_elsewhere_is_noticed(real: Claude, model_api: ModelApi) -> None:
    for name in ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "DISABLE_TELEMETRY", "DISABLE_ERROR_REPORTING", "DISABLE_AUTOUPDATER"):
        del real.environment[name]
    model_api.route("", Turn("Hello."))
    assert real.run("try")["result"] == "Hello."
    assert any("wanted to go out: CONNECT" in complaint for complaint in model_api.complaints)
    model_api.complaints.clear()
