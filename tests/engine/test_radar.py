"""Which branches conflict, asked of git without touching anything."""

import os
from pathlib import Path

import pytest

from devsh_memory_mcp.engine.radar import Published, pairs_of
from devsh_memory_mcp.ports import Orchestration
from tests.engine.house import House, ended, git, shell


async def done(orchestration: Orchestration, *scripts: str) -> list[str]:
    """The tasks' branches, once all have ended."""
    spawned = [await orchestration.spawn(shell(script, repo=None)) for script in scripts]
    await ended(orchestration, *(one.orchestration_task_id for one in spawned))
    return [str((await orchestration.status(one.orchestration_task_id)).branch) for one in spawned]


@pytest.mark.promise("cli.results.conflicts")
async def test_branches_that_change_the_same_line_conflict_and_others_do_not(house: House, repository: Path) -> None:
    async with house.opened() as orchestration:
        one, two, other = await done(orchestration, "echo one > README", "echo two > README; echo b > b", "echo c > c")
        objects = sorted((repository / ".git/objects").rglob("*"))
        answer = await orchestration.results()
        assert sorted((repository / ".git/objects").rglob("*")) == objects
    (conflict,) = answer.conflicts
    assert (set(conflict.branches), conflict.files, answer.warnings) == ({one, two}, ("README",), ())
    assert other not in conflict.branches
    assert answer.next is not None
    assert "in README conflict" in answer.next
    assert git(repository, "status", "--porcelain") == ""


async def test_a_branch_that_was_taken_away_conflicts_with_nothing(house: House, repository: Path) -> None:
    async with house.opened() as orchestration:
        one, _ = await done(orchestration, "echo one > README", "echo two > README")
        git(repository, "branch", "-D", one)
        answer = await orchestration.results()
    assert (answer.conflicts, answer.warnings) == ((), ())


async def test_the_branches_are_compared_as_they_stand_now(house: House, repository: Path) -> None:
    async with house.opened() as orchestration:
        one, two = await done(orchestration, "echo one > README", "echo two > README")
        git(repository, "branch", "-f", two, one)
        assert (await orchestration.results()).conflicts == ()


@pytest.mark.parametrize(("code", "told"), [(129, "git 2.38 or later"), (128, "could not be compared")])
async def test_a_git_that_cannot_tell_is_told_of_once(house: House, repository: Path, tmp_path: Path, code: int, told: str) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "git").write_text(f'#!/bin/sh\ncase "$*" in *merge-tree*) exit {code};; esac\nPATH={os.environ["PATH"]} exec git "$@"\n')
    (programs / "git").chmod(0o755)
    async with house.opened() as orchestration:
        await done(orchestration, "echo one > README", "echo two > README")
    async with house.opened(environment={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}) as orchestration:
        answer = await orchestration.results()
    assert answer.conflicts == ()
    (warning,) = answer.warnings
    assert told in warning


async def test_a_repository_that_is_gone_is_told_of(house: House, repository: Path) -> None:
    async with house.opened() as orchestration:
        await done(orchestration, "echo one > README", "echo two > README")
        (repository / ".git").rename(repository / ".git-elsewhere")
        answer = await orchestration.results()
        (repository / ".git-elsewhere").rename(repository / ".git")
    assert [warning.partition(":")[0] for warning in answer.warnings] == ["Whether branches conflict cannot be told"]


def test_pairs_are_of_one_repository_and_those_with_a_common_file_come_first() -> None:
    branches = [
        Published(str(n), f"dev/{n}", place, frozenset(files))
        for n, (place, files) in enumerate([("a", "x"), ("a", "y"), ("b", "x"), ("a", "xz")])
    ]
    assert [(one.task_id, other.task_id) for one, other in pairs_of(branches)] == [("0", "3"), ("0", "1"), ("1", "3")]
