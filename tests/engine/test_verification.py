"""What an agent claims is verified by a command of its caller's, and what it may take is limited."""

from pathlib import Path

import pytest

from devsh_memory_mcp.domain.requests import BatchRequest
from devsh_memory_mcp.errors import InvalidRequest
from tests.engine.house import House, ended, git, shell

CLAIM = "echo claimed >claim; echo done"


@pytest.mark.promise("cli.spawn.verify")
async def test_work_that_passes_is_told_as_verified(house: House, repository: Path) -> None:
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell(CLAIM, repo=None, verify="grep claimed claim"))
        answer = await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
        (result,) = (await orchestration.results()).results
        logs = [text async for text in orchestration.output(spawned.orchestration_task_id, follow=False)]
    assert (answer.status, record.verified, result.verified) == ("completed", True, True)
    assert git(repository, "show", f"{record.branch}:claim") == "claimed"
    assert "".join(logs) == "done\n[verify] claimed\n"


@pytest.mark.promise("cli.spawn.verify")
async def test_work_that_does_not_pass_is_tried_again_with_what_was_said_of_it(house: House, repository: Path) -> None:
    script = 'if [ -n "$DEVSH_BRIEFING" ]; then cat "$DEVSH_BRIEFING"; echo right >claim; else echo wrong >claim; fi'
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell(script, repo=None, retries=1, verify="grep right claim || { echo it is wrong; exit 9; }"))
        answer = await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
    assert (answer.status, record.attempt, record.verified) == ("completed", 2, True)
    assert "the one before ended: The verification failed (exit code 9): it is wrong." in (answer.result or "")
    assert record.salvage_refs[0] in (answer.result or "")


@pytest.mark.promise("cli.spawn.verify")
async def test_work_that_never_passes_has_failed_and_is_saved(house: House, repository: Path) -> None:
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell(CLAIM, repo=None, verify="echo 2 tests failed; false"))
        answer = await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
        explained = await orchestration.explain(spawned.orchestration_task_id)
    assert (answer.status, record.reason, record.verified, record.branch) == ("failed", "verify", False, None)
    assert answer.error_message == "The verification failed (exit code 1): 2 tests failed"
    assert git(repository, "show", f"{record.salvage_refs[0]}:claim") == "claimed"
    assert explained.because[0].startswith("Its work did not pass the verification: ")


@pytest.mark.promise("cli.spawn.stall-timeout")
async def test_an_agent_that_falls_silent_is_tried_again(house: House) -> None:
    async with house.opened() as orchestration:
        script = '[ -n "$DEVSH_BRIEFING" ] || exec sleep 1000'
        spawned = await orchestration.spawn(shell(script, stall_timeout_ms=300, retries=1))
        answer = await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
    assert (answer.status, record.attempt) == ("completed", 2)


@pytest.mark.promise("cli.spawn.max-turns")
@pytest.mark.promise("cli.spawn.max-cost-usd")
@pytest.mark.parametrize(("field", "name"), [("max_turns", "maxTurns"), ("max_cost_usd", "maxCostUsd")])
async def test_a_limit_that_an_agent_cannot_keep_is_refused(house: House, field: str, name: str) -> None:
    async with house.opened() as orchestration:
        with pytest.raises(InvalidRequest, match=f"shell/bash does not tell .*, so {name} could not be kept"):
            await orchestration.spawn(shell("true", **{field: 3}))


async def test_a_limit_on_what_is_told_too_late_is_refused_as_that(house: House) -> None:
    late = "opencode/default does not tell what it costs before its turn is over, so maxCostUsd could not be kept"
    async with house.opened() as orchestration:
        with pytest.raises(InvalidRequest, match=late):
            await orchestration.spawn(shell("x", agent_name="opencode/default", max_cost_usd=1))


async def test_the_tasks_of_a_batch_are_verified_each_by_its_own_command(house: House) -> None:
    tasks = [{"id": name, "prompt": CLAIM, "agentName": "shell/bash", "repo": "none", "verify": f"[ {name} = a ]"} for name in "ab"]
    async with house.opened() as orchestration:
        await orchestration.spawn_batch(BatchRequest.model_validate({"tasks": tasks}))
        await ended(orchestration, "a", "b")
        assert [(await orchestration.status(name)).verified for name in "ab"] == [True, False]
