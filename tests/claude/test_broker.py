"""Real claude in a network without a way out: a broker alone leads to the model, and has the only real credential."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from devsh_memory_mcp.agents.adapter import Ending
from devsh_memory_mcp.agents.claude_failure import classify
from tests.doubles.model_api import ModelApi
from tests.doubles.model_script import Tool, Turn
from tests.doubles.walls import needs_sandbox

REAL = "sk-the-real-one"
# What a shim does, in a process without threads: a sandbox, a socket inside of it, a broker on that; then the agent may begin.
KEEPER = """
import json, os, subprocess, sys
from devsh_memory_mcp.agents.endpoint import find_endpoint
from devsh_memory_mcp.shim.broker.passage import Passage
from devsh_memory_mcp.shim.loop import Loop
from tests.doubles.walls import needs_sandbox
secrets, caller, inside, command = json.load(sys.stdin)
passage = Passage(find_endpoint("claude/haiku"), secrets, caller, is_alone=True)
loop, facts, ended, held = Loop(), [], [], os.pipe()
guest = subprocess.Popen(command, stdin=held[0], stdout=subprocess.PIPE, stderr=2, env={**inside, **passage.environment})
loop.child(guest.pid, ended.append)
assert guest.stdout.readline() == b"up\\n"
passage.open(loop, guest.pid, facts.append)
assert len(passage.strangers) == 1
os.write(held[1], b"go\\n")
loop.wait(lambda: bool(ended))
print(json.dumps([guest.stdout.read().decode(), facts, passage.end(), [*passage.environment.values()][-1]]))
"""
GATE = 'echo up; read -r go; exec "$@" </dev/null'

Run = Callable[..., tuple[str, list[dict[str, object]], dict[str, object], str]]
pytestmark = needs_sandbox


@pytest.fixture
def run(claude: Path, claude_environment: dict[str, str], tmp_path: Path) -> Run:
    """A turn of claude's in a sandbox: what it printed, what the broker told and counted, the placeholder."""
    home = tmp_path / "inside"  # not /tmp, where claude itself may lie
    home.mkdir()

    def one(secrets: dict[str, str], caller: dict[str, str], *words: str) -> tuple[str, list[dict[str, object]], dict[str, object], str]:
        sandbox = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", str(home)]
        sandbox += ["--unshare-user", "--unshare-pid", "--unshare-net", "--die-with-parent", "--chdir", str(home), "--"]
        command = [*sandbox, "bash", "-c", GATE, "bash", str(claude), "-p", *words, "--output-format", "json"]
        removed = ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
        inside = {name: value for name, value in claude_environment.items() if name not in removed}
        inside |= {"HOME": str(home), "CLAUDE_CODE_TMPDIR": str(home)}
        ran = subprocess.run(
            [sys.executable, "-c", KEEPER], input=json.dumps([secrets, caller, inside, command]), capture_output=True, text=True,
            timeout=180, check=False, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        said, facts, counts, placeholder = json.loads(ran.stdout)
        return said, facts, counts, placeholder

    return one


@pytest.mark.parametrize(("variable", "kind"), [("ANTHROPIC_API_KEY", "api key"), ("CLAUDE_CODE_OAUTH_TOKEN", "bearer")])
def test_it_works_with_a_placeholder_and_never_sees_the_key(run: Run, model_api: ModelApi, variable: str, kind: str) -> None:
    look = Tool("Bash", {"command": "env; cat /proc/*/environ /proc/*/cmdline 2>/dev/null | tr '\\0' '\\n'", "description": "look"})
    model_api.route("TASK", Turn(tools=[look]), Turn("all done"))
    said, facts, counts, placeholder = run(
        {variable: REAL}, {"ANTHROPIC_BASE_URL": model_api.address}, "TASK", "--allowedTools", "Bash(env:*)", "Bash"
    )
    assert json.loads(said)["result"] == "all done"
    turns = [request for request in model_api.requests if request.is_turn]
    assert {request.credential for request in turns} == {(kind, REAL)}
    seen = turns[-1].conversation
    assert placeholder in seen
    assert REAL not in seen
    assert facts == []
    assert counts["requests"] == len(model_api.requests)


def test_a_login_of_its_own_stays_outside_and_serves_it(run: Run, model_api: ModelApi) -> None:
    model_api.route("TASK", Turn("all done"))
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)  # for whoever is the user
        login = {"claudeAiOauth": {"accessToken": REAL, "refreshToken": "r", "expiresAt": 99999999999000}}
        (Path(directory) / ".credentials.json").write_text(json.dumps(login))
        said, _, _, _ = run({}, {"ANTHROPIC_BASE_URL": model_api.address, "CLAUDE_CONFIG_DIR": directory}, "TASK")
    assert json.loads(said)["result"] == "all done"
    assert model_api.requests[-1].credential == ("bearer", REAL)


def test_a_credential_that_is_refused_is_classed_by_what_the_cli_says_of_it(run: Run, model_api: ModelApi) -> None:
    model_api.refused.add("bearer")
    said, facts, _, _ = run({"CLAUDE_CODE_OAUTH_TOKEN": REAL}, {"ANTHROPIC_BASE_URL": model_api.address}, "TASK")
    failure, _ = classify(json.loads(said), Ending(1, None, said, "", truncated=False), denied=(), worked=0, turns=1)
    assert (failure, facts) == ("auth", [])
