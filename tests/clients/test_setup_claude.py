"""`devsh setup claude`: what it puts in, what it leaves alone, and that nothing of it is left afterwards."""

import json
import os
import sys
from pathlib import Path

import pytest

from devsh_memory_mcp.clients import text
from devsh_memory_mcp.clients.server import PROGRAM, server_command, shared_command
from devsh_memory_mcp.errors import InvalidRequest
from tests.doubles.user import User, document

# As Claude Code writes them.
MAIN = """{
  "numStartups": 3,
  "oauthAccount": {
    "emailAddress": "someone@example.org"
  },
  "mcpServers": {
    "other": {
      "type": "stdio",
      "command": "other",
      "args": [],
      "env": {
        "TOKEN": "hush"
      }
    }
  },
  "userID": "hush"
}"""
SETTINGS = '{\n  "permissions": {\n    "allow": [\n      "Bash(ls:*)"\n    ]\n  },\n  "model": "opus"\n}\n'


@pytest.mark.promise("setup.claude")
def test_server_permission_and_skill_are_put_in_and_the_rest_is_as_it_was(user: User) -> None:
    main, settings = user.writes(".claude.json", MAIN, 0o600), user.writes(".claude/settings.json", SETTINGS, 0o640)
    said = user.types("setup", "claude", "--yes")
    assert (said.code, said.err) == (0, "")
    entry = document(main)["mcpServers"].pop("devsh-memory")
    assert (entry["type"], [entry["command"], *entry["args"]], entry["timeout"]) == ("stdio", list(server_command()), 1_800_000)
    assert os.path.isabs(entry["command"])
    assert document(main) | {"mcpServers": {}} == json.loads(MAIN) | {"mcpServers": {}}
    assert document(main)["mcpServers"]["other"] == json.loads(MAIN)["mcpServers"]["other"]
    assert document(settings)["permissions"]["allow"] == ["mcp__devsh-memory", "Bash(ls:*)"]
    assert [path.stat().st_mode & 0o777 for path in (main, settings)] == [0o600, 0o640]
    assert "name: devsh-orchestrator" in (user.home / ".claude/skills/devsh-orchestrator/SKILL.md").read_text(encoding="utf-8")


@pytest.mark.promise("setup.claude")
def test_the_diff_shows_what_is_put_in_and_no_line_beside_it(user: User) -> None:
    user.writes(".claude.json", MAIN)
    said = user.types("setup", "claude", "--yes")
    assert f'--- {user.home}/.claude.json\n+++ {user.home}/.claude.json\n@@ -6,0 +7,7 @@\n+    "devsh-memory": {{\n' in said.out
    assert '+      "timeout": 1800000' in said.out
    assert "hush" not in said.out + said.err
    assert "\n-" not in said.out.replace("\n--- ", "")


@pytest.mark.promise("setup.remove")
@pytest.mark.parametrize("project", [[], ["--project"]], ids=["user", "project"])
@pytest.mark.parametrize("main", [None, MAIN, "{}", '{"mcpServers":{}}', json.dumps(json.loads(MAIN)), MAIN.replace("  ", "\t") + "\n"])
def test_after_setup_and_remove_everything_is_as_before_to_the_byte(user: User, project: list[str], main: str | None) -> None:
    if main is not None:
        user.writes(".claude.json", main, 0o600)
        user.writes(".claude/settings.json", SETTINGS)
        (user.project / ".mcp.json").write_text(main, encoding="utf-8")
    before = user.files()
    assert user.types("setup", "claude", "--yes", *project).code == 0
    assert user.files() != before
    assert user.types("setup", "claude", "--yes", "--remove", *project).code == 0
    assert user.files() == before
    assert "nothing to do" in user.types("setup", "claude", "--remove", *project).out


def test_a_second_run_says_that_there_is_nothing_to_do(user: User) -> None:
    user.types("setup", "claude", "--yes")
    before = user.files()
    assert "There is nothing to do." in user.types("setup", "claude").out
    assert user.files() == before


