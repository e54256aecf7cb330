"""The brief over real tasks, a real journal and a real repository."""

from pathlib import Path

import pytest

from devsh_memory_mcp.domain.requests import MessageRequest
from tests.engine.house import House, ended, git, shell


@pytest.mark.promise("mcp.brief")
async def test_what_was_merged_or_removed_is_not_owed_any_more(house: House, repository: Path) -> None:
    async with house.opened(is_shell=False) as orchestration:
        spawned = [await orchestration.spawn(shell(f"echo . > {name}", name=name, repo=None)) for name in ("kept", "merged", "removed")]
        await ended(orchestration, *(answer.orchestration_task_id for answer in spawned))
        branches = [(await orchestration.status(answer.task_id)).branch for answer in spawned]
        before = await orchestration.brief()
        git(repository, "merge", "-q", str(branches[1]))
        git(repository, "branch", "-q", "-D", str(branches[2]))
        after = await orchestration.brief()
        git(repository, "checkout", "-q", "--orphan", "nothing")
        lost = await orchestration.brief()
    assert "not merged as far as git shows (3)" in before
    assert f"not merged as far as git shows (1)\n- kept: branch {branches[0]}, 1 commit, +1 -0 in 1 file: echo . > kept" in after
    assert "nothing left to do (2)" in after
    assert "not merged as far as git shows (3)" in lost  # git cannot say, so nothing counts as merged


async def test_reading_it_changes_nothing(house: House) -> None:
    async with house.opened(is_shell=False) as orchestration:
        failed = await orchestration.spawn(shell("echo no >&2; exit 3"))
        await ended(orchestration, failed.orchestration_task_id)
        await orchestration.message(MessageRequest(to="head", message="note to self", type="status"))
        position = await orchestration.position()
        pages = [await orchestration.brief() for _ in range(2)]
        assert await orchestration.position() == position
        plan = await orchestration.plan()
        (message,) = (await orchestration.messages()).messages
    assert message.message == "note to self"
    assert "- status from head: note to self" in pages[1]
    assert f"- {failed.orchestration_task_id} (exit): " in pages[1]
    assert plan["aggregatedStatus"] == {"total": 1, "completed": 0, "running": 0, "failed": 1, "pending": 0, "cancelled": 0}


async def test_the_end_of_an_output_is_read_without_the_rest(house: House) -> None:
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell("seq 1 1000; echo complaint >&2"))
        await ended(orchestration, spawned.orchestration_task_id)
        said = [text async for text in orchestration.output(spawned.task_id, last=10)]
    assert said == ["999\n1000\n", "complaint\n"]
