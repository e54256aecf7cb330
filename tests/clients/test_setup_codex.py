"""`devsh setup codex`: a table at the end of Codex's file, and the file as it was afterwards."""

import tomllib
from pathlib import Path

import pytest

from devsh_memory_mcp.clients.server import server_command
from tests.doubles.user import User

CONFIG = """# mine
model = "gpt-5.1-codex"   # the small one

[mcp_servers.other]
command = "other"
env = { TOKEN = "hush" }

# of this project
[projects."/somewhere"]
trust_level = "trusted"
"""
FOREIGN = """[mcp_servers.devsh-memory]
command = "mine"

[mcp_servers.devsh-memory.env]
TOKEN = "hush"

"""


def servers(path: Path) -> dict[str, dict[str, object]]:
    found = tomllib.loads(path.read_text(encoding="utf-8"))["mcp_servers"]
    assert isinstance(found, dict)
    return found


@pytest.mark.promise("setup.codex")
def test_the_server_is_put_in_with_its_timeouts_and_what_agents_need(user: User) -> None:
    path = user.writes(".codex/config.toml", CONFIG, 0o600)
    said = user.types("setup", "codex", "--yes")
    entry = servers(path)["devsh-memory"]
    assert (said.code, path.stat().st_mode & 0o777) == (0, 0o600)
    assert path.read_text(encoding="utf-8").startswith(CONFIG)
    program, *arguments = server_command()
    assert (entry["command"], entry.get("args", []), entry["tool_timeout_sec"]) == (program, arguments, 1800)
    assert entry["default_tools_approval_mode"] == "approve"
    assert {"DEVSH_MEMORY_DIR", "ANTHROPIC_API_KEY", "SSH_AUTH_SOCK", "https_proxy"} <= set(entry["env_vars"])  # type: ignore[call-overload]
    assert "hush" not in said.out
    assert "There is nothing to do." in user.types("setup", "codex").out


@pytest.mark.promise("setup.remove")
@pytest.mark.parametrize(
    "config", [None, "", CONFIG, CONFIG.rstrip("\n"), "model = 'x'", FOREIGN.replace("devsh-memory", "devsh") + CONFIG]
)
def test_after_setup_and_remove_the_file_is_as_before_to_the_byte(user: User, config: str | None) -> None:
    if config is not None:
        user.writes(".codex/config.toml", config)
    before = user.files()
    assert user.types("setup", "codex", "--yes").code == 0
    assert user.files() != before
    assert user.types("setup", "codex", "--yes", "--remove").code == 0
    assert user.files() == before


@pytest.mark.promise("setup.remove")
@pytest.mark.parametrize("around", [(CONFIG, ""), ("", CONFIG), ("a = 1\n", "# theirs\n[other]\nb = 1\n")])
def test_a_table_of_the_same_name_is_replaced_only_when_told_and_put_back_afterwards(user: User, around: tuple[str, str]) -> None:
    whole = around[0] + FOREIGN + around[1]
    path = user.writes(".codex/config.toml", whole)
    refused = user.types("setup", "codex", "--yes")
    assert (refused.code, path.read_text(encoding="utf-8")) == (5, whole)
    assert user.types("setup", "codex", "--yes", "--remove").code == 0
    assert path.read_text(encoding="utf-8") == whole
    replaced = user.types("setup", "codex", "--yes", "--replace")
    assert (replaced.code, servers(path)["devsh-memory"]["tool_timeout_sec"]) == (0, 1800)
    assert "# theirs" in path.read_text(encoding="utf-8") or "# theirs" not in whole
    undone = user.types("setup", "codex", "--yes", "--remove")
    assert (undone.code, path.read_text(encoding="utf-8")) == (0, whole)
    assert "hush" not in refused.err + replaced.out + undone.out


def test_a_table_that_codex_wrote_anew_is_taken_out_all_the_same(user: User) -> None:
    path = user.writes(".codex/config.toml", "a = 1\n")
    user.types("setup", "codex", "--yes")
    text = path.read_text(encoding="utf-8").replace("1800", "1800.0").replace(" = ", "=") + "\n# theirs\n[x]\ny = 1\n"
    path.write_text(text, encoding="utf-8")
    assert user.types("setup", "codex", "--yes", "--remove").code == 0
    assert path.read_text(encoding="utf-8") == "a=1\n\n\n# theirs\n[x]\ny = 1\n"


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ("a = \n", "it is not TOML"),
        ("mcp_servers = 3\n", "mcp_servers is no table"),
        ("mcp_servers = { other = { command = 'x' } }\n", "without touching other lines"),
    ],
)
def test_a_file_that_cannot_be_changed_safely_is_refused_and_nothing_is_written(user: User, config: str, why: str) -> None:
    user.writes(".codex/config.toml", config)
    before = user.files()
    said = user.types("setup", "codex", "--yes")
    assert (said.code, user.files()) == (2, before)
    assert why in said.err


def test_codex_home_is_used_where_it_is_named(user: User) -> None:
    assert user.types("setup", "codex", "--yes", CODEX_HOME=str(user.home / "there")).code == 0
    assert (user.home / "there/config.toml").stat().st_mode & 0o777 == 0o600


@pytest.mark.promise("setup.codex")
def test_what_was_taken_out_leaves_no_notes_of_it(user: User) -> None:
    user.types("setup", "codex", "--yes")
    assert (user.home / ".config/devsh/setup.json").exists()
    user.types("setup", "codex", "--remove", "--yes")
    assert not (user.home / ".config/devsh").exists()
    user.writes(".config/devsh/config.toml", "")
    user.types("setup", "codex", "--yes")
    user.types("setup", "codex", "--remove", "--yes")
    assert [path.name for path in (user.home / ".config/devsh").iterdir()] == ["config.toml"]
