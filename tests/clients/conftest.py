"""Whoever types the commands of these tests."""

from pathlib import Path

import pytest

from tests.doubles.user import User


@pytest.fixture
def user(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> User:
    return User(tmp_path, capsys)
