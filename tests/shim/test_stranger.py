"""Whom root's agents are: others than each other, and ids that are there."""

import pathlib

import pytest

from devsh_memory_mcp.shim.stranger import stranger

RUNS = [f"orch_{number}.task_{number}.1" for number in range(5000)]


@pytest.fixture
def maps(tmp_path: pathlib.Path) -> tuple[str, ...]:
    (tmp_path / "uid_map").write_text("         0          0 4294967295\n")
    (tmp_path / "gid_map").write_text("         0          0 4294967295\n")
    return str(tmp_path / "uid_map"), str(tmp_path / "gid_map")


def test_fifty_agents_are_fifty_users_whom_nobody_else_is_given(maps: tuple[str, ...]) -> None:
    ids = [stranger(run, maps) for run in RUNS]
    assert all(2_000_200_000 < each < 0x7FFE0000 for each in ids)
    assert [len({*ids[first : first + 50]}) for first in range(0, 5000, 50)] == [50] * 100
    assert stranger(RUNS[0], maps) == ids[0]


@pytest.mark.parametrize("kind", ["uid_map", "gid_map"])
def test_where_those_ids_are_not_mapped_others_are_taken_that_are(maps: tuple[str, ...], tmp_path: pathlib.Path, kind: str) -> None:
    (tmp_path / kind).write_text("         0     100000      65536\n")
    assert {stranger(run, maps) for run in RUNS} == {*range(60706, 61184)}


def test_without_user_namespaces_all_are_there(tmp_path: pathlib.Path) -> None:
    assert stranger("x", (str(tmp_path / "none"),)) >= 0x78000000
