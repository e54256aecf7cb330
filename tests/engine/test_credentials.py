"""What an agent may do unasked, as far as the machine lets it, with what it is logged in, and what of its user's it sees."""

import os
from pathlib import Path

import pytest

from devsh_memory_mcp.agents.catalogue import find_adapter
from devsh_memory_mcp.domain.state import State
from devsh_memory_mcp.engine.credentials import (
    check_program,
    checked_permissions,
    find_credential,
    find_standing,
    lendable,
    servers_of_user,
)
from devsh_memory_mcp.errors import InvalidRequest, NotAvailable

CODEX = find_adapter("codex/gpt-5.5")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is refused")
@pytest.mark.parametrize("said", [{}, {"IS_SANDBOX": ""}, {"IS_SANDBOX": "0"}])
def test_root_may_bypass_permissions_only_where_the_machine_is_said_to_be_a_sandbox(said: dict[str, str]) -> None:
    adapter = find_adapter("claude/opus")
    with pytest.raises(InvalidRequest, match="claude itself refuses to bypass permissions as root") as refused:
        checked_permissions(adapter, "claude/opus", "bypass", said)
    assert "set IS_SANDBOX=1" in refused.value.next_step
    assert checked_permissions(adapter, "claude/opus", "bypass", {"IS_SANDBOX": "1"}) == "bypass"


def test_codex_itself_refuses_root_nothing() -> None:
    assert checked_permissions(CODEX, "codex/gpt-5.5", "bypass", {}) == "bypass"
    assert checked_permissions(CODEX, "codex/gpt-5.5", None, {}) == "acceptEdits"


def test_codex_takes_its_own_key_then_its_login_then_anybodys_key(tmp_path: Path) -> None:
    assert CODEX.provider is not None
    keys = {"CODEX_API_KEY": "a", "OPENAI_API_KEY": "b"}
    here = {"HOME": str(tmp_path), "PATH": ""}
    assert find_credential(CODEX.provider, here) is None
    found = find_credential(CODEX.provider, here | {"OPENAI_API_KEY": "b"})
    assert found is not None
    assert (found.variable, found.cost_basis) == ("OPENAI_API_KEY", "api")
    (tmp_path / ".codex").mkdir()
    (tmp_path / ".codex" / "auth.json").write_text('{"tokens": {"access_token": "hush"}}')
    login = find_credential(CODEX.provider, here | {"OPENAI_API_KEY": "b"})
    assert login is not None
    assert (login.variable, login.cost_basis) == (None, "subscription")
    own = find_credential(CODEX.provider, here | keys)
    assert own is not None
    assert own.variable == "CODEX_API_KEY"
    assert lendable(here | keys | {"ANTHROPIC_API_KEY": "c"}) == keys | {"ANTHROPIC_API_KEY": "c"}


def test_the_servers_of_codexs_user_are_known_by_name_and_nothing_else_of_them(tmp_path: Path) -> None:
    assert CODEX.provider is not None
    home = {"HOME": "/nowhere", "CODEX_HOME": str(tmp_path)}
    assert servers_of_user(CODEX.provider, home) == ()
    file = tmp_path / "config.toml"
    file.write_text('[mcp_servers.mine]\ncommand = "x"\nenv = {TOKEN = "hush"}\n[mcp_servers."the other"]\nurl = "http://localhost"\n')
    assert find_standing(State(), CODEX, None, home, None).hide == ("mine", "the other")
    file.write_text("mcp_servers = 3")
    assert servers_of_user(CODEX.provider, home) == ()
    file.write_text("no TOML")
    assert servers_of_user(CODEX.provider, home) == ()


def test_codex_that_is_not_there_is_told_with_what_brings_it() -> None:
    with pytest.raises(NotAvailable) as caught:
        check_program(CODEX, "codex/gpt-5.5", {"PATH": "/nowhere"})
    assert "npm install -g @openai/codex" in caught.value.next_step
