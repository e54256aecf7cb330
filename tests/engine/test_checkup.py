"""`devsh doctor`: what it finds on a machine that a test puts together out of small programs."""

import json
import os
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from devsh_memory_mcp.config import Caller
from devsh_memory_mcp.engine.checkup import Checkup, answer_of, examine, isolation
from devsh_memory_mcp.inventory import find_agents, in_words
from devsh_memory_mcp.shim.probe import Missing
from devsh_memory_mcp.shim.seatbelt import Seatbelt
from tests.doubles.processes import await_end
from tests.doubles.user import User
from tests.doubles.walls import has_sandbox

SECRETS = {"ANTHROPIC_API_KEY": "hush-key", "CLAUDE_CODE_OAUTH_TOKEN": "hush-token"}


@pytest.fixture
def user(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> User:
    """Somebody whose PATH has git and nothing else."""
    user = User(tmp_path, capsys)
    program(user, "git", f'exec {shutil.which("git")} "$@"')
    user.environment["PATH"] = str(user.home / "bin")
    user.writes(".gitconfig", "[user]\n\tname = A Tester\n\temail = tester@example.org\n")
    return user


def program(user: User, name: str, script: str) -> Path:
    return user.writes(f"bin/{name}", f"#!/bin/sh\n{script}\n", 0o755)


def logged_in(user: User, **more: object) -> None:
    user.writes(".claude/.credentials.json", json.dumps({"claudeAiOauth": {"accessToken": "hush", "subscriptionType": "max"} | more}))


def checks(said: str) -> dict[str, dict[str, Any]]:
    return {check["topic"]: check for check in json.loads(said)["checks"]}


async def examined(user: User, seconds: float = 30.0) -> Checkup:
    return await examine(Caller(user.project, user.environment), str(user.home / "memory"), seconds=seconds)


@pytest.mark.promise("doctor.report")
def test_with_claude_and_a_login_all_is_well(user: User) -> None:
    program(user, "claude", "echo '2.1.330 (Claude Code)'")
    logged_in(user)
    said = user.types("doctor", "--json")
    document = json.loads(said.out)
    claude = next(agent for agent in document["agents"] if agent["name"] == "claude")
    assert (said.code, document["ok"], claude["version"], claude["usable"]) == (0, True, "2.1.330", True)
    assert claude["logins"] == [{"place": f"{user.home}/.claude/.credentials.json", "costBasis": "subscription", "plan": "max"}]
    found = checks(said.out)
    assert found["git"]["message"].endswith("commits by A Tester <tester@example.org>")
    assert found["default agent"]["message"].startswith("claude/haiku-4.5, paid by the max subscription")
    assert (found["MCP server"]["state"], found["MCP server"]["next"]) == ("note", "devsh setup claude")
    told = found["isolation"]["message"]
    if has_sandbox():
        assert "bubblewrap works" in told
        assert "`--network off` or `allow:HOST,…` closes that" in told
    else:
        assert "agents run as you, with your rights" in told


def test_on_macos_it_says_which_isolation_there_is_and_that_nobody_has_tried_it() -> None:
    works, fails = isolation(Seatbelt()), isolation(Missing("macOS has no sandbox for root", "run devsh as an ordinary user"))
    assert "Seatbelt works (/usr/bin/sandbox-exec)" in works.said
    assert "never been tried" in (works.remedy or "")
    assert (fails.state, fails.remedy) == ("note", "run devsh as an ordinary user")


@pytest.mark.promise("doctor.report")
def test_what_is_missing_is_told_with_the_command_that_gets_it(user: User) -> None:
    said = user.types("doctor", "--dir", user.home / "memory")
    assert said.code == 1
    assert "missing default agent  claude/haiku-4.5 needs claude, which is not on your PATH" in said.out
    assert "→ npm install -g @anthropic-ai/claude-code" in said.out
    program(user, "claude", "echo 2.1.330")
    said = user.types("doctor", "--dir", user.home / "memory")
    assert (said.code, "claude/haiku-4.5 has no login that can be seen" in said.out) == (1, True)
    said = user.types("doctor", "--dir", user.home / "memory", CMUX_DEFAULT_CODING_AGENT="shell/bash")
    assert (said.code, "the prompt is a script, no login is needed" in said.out) == (0, True)


@pytest.mark.promise("doctor.report")
def test_a_key_beats_a_subscription_and_who_pays_is_told_without_any_secret(user: User) -> None:
    program(user, "claude", "echo 2.1.330")
    logged_in(user)
    said = user.types("doctor", "--json", **SECRETS)
    found = checks(said.out)
    assert found["default agent"]["message"] == "claude/haiku-4.5, paid by the token (ANTHROPIC_API_KEY)"
    assert found["billing"]["message"] == (
        "claude uses ANTHROPIC_API_KEY and is paid by the token, though your subscription is there too (CLAUDE_CODE_OAUTH_TOKEN)"
    )
    assert found["billing"]["next"] == "unset ANTHROPIC_API_KEY"
    text = user.types("doctor", **SECRETS)
    assert "hush" not in said.out + said.err + text.out + text.err


async def test_a_program_that_does_not_answer_is_ended_with_its_whole_tree(user: User, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    program(user, "claude", f"sleep 1000 & echo $! > {pid}; wait")
    user.environment["PATH"] += ":/usr/bin:/bin"
    checkup = await examined(user, seconds=1.0)
    assert checkup.versions["claude"] == "does not answer"
    assert await_end(int(pid.read_text(encoding="utf-8")), 5.0)


async def test_a_program_that_fails_or_is_none_has_no_answer(user: User) -> None:
    assert await answer_of([str(program(user, "x", "echo no; exit 1"))], user.environment, 5.0) is None
    assert await answer_of([str(user.home)], user.environment, 5.0) is None
    assert await answer_of([sys.executable, "-c", "print('yes')"], os.environ, 5.0) == "yes"


async def test_without_git_or_with_an_old_one_nothing_could_be_done(user: User) -> None:
    program(user, "git", "echo git version 2.20.1")
    assert [(check.state, check.said) for check in (await examined(user)).checks if check.topic == "git"] == [
        ("missing", "git 2.20.1; 2.31 or later is needed")
    ]
    (user.home / "bin/git").unlink()
    checkup = await examined(user)
    assert ("git", "missing") in [(check.topic, check.state) for check in checkup.checks]
    assert not checkup.is_well


async def test_a_nameless_user_is_told_how_commits_are_signed(user: User) -> None:
    (user.home / ".gitconfig").unlink()
    (check,) = [check for check in (await examined(user)).checks if check.topic == "git"]
    assert (check.state, "commits are by `devsh agent`" in check.said) == ("note", True)


async def test_a_memory_root_that_cannot_be_used_and_wrong_settings_are_missing(user: User) -> None:
    user.writes(".config/devsh/config.toml", "max_task = 3\n")
    (user.home / "memory").write_text("a file", encoding="utf-8")
    found = {check.topic: check for check in (await examined(user)).checks}
    assert found["memory root"].state == "missing"
    assert "did you mean 'max_tasks'" in found["settings"].said


async def test_an_npm_package_that_comes_first_on_path_is_warned_of(user: User) -> None:
    real = user.writes("lib/node_modules/devsh/cli.js", "#!/usr/bin/env node\n", 0o755)
    (user.home / "bin/devsh").symlink_to(real)
    found = [check for check in (await examined(user)).checks if check.topic == "PATH"]
    assert found[0].said == f"{user.home}/bin/devsh comes first on your PATH and is an npm package, not this"
    assert found[0].remedy == "npm rm -g devsh"
    assert "devsh-memory-mcp is not on your PATH" in found[1].said
    assert found[1].remedy == f'export PATH="{sysconfig.get_path("scripts")}:$PATH"   # in your shell\'s profile'  # there is no uv


def test_a_head_is_told_which_agents_are_here_and_who_pays(user: User) -> None:
    assert in_words(user.environment) == "shell/bash, shell/sh (the prompt is a script)"
    program(user, "claude", "exit 1")  # it is not started for this
    assert in_words(user.environment).startswith("claude/<model> (no login was found), shell/bash")
    logged_in(user)
    assert in_words(user.environment).startswith("claude/<model> (paid by the max subscription), ")
    assert in_words(user.environment | SECRETS).startswith("claude/<model> (paid by the token), ")


@pytest.mark.parametrize(
    ("name", "text", "login"),
    [
        (".codex/auth.json", '{"tokens": {"access_token": "hush"}}', ("codex", "subscription")),
        (".codex/auth.json", '{"OPENAI_API_KEY": "hush"}', ("codex", "api")),
        (".gemini/oauth_creds.json", '{"access_token": "hush"}', ("gemini", "subscription")),
        (".local/share/opencode/auth.json", '{"anthropic": {}}', ("opencode", "unknown")),
        (".claude/.credentials.json", "not JSON", ("claude", "subscription")),
    ],
)
def test_the_logins_that_clis_keep_are_found(user: User, name: str, text: str, login: tuple[str, str]) -> None:
    user.writes(name, text)
    found = [(agent.name, each.cost_basis) for agent in find_agents(user.environment) for each in agent.logins]
    assert found == [login]


@pytest.mark.promise("doctor.report")
def test_codex_is_found_or_it_is_told_how_to_get_it_and_how_to_log_in(user: User) -> None:
    default = {"CMUX_DEFAULT_CODING_AGENT": "codex/gpt-5.5"}
    said = user.types("doctor", **default)
    assert (said.code, "codex/gpt-5.5 needs codex, which is not on your PATH" in said.out) == (1, True)
    assert "→ npm install -g @openai/codex" in said.out
    program(user, "codex", "echo codex-cli 0.169.0")
    said = user.types("doctor", **default)
    assert (said.code, "→ run `codex login`, or set OPENAI_API_KEY" in said.out) == (1, True)
    said = user.types("doctor", "--json", **default, CODEX_API_KEY="hush")
    codex = next(agent for agent in json.loads(said.out)["agents"] if agent["name"] == "codex")
    assert (said.code, codex["version"], codex["usable"], "hush" in said.out) == (0, "0.169.0", True, False)
    assert checks(said.out)["default agent"]["message"] == "codex/gpt-5.5, paid by the token (CODEX_API_KEY)"


@pytest.mark.promise("doctor.report")
def test_whose_word_it_is_that_claude_code_knows_the_server_is_told(user: User) -> None:
    program(user, "claude", "echo 2.1.330")
    file = user.project / ".mcp.json"
    file.write_text('{"mcpServers": {"devsh-memory": {"command": "uvx"}}}', encoding="utf-8")
    found = checks(user.types("doctor", "--json").out)["MCP server"]
    assert (found["state"], found["next"]) == ("ok", "devsh setup claude")
    assert found["message"] == f"Claude Code knows it in this repository alone, by its own {file}"
    user.types("setup", "claude", "--yes")
    found = checks(user.types("doctor", "--json").out)["MCP server"]
    assert (found["message"], found["next"]) == (f"Claude Code knows it for you, by {user.home}/.claude.json", None)
