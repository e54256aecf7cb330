"""Which codex the tests run."""

from pathlib import Path

import pytest

from tests.claude.binary import find, get
from tests.codex.binary import HOW_TO_GET_IT, SAYS, VERSION


def program(directory: Path, version: str) -> Path:
    path = directory / "codex"
    path.write_text(f"#!/bin/sh\necho 'codex-cli {version}'\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_the_one_that_is_named_or_on_path_serves_where_it_is_of_the_version(tmp_path: Path) -> None:
    path = program(tmp_path, VERSION)
    assert find("codex", SAYS, {"PATH": str(tmp_path)}) == path
    assert find("codex", SAYS, {"PATH": "", "DEVSH_TEST_CODEX": str(path)}) == path
    program(tmp_path, f"{VERSION}1")
    assert find("codex", SAYS, {"PATH": str(tmp_path)}) is None


def test_without_it_tests_are_skipped_but_fail_in_continuous_integration() -> None:
    with pytest.raises(pytest.skip.Exception, match=r"npm install .* @openai/codex@.* DEVSH_TEST_CODEX"):
        get(None, HOW_TO_GET_IT, {})
    with pytest.raises(pytest.fail.Exception, match=r"There is no codex"):
        get(None, HOW_TO_GET_IT, {"CI": "true"})
