"""Trees are handed over whole, whatever an agent made of them."""

import os
import pathlib
import subprocess

import pytest

from devsh_memory_mcp.shim import ownership

OTHER = 60777
DEEP = 1500


def deep(top: pathlib.Path, *, name: str = "d", count: int = DEEP) -> int:
    """Directories in each other, with a file in the last of them, whose descriptor it is."""
    here = os.open(top, os.O_RDONLY)
    for _ in range(count):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here))
    return here


@pytest.mark.skipif(os.geteuid() != 0, reason="nobody but root gives anything away")
@pytest.mark.parametrize(("name", "count"), [("d", DEEP), ("n" * 250, 40)])
def test_a_tree_is_given_however_deep_it_is_and_nothing_beside_it(tmp_path: pathlib.Path, name: str, count: int) -> None:
    beside, top = tmp_path / "beside", tmp_path / "top"
    for path in (beside, top, top / "other"):
        path.mkdir()
    (top / "link").symlink_to(beside)
    last = deep(top, name=name, count=count)
    (top / "other/after").write_text("")
    try:
        assert ownership.give(str(top), OTHER) is None
        given = [os.stat(last), os.stat("file", dir_fd=last), *(os.lstat(path) for path in (top, top / "link", top / "other/after"))]
        assert {(status.st_uid, status.st_gid) for status in given} == {(OTHER, OTHER)}
        assert {beside.stat().st_uid, tmp_path.stat().st_uid} == {0}
    finally:
        os.close(last)
        subprocess.run(["rm", "-rf", str(top)], check=True)  # deeper than pytest can remove


def test_what_cannot_be_given_is_told_and_what_is_not_there_is_nothing(tmp_path: pathlib.Path) -> None:
    assert ownership.give(str(tmp_path / "none"), OTHER) is None
    if os.geteuid() != 0:
        assert ownership.give(str(tmp_path), 0) == "Operation not permitted"
