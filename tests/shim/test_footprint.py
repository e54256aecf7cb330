"""What trees take on the disk is counted once, and nothing beside them, whatever somebody does in them meanwhile."""

import collections.abc
import functools
import math
import os
import pathlib
import subprocess
import sys

import pytest

from devsh_memory_mcp.shim.footprint import held, held_before
from tests.shim.test_ownership import deep

K = 1 << 10
Acts = dict[int, collections.abc.Callable[[], object]]


def fill(directory: pathlib.Path, count: int, size: int = 8 * K) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (directory / f"f{number}").write_bytes(b"x" * size)


def du(path: pathlib.Path) -> int:
    return int(subprocess.run(["du", "-sx", "--block-size=1", str(path)], check=True, capture_output=True, text=True).stdout.split()[0])


def count(*roots: pathlib.Path) -> int:
    return held([str(root) for root in roots], math.inf)


@pytest.fixture
def scanned() -> Acts:
    """What is done when the directory of that inode is about to be read."""
    acts: Acts = {}

    def heed(event: str, arguments: tuple[object, ...]) -> None:
        if acts and event == "os.scandir" and isinstance(arguments[0], int):
            acts.get(os.fstat(arguments[0]).st_ino, lambda: None)()

    sys.addaudithook(heed)
    return acts


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> pathlib.Path:
    top = tmp_path / "top"
    fill(top / "a/b", 20)
    fill(top / "c", 5)
    return top


def test_it_is_what_du_says_of_links_pipes_and_files_with_holes(tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    fill(tmp_path / "beside", 50)
    (tree / "up").symlink_to("/")
    (tree / "a/beside").symlink_to(tmp_path / "beside")
    os.mkfifo(tree / "pipe")
    os.link(tree / "c/f0", tree / "a/again")
    with (tree / "holes").open("wb") as file:
        file.truncate(1 << 40)
    assert count(tree) == du(tree)
    assert count(tree) < 1 << 20


def test_several_trees_count_together_and_one_that_is_not_there_is_nothing(tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    os.link(tree / "c/f0", tree / "a/again")
    assert count(tree / "a", tree / "c", tmp_path / "none") == du(tree / "a") + du(tree / "c") - 8 * K
    (tmp_path / "link").symlink_to(tree)
    (tmp_path / "file").write_text("no directory")
    assert count(tmp_path / "link", tmp_path / "file") == 0


def test_what_is_there_before_counts_as_it_does_later_so_that_holes_are_no_allowance(tree: pathlib.Path) -> None:
    before = held_before([str(tree)])
    assert before == count(tree)
    with (tree / "holes").open("wb") as file:
        file.truncate(1 << 30)
    assert held_before([str(tree)]) == count(tree) < before + (1 << 20)


def test_where_a_file_seems_to_take_less_than_its_size_the_count_waits_until_all_is_written_down(tree: pathlib.Path) -> None:
    """As on a file system that tells only seconds later how much room a new file takes."""
    settled: list[str] = []
    before = held_before([str(tree)], settled.append)
    assert settled == [], "every file takes its size"
    late = tree / "late"
    with late.open("wb") as file:
        file.truncate(80 * K)

    def settle(root: str) -> None:
        settled.append(root)
        late.write_bytes(b"x" * 80 * K)

    assert held_before([str(tree)], settle) >= before + 80 * K
    assert settled == [str(tree)]


@pytest.mark.parametrize(("name", "levels"), [("d", 3000), ("n" * 250, 40)])
def test_a_tree_is_counted_however_deep_it_is(tree: pathlib.Path, name: str, levels: int) -> None:
    before = count(tree)
    last = deep(tree, name=name, count=levels)
    try:
        with open(os.open("fat", os.O_WRONLY | os.O_CREAT, dir_fd=last), "wb") as file:
            file.write(b"x" * 80 * K)
        assert count(tree) >= before + 80 * K
    finally:
        os.close(last)
        subprocess.run(["rm", "-rf", str(tree)], check=True)  # deeper than pytest can remove


def test_another_file_system_is_not_gone_into(tree: pathlib.Path) -> None:
    before = count(tree)
    (tree / "mounted").mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(tree / "mounted")], check=False, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr.strip()}")
    try:
        fill(tree / "mounted/more", 20)
        assert count(tree) == before
    finally:
        subprocess.run(["umount", "-l", str(tree / "mounted")], check=True)


def test_a_count_that_comes_to_too_much_says_so(tree: pathlib.Path) -> None:
    roots = [str(tree)]
    assert held(roots, 16 * K) > 16 * K
    assert held(roots, du(tree)) == du(tree)


def test_what_is_moved_during_a_count_counts_once(tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """From a tree that was counted into one that is counted next, at the first count and at the second."""
    fill(tmp_path / "next", 1)
    most = du(tree) + du(tmp_path / "next")

    class Roots(tuple[str, ...]):
        def __iter__(self) -> collections.abc.Iterator[str]:
            yield str(tree)
            (tree / "a").rename(tmp_path / "next/a")
            yield str(tmp_path / "next")
            (tmp_path / "next/a").rename(tree / "a")

    assert held_before(Roots()) > most
    assert held(Roots(), most - du(tree / "c")) == most


def test_a_directory_that_is_moved_away_leads_nobody_away(tree: pathlib.Path, tmp_path: pathlib.Path, scanned: Acts) -> None:
    siblings = [tree / f"a/n{number}" for number in range(20)]
    for sibling in siblings:
        sibling.mkdir()
        fill(tmp_path / "outside" / sibling.name, 5)

    def move_first(sibling: pathlib.Path) -> None:
        scanned.clear()
        sibling.rename(tmp_path / "outside/moved")

    before = count(tree)
    scanned |= {sibling.stat().st_ino: functools.partial(move_first, sibling) for sibling in siblings}
    assert count(tree) == before
    assert (tmp_path / "outside/moved").exists()


def test_behind_a_directory_that_has_gone_the_count_goes_on_above(tree: pathlib.Path, tmp_path: pathlib.Path, scanned: Acts) -> None:
    fill(tree / "a/b/deep/er", 10)
    before = count(tree)
    scanned[(tree / "a/b/deep/er").stat().st_ino] = lambda: scanned.clear() or (tree / "a/b").rename(tmp_path / "away")
    assert count(tree) == before
