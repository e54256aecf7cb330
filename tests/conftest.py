"""What all tests share: async tests run on asyncio, and no test sees this machine's own orchestrations or agents."""

import os
from pathlib import Path

import pytest

# What would make a test's outcome depend on who runs it: an enclosing agent's identity, logins, settings, git's own variables.
_FOREIGN = ("CMUX_", "DEVSH_", "CLAUDE", "ANTHROPIC_", "OPENAI_", "CODEX_", "GIT_")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def own_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home and a memory root of the test's own; answers the home. Git has an identity there and reads no other configuration."""
    for name in list(os.environ):
        if name.startswith(_FOREIGN):
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    (home / ".gitconfig").write_text(
        "[user]\n\tname = A Tester\n\temail = tester@example.org\n[init]\n\tdefaultBranch = main\n", encoding="utf-8"
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("DEVSH_MEMORY_DIR", str(home / "memory"))
    return home
