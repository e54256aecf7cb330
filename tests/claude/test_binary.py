"""Which claude the tests run, and what it can reach."""

import errno
import os
import socket
from pathlib import Path

import pytest

from tests.claude.binary import VERSION, find_claude, get_claude


def program(directory: Path, version: str) -> Path:
    path = directory / "claude"
    path.write_text(f"#!/bin/sh\necho '{version} (Claude Code)'\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_the_one_on_path_serves_where_none_is_named(tmp_path: Path) -> None:
    path = program(tmp_path, VERSION)
    assert find_claude({"PATH": str(tmp_path)}) == path
    assert find_claude({"PATH": "", "DEVSH_TEST_CLAUDE": str(path)}) == path


def test_another_version_does_not_serve(tmp_path: Path) -> None:
    program(tmp_path, "2.1.33")
    assert find_claude({"PATH": str(tmp_path)}) is None
    assert find_claude({"PATH": str(tmp_path), "DEVSH_TEST_CLAUDE": str(tmp_path / "absent")}) is None


def test_without_it_tests_are_skipped_but_fail_in_continuous_integration() -> None:
    with pytest.raises(pytest.skip.Exception, match=r"pip install .* claude-agent-sdk==.* DEVSH_TEST_CLAUDE="):
        get_claude(None, {})
    with pytest.raises(pytest.fail.Exception, match=r"There is no claude"):
        get_claude(None, {"CI": "true"})


@pytest.mark.skipif(os.environ.get("CI") != "true", reason="only .ci/run takes the network away")
def test_continuous_integration_has_no_way_out() -> None:
    with socket.socket() as client:
        assert client.connect_ex(("192.0.2.1", 443)) == errno.ENETUNREACH
