"""What `devsh setup claude` wrote, as real claude reads it."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from devsh_memory_mcp.cli.main import run
from devsh_memory_mcp.cli.session import Surroundings
from devsh_memory_mcp.clients.claude import find_server
from tests.doubles.model_api import ModelApi
from tests.doubles.model_script import Tool, Turn

ROOT = Path(__file__).parents[2]


@pytest.fixture
def claude_environment(claude_environment: dict[str, str]) -> dict[str, str]:
    """The same; the server that claude starts is this checkout's, whichever is installed."""
    return claude_environment | {"PYTHONPATH": str(ROOT)}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", tmp_path / "project"], check=True)
    return tmp_path / "project"


def devsh(environment: dict[str, str], project: Path, *words: str) -> int:
    return run(words, Surroundings(environment=environment, directory=project))


def asked(claude: Path, environment: dict[str, str], project: Path, *words: str) -> str:
    ran = subprocess.run(
        [claude, *words], cwd=project, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )
    return ran.stdout + ran.stderr


@pytest.mark.promise("setup.claude")
@pytest.mark.parametrize("named", [False, True], ids=["home", "CLAUDE_CONFIG_DIR"])
def test_claude_sees_the_server_and_connects_to_it(
    claude: Path, claude_environment: dict[str, str], claude_home: Path, project: Path, named: bool
) -> None:
    environment = claude_environment | ({"CLAUDE_CONFIG_DIR": str(claude_home / "there")} if named else {})
    assert "No MCP server" in asked(claude, environment, project, "mcp", "get", "devsh-memory")
    assert devsh(environment, project, "setup", "claude", "--yes") == 0
    said = asked(claude, environment, project, "mcp", "get", "devsh-memory")
    assert "Scope: User config" in said
    assert "Connected" in said
    assert devsh(environment, project, "setup", "claude", "--yes", "--remove") == 0
    assert "No MCP server" in asked(claude, environment, project, "mcp", "get", "devsh-memory")


@pytest.mark.promise("setup.claude")
def test_a_file_that_claude_has_written_itself_comes_back_as_it_was(
    claude: Path, claude_environment: dict[str, str], claude_home: Path, project: Path
) -> None:
    asked(claude, claude_environment, project, "mcp", "add", "-s", "user", "other", "--", "/bin/true")
    before = (claude_home / ".claude.json").read_bytes()
    assert devsh(claude_environment, project, "setup", "claude", "--yes") == 0
    asked(claude, claude_environment, project, "mcp", "add", "-s", "user", "third", "--", "/bin/true")
    asked(claude, claude_environment, project, "mcp", "remove", "-s", "user", "third")
    assert devsh(claude_environment, project, "setup", "claude", "--yes", "--remove") == 0
    assert (claude_home / ".claude.json").read_bytes() == before


@pytest.mark.promise("setup.claude")
@pytest.mark.parametrize("scope", [[], ["--project"]], ids=["user", "project"])
def test_claude_may_call_the_tools_without_being_asked_and_knows_the_skill(
    claude: Path, claude_environment: dict[str, str], model_api: ModelApi, project: Path, scope: list[str]
) -> None:
    environment = claude_environment | {"DEVSH_MEMORY_DIR": str(project.parent / "memory")}
    trusted = {"projects": {str(project): {"hasTrustDialogAccepted": True}}}  # what a project's settings allow counts from then on
    Path(environment["HOME"], ".claude.json").write_text(json.dumps(trusted), encoding="utf-8")
    assert devsh(environment, project, "setup", "claude", "--yes", *scope) == 0
    model_api.route("TASK-S", Turn("I look.", [Tool("mcp__devsh-memory__list_spawned_agents", {})]), Turn("Found: {{result}}"))
    said = asked(claude, environment, project, "-p", "TASK-S: list the agents", "--output-format", "stream-json", "--verbose")
    assert "permission_denied" not in said
    assert '"permission_denials":[]' in said
    assert 'Found: {\\"result\\":[]' in said
    assert "devsh-orchestrator" in said


@pytest.mark.promise("plugin.valid")
def test_the_repository_is_a_plugin_by_claudes_own_strictest_word(claude: Path, claude_environment: dict[str, str], tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT, checkout, symlinks=True, ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache"))
    ran = subprocess.run(
        [claude, "plugin", "validate", "--strict", "."], cwd=checkout, env=claude_environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert os.path.exists(checkout / ".claude-plugin" / "plugin.json")


@pytest.mark.promise("plugin.valid")
def test_the_plugin_brings_server_and_skill(claude: Path, claude_environment: dict[str, str], project: Path, tmp_path: Path) -> None:
    uvx = tmp_path / "bin" / "uvx"
    uvx.parent.mkdir()
    uvx.write_text(f'#!/bin/sh\nexec {shlex.quote(os.path.dirname(sys.executable))}/"$@"\n', encoding="utf-8")  # as if fetched
    uvx.chmod(0o755)
    environment = claude_environment | {"PATH": f"{uvx.parent}:{claude_environment['PATH']}"}
    for words in (["marketplace", "add", str(ROOT)], ["install", "devsh@devsh"]):
        assert "Successfully" in asked(claude, environment, project, "plugin", *words)
    assert "devsh-orchestrator" in asked(claude, environment, project, "plugin", "details", "devsh")
    assert "Connected" in asked(claude, environment, project, "mcp", "list")
    assert find_server(project, environment)


@pytest.mark.promise("setup.claude")
def test_from_nothing_to_a_fan_out_that_claude_leads(
    claude: Path, claude_environment: dict[str, str], model_api: ModelApi, project: Path
) -> None:
    for words in (["commit", "-q", "--allow-empty", "-m", "first"], ["branch", "-M", "main"]):
        subprocess.run(["git", *words], cwd=project, check=True)
    environment = claude_environment | {"DEVSH_MEMORY_DIR": os.environ["DEVSH_MEMORY_DIR"]}
    assert devsh(environment, project, "setup", "claude", "--yes") == 0
    names = ("ant", "bee")
    spawns = [Tool("mcp__devsh-memory__spawn_agent", {"prompt": f"WORKER-{name}: write {name}.txt", "name": name}) for name in names]
    wait = Tool("mcp__devsh-memory__wait_for_agent", {"ids": list(names), "mode": "all"})
    model_api.route("HEAD", Turn("I spread it.", spawns), Turn("I wait.", [wait]), Turn("Both: {{result}}"))
    for name in names:
        write = Tool("Write", {"file_path": f"{name}.txt", "content": f"{name}\n"})
        model_api.route(f"WORKER-{name}", Turn("I write.", [write]), Turn(f"{name} is written."))
    said = asked(claude, environment, project, "-p", "HEAD: spread it over agents", "--output-format", "json")
    assert json.loads(said)["result"].count('"status":"completed"') >= len(names), said
    files = [
        subprocess.run(["git", "show", f"{branch}:{name}.txt"], cwd=project, capture_output=True, text=True, check=True).stdout
        for name in names
        for branch in branches(project, name)
    ]
    assert files == ["ant\n", "bee\n"]


def branches(project: Path, name: str) -> list[str]:
    listed = ["git", "for-each-ref", "--format=%(refname)", f"refs/heads/dev/worker-{name}*"]
    return subprocess.run(listed, cwd=project, capture_output=True, text=True, check=True).stdout.split()