def test_what_somebody_added_meanwhile_stays(user: User) -> None:
    user.types("setup", "claude", "--yes")
    main, settings = user.home / ".claude.json", user.home / ".claude/settings.json"
    changed = document(main)
    changed["mcpServers"] = {"later": {"command": "x"}, **changed["mcpServers"]}
    main.write_text(json.dumps(changed | {"userID": "u"}, indent=2), encoding="utf-8")
    settings.write_text(
        settings.read_text(encoding="utf-8").replace('"mcp__devsh-memory"', '"A",\n      "mcp__devsh-memory"'), encoding="utf-8"
    )
    (user.home / ".claude/skills/mine").mkdir()
    assert user.types("setup", "claude", "--yes", "--remove").code == 0
    assert document(main) == {"mcpServers": {"later": {"command": "x"}}, "userID": "u"}
    assert document(settings) == {"permissions": {"allow": ["A"]}}
    assert [path.name for path in (user.home / ".claude/skills").iterdir()] == ["mine"]


def test_a_rule_that_was_there_before_is_not_taken_away(user: User) -> None:
    settings = user.writes(".claude/settings.json", '{"permissions": {"allow": ["mcp__devsh-memory"]}}')
    user.types("setup", "claude", "--yes")
    said = user.types("setup", "claude", "--yes", "--remove")
    assert document(settings) == {"permissions": {"allow": ["mcp__devsh-memory"]}}
    assert "was not written by `devsh setup`, so it stays" in said.err


@pytest.mark.promise("setup.remove")
def test_a_server_of_the_same_name_is_replaced_only_when_told_and_put_back_afterwards(user: User) -> None:
    foreign = '{\n  "mcpServers": {\n    "devsh-memory": { "command": "mine", "env": {"T": "hush"} }\n  }\n}\n'
    main = user.writes(".claude.json", foreign)
    refused = user.types("setup", "claude", "--yes")
    assert (refused.code, main.read_text(encoding="utf-8")) == (5, foreign)
    assert "mcpServers.devsh-memory already, which `devsh setup` did not write" in refused.err
    assert "hush" not in refused.err + refused.out
    stays = user.types("setup", "claude", "--yes", "--remove")
    assert (stays.code, main.read_text(encoding="utf-8")) == (0, foreign)
    replaced = user.types("setup", "claude", "--yes", "--replace")
    assert (replaced.code, document(main)["mcpServers"]["devsh-memory"]["timeout"]) == (0, 1_800_000)
    assert "of somebody else is replaced" in replaced.err
    undone = user.types("setup", "claude", "--yes", "--remove")
    assert undone.code == 0
    assert "hush" not in replaced.out + undone.out
    assert main.read_text(encoding="utf-8") == foreign


def test_our_entry_follows_where_the_program_is(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    user.types("setup", "claude", "--yes")
    monkeypatch.setattr("devsh_memory_mcp.cli.setup.server_command", lambda: ("/elsewhere/devsh-memory-mcp",))
    said = user.types("setup", "claude", "--yes")
    assert (said.code, "+{" in said.out) == (0, True)
    assert document(user.home / ".claude.json")["mcpServers"]["devsh-memory"]["command"] == "/elsewhere/devsh-memory-mcp"
    user.types("setup", "claude", "--yes", "--remove")
    assert not (user.home / ".claude.json").exists()


@pytest.mark.parametrize(
    ("name", "broken", "why"),
    [
        (".claude.json", '{\n  "a": 1,\n}', "it is not JSON (line 3"),
        (".claude.json", '["mcpServers"]', "it is not an object"),
        (".claude.json", '{"mcpServers": []}', "mcpServers is no object"),
        (".claude.json", '{"mcpServers": null}', "mcpServers is no object"),
        (".claude/settings.json", '{"permissions": {"allow": null}}', "permissions.allow is no list"),
        (".claude/settings.json", "// mine\n{}", "it is not JSON (line 1"),
        (".claude/settings.json", '{"permissions": {"allow": "all"}}', "permissions.allow is no list"),
    ],
)
def test_a_file_that_cannot_be_understood_is_refused_and_nothing_is_written(user: User, name: str, broken: str, why: str) -> None:
    user.writes(name, broken)
    before = user.files()
    said = user.types("setup", "claude", "--yes")
    assert (said.code, user.files()) == (2, before)
    assert f"{user.home}/{name} cannot be changed: {why}" in said.err


def test_without_a_terminal_nothing_is_changed_unless_told(user: User) -> None:
    before = user.files()
    said = user.types("setup", "claude")
    assert (said.code, user.files()) == (2, before)
    assert "There is nobody to ask: nothing was changed. --yes" in said.err
    assert '+      "command"' in said.out


@pytest.mark.parametrize(("answer", "code"), [("n\n", 1), ("y\n", 0)])
def test_at_a_terminal_it_asks(user: User, monkeypatch: pytest.MonkeyPatch, answer: str, code: int) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _prompt: answer.strip())
    assert user.types("setup", "claude").code == code
    assert (user.home / ".claude.json").exists() == (code == 0)


