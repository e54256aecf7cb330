"""The real claude that the tests run: the one version they are written for."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

VERSION = "2.1.330"
HOW_TO_GET_IT = (
    f"There is no claude {VERSION}: `pip install --no-deps --target DIRECTORY claude-agent-sdk==0.2.187` brings it, "
    "and DEVSH_TEST_CLAUDE=DIRECTORY/claude_agent_sdk/_bundled/claude names it."
)


def find_claude(environment: Mapping[str, str]) -> Path | None:
    """The one that is named, else the one on PATH; None where that is not of the version."""
    return find("claude", f"{VERSION} ", environment)


def find(program: str, said: str, environment: Mapping[str, str]) -> Path | None:
    """The one that DEVSH_TEST_… names, else the one on PATH; None where it does not begin with this when it is asked its version."""
    named = environment.get(f"DEVSH_TEST_{program.upper()}") or shutil.which(program, path=environment.get("PATH", ""))
    return Path(named).absolute() if named and _version(named, environment).startswith(said) else None


def get_claude(found: Path | None, environment: Mapping[str, str]) -> Path:
    """The one that was found. Tests without it are skipped, but not in continuous integration, where nothing would be proved then."""
    return get(found, HOW_TO_GET_IT, environment)


def get(found: Path | None, how: str, environment: Mapping[str, str]) -> Path:
    """The same of any program; `how` tells how to get it."""
    if found is None and environment.get("CI") == "true":
        pytest.fail(how)
    return found or pytest.skip(how)


def _version(program: str, environment: Mapping[str, str]) -> str:
    try:
        return subprocess.run([program, "--version"], env=environment, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


FOUND = find_claude(os.environ)  # now: tests/conftest.py takes such variables away
