"""The real claude that the tests run: the one version they are written for."""

import os
import shutil
import subprocess
from pathlib import Path

VERSION = "2.1.330"
HOW_TO_GET_IT = (
    f"there is no claude {VERSION}: `pip install --no-deps --target DIRECTORY claude-agent-sdk==0.2.187` brings it, "
    "and DEVSH_TEST_CLAUDE=DIRECTORY/claude_agent_sdk/_bundled/claude names it"
)


def find_claude(environment: dict[str, str]) -> Path | None:
    """The one that is named, or the one on PATH; None where there is none of that version."""
    named = environment.get("DEVSH_TEST_CLAUDE") or shutil.which("claude", path=environment.get("PATH"))
    if named and _version(named, environment).startswith(f"{VERSION} "):
        return Path(named).absolute()
    return None


def _version(program: str, environment: dict[str, str]) -> str:
    try:
        return subprocess.run([program, "--version"], env=environment, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


FOUND = find_claude(dict(os.environ))  # before tests/conftest.py takes such variables away