def test_json_tells_what_was_changed_and_nothing_else(user: User) -> None:
    said = user.types("setup", "claude", "--yes", "--json")
    answer = json.loads(said.out)
    assert [Path(path).name for path in answer["changed"]] == [".claude.json", "settings.json", "SKILL.md"]
    assert '+      "timeout": 1800000' in answer["diff"]


def test_the_config_directory_that_the_environment_names_is_used(user: User) -> None:
    home = user.home / "elsewhere"
    assert user.types("setup", "claude", "--yes", CLAUDE_CONFIG_DIR=str(home)).code == 0
    assert sorted(str(path.relative_to(home)) for path in home.rglob("*.*")) == [
        ".claude.json", "settings.json", "skills/devsh-orchestrator/SKILL.md",
    ]  # fmt: skip
    legacy = user.writes(".claude/.config.json", "{}")
    user.types("setup", "claude", "--yes")
    assert "devsh-memory" in document(legacy)["mcpServers"]


def test_a_link_stays_a_link_and_its_target_is_changed(user: User) -> None:
    target = user.writes("dotfiles/claude.json", MAIN, 0o600)
    (user.home / ".claude.json").symlink_to(target)
    user.types("setup", "claude", "--yes")
    assert (user.home / ".claude.json").is_symlink()
    assert "devsh-memory" in document(target)["mcpServers"]


def test_who_holds_the_files_lock_goes_first(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "LOCK_PATIENCE", 0.0)
    main = user.writes(".claude.json", MAIN)
    lock = user.home / ".claude.json.lock"
    lock.mkdir()
    said = user.types("setup", "claude", "--yes")
    assert (said.code, main.read_text(encoding="utf-8")) == (5, MAIN)
    assert str(lock) in said.err
    os.utime(lock, (0, 0))  # of one who was killed
    assert user.types("setup", "claude", "--yes").code == 0
    assert not lock.exists()


def test_a_file_that_changed_while_it_was_asked_is_left_alone(user: User) -> None:
    path = user.writes("file", "a")
    change = text.TextChange(path, "a", "b", (text.Splice(0, 1, "b"),))
    path.write_text("c", encoding="utf-8")
    with pytest.raises(text.Conflict, match="changed meanwhile"):
        change.apply()
    assert path.read_text(encoding="utf-8") == "c"


@pytest.mark.promise("setup.claude")
def test_for_a_project_the_files_lie_in_the_repository(user: User) -> None:
    (user.project / "deep").mkdir()
    said = user.types("setup", "claude", "--project", "--yes")
    assert "asks once whether you trust this repository and its servers" in said.out
    assert "devsh-memory" in document(user.project / ".mcp.json")["mcpServers"]
    assert document(user.project / ".claude/settings.json")["permissions"]["allow"] == ["mcp__devsh-memory"]
    link = user.project / ".claude/skills/devsh-orchestrator"
    assert str(link.readlink()) == "../../.agents/skills/devsh-orchestrator"
    assert (link / "SKILL.md").is_file()
    assert [path.name for path in user.home.iterdir()] == [".config"]
    assert (user.project / ".mcp.json").stat().st_mode & 0o777 == 0o644


def test_a_shared_file_names_the_program_alone_where_path_leads_to_it(tmp_path: Path) -> None:
    program = tmp_path / "tool" / PROGRAM
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / PROGRAM).symlink_to(program)
    command = (str(program),)
    assert shared_command(command, {"PATH": str(tmp_path / "bin")}) == (PROGRAM,)
    assert shared_command(command, {"PATH": "/nowhere"}) == command
    assert shared_command(("python", "-m", "x"), {"PATH": str(tmp_path / "bin")}) == ("python", "-m", "x")


def test_a_program_that_was_fetched_for_one_call_is_not_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda _name: "/home/user/.cache/uv/archive-v0/abc/bin")
    with pytest.raises(InvalidRequest, match="for this one call only") as refused:
        server_command()
    assert "uv tool install" in refused.value.next_step
    monkeypatch.setattr("sysconfig.get_path", lambda _name: "/nowhere")
    assert server_command() == (sys.executable, "-m", "devsh_memory_mcp")
