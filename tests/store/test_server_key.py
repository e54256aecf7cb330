"""The key that signs tokens: made once, the user's alone, and never a weak one."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from devsh_memory_mcp.errors import Refused, SettingsInvalid
from devsh_memory_mcp.store.server_key import FILE, VARIABLE, server_key


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}


def file_of(environment: dict[str, str]) -> Path:
    return Path(environment["XDG_CONFIG_HOME"]) / "devsh" / FILE


def test_it_is_made_once_for_the_user_alone(environment: dict[str, str]) -> None:
    key = server_key(environment)
    assert len(key) >= 32
    assert server_key(environment) == key
    assert file_of(environment).stat().st_mode & 0o777 == 0o600
    assert [found.name for found in file_of(environment).parent.iterdir()] == [FILE]


def test_of_many_who_make_it_at_once_all_get_the_same(environment: dict[str, str]) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: server_key(environment), range(32)))) == 1


def test_the_environment_says_it_or_says_it_too_short(environment: dict[str, str]) -> None:
    assert server_key(environment | {VARIABLE: "s" * 32}) == b"s" * 32
    assert not file_of(environment).exists()
    with pytest.raises(SettingsInvalid) as refused:
        server_key(environment | {VARIABLE: "hush" * 7})
    assert "hush" not in str(refused.value)


def test_one_that_others_can_read_or_that_is_a_link_or_cut_off_is_refused(environment: dict[str, str], tmp_path: Path) -> None:
    server_key(environment)
    path = file_of(environment)
    path.chmod(0o644)
    with pytest.raises(Refused, match="read by others"):
        server_key(environment)
    path.chmod(0o600)
    path.write_text("short")
    with pytest.raises(SettingsInvalid, match="too short"):
        server_key(environment)
    path.unlink()
    other = tmp_path / "other"
    other.write_text("x" * 64)
    os.symlink(other, path)
    with pytest.raises(Refused):
        server_key(environment)
