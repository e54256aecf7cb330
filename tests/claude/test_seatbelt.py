"""Real claude as it is started on macOS, by a sandbox-exec that holds nobody: it finds by names what it finds on Linux in its place."""

import json
import os
import sys
import uuid
from pathlib import Path

import pytest

from devsh_memory_mcp.shim.confinement import Confinement
from devsh_memory_mcp.shim.rundir import AgentSession
from tests.doubles.bell import Bell
from tests.doubles.model_api import ModelApi
from tests.doubles.model_script import Tool, Turn
from tests.doubles.sandbox_exec import SandboxExec
from tests.shim.conftest import bell
from tests.shim.stage import PACKAGES, Repository, Stage

__all__ = ["bell"]
REAL = "sk-the-real-one"
BOOT = """import sys; sys.path.insert(0, sys.argv.pop(1)); program, key = sys.argv.pop(1), sys.argv.pop(1)
from devsh_memory_mcp.shim.__main__ import main
from devsh_memory_mcp.shim.seatbelt import Seatbelt
sys.exit(main(sys.argv[1:], {"ANTHROPIC_API_KEY": key}, Seatbelt(program)))"""


@pytest.mark.parametrize("network", ["on", "off"])
def test_it_works_with_a_placeholder_in_a_home_of_its_own_and_its_session_comes_out(
    network: str, tmp_path: Path, bell: Bell, claude_environment: dict[str, str], model_api: ModelApi
) -> None:
    look = Tool("Bash", {"command": "env; echo new > made; git add made; git commit -qm mine", "description": "look"})
    model_api.route("TASK", Turn(tools=[look]), Turn("all done"))
    program, root, repository = SandboxExec(tmp_path), tmp_path / "memory", Repository(tmp_path / "project")
    root.mkdir()
    repository.commit("first", readme="hello\n")
    stage = Stage(root, bell, (os.path.realpath(sys.executable), "-I", "-S", "-c", BOOT, PACKAGES, str(program.path), REAL))
    session = AgentSession(str(uuid.uuid4()))
    left_out = ("ANTHROPIC_API_KEY", "CLAUDE_CODE_TMPDIR", "DEVSH_SANDBOX", "HTTP_PROXY", "HTTPS_PROXY")
    caller = {name: value for name, value in claude_environment.items() if name not in left_out} | {"IS_SANDBOX": "1"}
    launched = stage.launch(
        "TASK", agent_name="claude/haiku-4.5", environment=caller, checkout=repository.checkout(), permissions="bypass", session=session,
        sandbox=Confinement(network=network), server_command=("/bin/cat",),
    )  # fmt: skip
    outcome = launched.end()
    stage.close()
    assert (outcome.succeeded, outcome.result, outcome.isolation, outcome.commits) == (True, "all done", "seatbelt", 1), outcome
    turns = [request for request in model_api.requests if request.is_turn]
    assert {request.credential for request in turns} == {("api key", REAL)}
    seen, private = turns[-1].conversation, f"{launched.directory}/sandbox"
    assert f"HOME={private}/home" in seen
    assert f"TMPDIR={private}/tmp" in seen
    assert REAL not in seen
    assert [path.stem for path in Path(caller["HOME"]).glob(".claude/projects/*/*.jsonl")] == [session.id]
    agent = program.told[0]
    assert agent.may("network-outbound", remote="192.0.2.1:443") is (network == "on")
    assert json.dumps(outcome.usage or {}) != "{}"
