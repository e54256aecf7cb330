"""`devsh auth`: what is stored, what comes first, and that nobody else gets at it."""

import io
import json
import sys
from pathlib import Path

import pytest

from devsh_memory_mcp.agents.catalogue import find_adapter
from devsh_memory_mcp.agents.claude import PROVIDER
from devsh_memory_mcp.engine.credentials import find_credential, lendable
from devsh_memory_mcp.engine.vault import fingerprint
from devsh_memory_mcp.errors import InvalidRequest, SettingsInvalid
from devsh_memory_mcp.inventory import find_agents
from tests.doubles.user import Said, User

TOKEN, KEY = "sk-ant-oat01-of-the-user", "sk-ant-api03-of-the-user"


@pytest.fixture
def user(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> User:
    user = User(tmp_path, capsys)
    user.environment["PATH"] = str(user.home / "bin")
    return user


@pytest.fixture
def gives(user: User, monkeypatch: pytest.MonkeyPatch):
    def give(value: str, *words: str) -> Said:
        monkeypatch.setattr(sys, "stdin", io.StringIO(value))
        return user.types("auth", *words)

    return give


def record(user: User) -> Path:
    return user.home / ".config/devsh/logins.json"


@pytest.mark.promise("settings.auth")
@pytest.mark.parametrize(
    ("value", "words", "expected"),
    [
        (TOKEN, (), ("CLAUDE_CODE_OAUTH_TOKEN", "subscription")),
        (KEY, (), ("ANTHROPIC_API_KEY", "api")),
        ("of-a-gateway", ("--billing", "api"), ("ANTHROPIC_API_KEY", "api")),
    ],
)
def test_what_is_stored_comes_before_the_environment_and_the_clis_own_login(user, gives, value, words, expected):
    user.writes(".claude/.credentials.json", '{"claudeAiOauth": {"accessToken": "own"}}')
    environment = user.environment | {"ANTHROPIC_API_KEY": "of-the-shell"}
    said = gives(f"{value}\n", "claude", *words)
    assert (said.code, value in said.out + said.err) == (0, False)
    assert record(user).stat().st_mode & 0o777 == 0o600
    found = find_credential(PROVIDER, environment)
    assert (found.variable, found.cost_basis, found.fingerprint) == (*expected, fingerprint(value))
    assert lendable(environment)[found.variable] == value


@pytest.mark.promise("settings.auth")
@pytest.mark.parametrize(
    ("program", "model", "variable"),
    [("claude", "anthropic/claude-haiku-4-5", "ANTHROPIC_API_KEY"), ("gemini", "google/gemini-2.5-pro", "GEMINI_API_KEY")],
)
def test_what_is_stored_is_for_each_program_that_takes_that_variable(user, gives, program, model, variable):
    value = "a-key-of-the-user"
    assert gives(f"{value}\n", program, "--billing", "api").code == 0
    provider = find_adapter(f"opencode/{model}").provider
    for environment in (user.environment, user.environment | {variable: "of-the-shell"}):
        found = find_credential(provider, environment)
        assert (found.variable, found.cost_basis, found.fingerprint) == (variable, "api", fingerprint(value))
        assert fingerprint(lendable(environment)[variable]) == found.fingerprint, "else its task would wait for ever"


@pytest.mark.promise("settings.billing")
def test_who_pays_can_be_said_where_both_could(user, gives):
    both = user.environment | {"ANTHROPIC_API_KEY": KEY, "CLAUDE_CODE_OAUTH_TOKEN": TOKEN}
    assert [find_credential(PROVIDER, both, billing).variable for billing in (None, "api", "subscription")] == [
        "ANTHROPIC_API_KEY", "ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN",
    ]  # fmt: skip
    gives(TOKEN, "claude")
    assert find_credential(PROVIDER, both).cost_basis == "subscription"
    assert find_credential(PROVIDER, both, "api").fingerprint == fingerprint(KEY)
    with pytest.raises(InvalidRequest, match="No login of claude was found that a key pays for") as refused:
        find_credential(PROVIDER, user.environment, "api")
    assert refused.value.next_step == "devsh auth claude --billing api"


@pytest.mark.promise("settings.auth")
def test_what_is_removed_is_no_longer_used(user, gives):
    gives(TOKEN, "claude")
    gives("sk-of-openai", "codex")
    assert "Forgotten" in user.types("auth", "claude", "--remove").out
    assert "Nothing was stored" in user.types("auth", "claude", "--remove").out
    assert find_credential(PROVIDER, user.environment) is None
    assert list(json.loads(record(user).read_text())) == ["codex"]


@pytest.mark.promise("settings.auth")
def test_the_status_says_who_pays_and_shows_no_secret(user, gives):
    gives(TOKEN, "claude")
    said = user.types("auth", ANTHROPIC_API_KEY=KEY)
    assert "claude   devsh auth, paid by the subscription" in said.out
    assert "ANTHROPIC_API_KEY, paid by the token, not used" in said.out
    assert "codex    no login was found; devsh auth codex stores one" in said.out
    document = user.types("auth", "claude", "--status", "--json", ANTHROPIC_API_KEY=KEY).out
    assert [(login["stored"], login["used"]) for login in json.loads(document)["logins"]["claude"]] == [(True, True), (False, False)]
    assert TOKEN not in said.out + document
    assert TOKEN not in repr(find_agents(user.environment))


@pytest.mark.parametrize(
    ("value", "words", "told"),
    [
        ("", ("claude",), "no key or token on stdin"),
        ("short", ("claude",), "no key or token: those"),
        ("two words of it", ("claude",), "no key or token: those"),
        ("whatever-it-is", ("claude",), "--billing api"),
        (TOKEN, ("claude", "--billing", "api"), "of the kind subscription"),
        ("sk-of-openai", ("codex", "--billing", "subscription"), "codex login"),
        (TOKEN, ("--remove",), "Say for which program"),
    ],
)
def test_what_cannot_be_stored_is_refused_without_being_shown(user, gives, value, words, told):
    said = gives(value, *words)
    assert said.code != 0
    assert told in said.err
    assert not value or value not in said.err
    assert not record(user).exists()


def test_nothing_is_stored_where_agents_are_shown_it(user, gives):
    said = gives(TOKEN, "claude", "--dir", str(user.home / ".config"))
    assert (said.code != 0, record(user).exists()) == (True, False)
    assert "is in the memory root" in said.err


def test_a_file_that_others_can_read_is_not_used_and_is_told(user, gives):
    gives(TOKEN, "claude")
    record(user).chmod(0o644)
    with pytest.raises(SettingsInvalid, match="others may get at it"):
        find_credential(PROVIDER, user.environment)
    assert lendable(user.environment) == {}  # whoever only looks is not kept from it
    said = user.types("doctor", "--dir", user.home / "memory")
    assert "others may get at it" in said.out
    assert "chmod 600" in said.out


def test_at_a_terminal_claude_is_asked_for_a_token_first(user, monkeypatch):
    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("click.termui.hidden_prompt_func", lambda _prompt: TOKEN)
    user.writes("bin/claude", f'#!/bin/sh\necho "$*" > "{user.home}/asked"\n', 0o755)
    assert user.types("auth", "claude").code == 0
    assert (user.home / "asked").read_text() == "setup-token\n"
    assert TOKEN in record(user).read_text()
