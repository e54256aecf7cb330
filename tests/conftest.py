"""What all tests share: async tests run on asyncio, and no test sees this machine's own orchestrations or agents."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doubles.aftermath import end_processes, findings
from tests.faults import turn

# What would make a test's outcome depend on who runs it: an enclosing agent's identity, logins, settings, git's own variables.
_FOREIGN = ("CMUX_", "DEVSH_", "CLAUDE", "ANTHROPIC_", "OPENAI_", "CODEX_", "GIT_")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def own_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home and a memory root of the test's own, which it leaves clean; answers the home.

    Git has an identity there and reads no other configuration.
    """
    _forget_callers(monkeypatch)
    home = tmp_path_factory.mktemp("home")
    (home / ".gitconfig").write_text(
        "[user]\n\tname = A Tester\n\temail = tester@example.org\n[init]\n\tdefaultBranch = main\n", encoding="utf-8"
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("DEVSH_MEMORY_DIR", str(home / "memory"))
    monkeypatch.setenv("DEVSH_SANDBOX", "none")  # most tests watch their agents through files of this machine's
    yield home
    _forget_callers(monkeypatch)  # a test may have played one
    if (home / "memory" / "orchestrations").is_dir():
        assert end_processes(home / "memory") == {}, "processes were left behind"
        assert findings(home / "memory") == set()


def _forget_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(_FOREIGN):
            monkeypatch.delenv(name)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says above the last line which slice of the faults it was, and how long its tests took, one after the other."""
    reports = [report for found in terminalreporter.stats.values() for report in found if isinstance(report, pytest.TestReport)]
    seconds = sum(report.duration for report in reports if report.nodeid.startswith("tests/faults/"))
    if seconds:
        again = f"{turn.VARIABLE}={turn.turn()} makes the same slice again"
        terminalreporter.write_line(f"tests/faults: {seconds:.0f} s in all, {again}")
