"""What a real Claude Code may take, how it is verified, and what is held when its provider's limit is used up."""

import time
from pathlib import Path

import pytest

from tests.claude.test_worker import Team, task, team
from tests.doubles.model_api import ModelApi
from tests.doubles.model_script import Error, Tool, Turn
from tests.engine.house import ended, until_event

__all__ = ["team"]

LOOK = Tool("Bash", {"command": "pwd"})
DEAR = {"input_tokens": 1_000_000, "output_tokens": 10}


@pytest.mark.promise("cli.spawn.max-turns")
async def test_it_is_ended_after_so_many_turns_and_not_tried_again(team: Team, model_api: ModelApi) -> None:
    model_api.route("TASK-A", *[Turn("", [LOOK]) for _ in range(6)])
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(task("TASK-A: for ever", max_turns=2, retries=1))
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
    assert (record.status, record.failure, record.attempt) == ("failed", "turns", 1)
    assert (record.tool_calls, record.commands, len(model_api.turns())) == (2, 2, 2)


@pytest.mark.promise("cli.spawn.max-cost-usd")
async def test_it_is_ended_when_it_has_cost_too_much(team: Team, model_api: ModelApi) -> None:
    model_api.route("TASK-A", *[Turn("", [LOOK], usage=DEAR) for _ in range(6)])
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(task("TASK-A: for ever", max_cost_usd=1.5))
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
    assert (record.status, record.failure) == ("failed", "cost")
    assert 1.5 <= (record.cost_usd or 0) <= 2.5


@pytest.mark.promise("cli.spawn.max-cost-usd")
async def test_what_the_session_before_had_cost_is_none_of_this_ones(team: Team, model_api: ModelApi) -> None:
    turns = [Turn("", [LOOK], usage=DEAR), Turn("Done.", usage=DEAR), Turn("", [LOOK], usage=DEAR), Turn("Went on.", usage=DEAR)]
    model_api.route("TASK-A", *turns)
    async with team.opened() as orchestration:
        first = await orchestration.spawn(task("TASK-A: begin"))
        await ended(orchestration, first.orchestration_task_id)
        second = await orchestration.spawn(task("GO-ON", resume=first.orchestration_task_id, max_cost_usd=2.5))
        await ended(orchestration, second.orchestration_task_id)
        record = await orchestration.status(second.orchestration_task_id)
    assert (record.status, record.result, record.failure) == ("completed", "Went on.", None), record.error_message
    assert 1.5 <= (record.cost_usd or 0) <= 2.5


async def test_an_answer_without_a_turn_of_the_model_is_no_success(team: Team, model_api: ModelApi) -> None:
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(task("/cost"))
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
    assert (record.status, record.failure, model_api.turns()) == ("failed", "crash", []), record
    assert "without a turn of the model" in (record.error_message or "")


@pytest.mark.promise("cli.spawn.verify")
async def test_what_its_verification_said_is_in_the_next_attempts_prompt(team: Team, model_api: ModelApi, repository: Path) -> None:
    model_api.route("TASK-A", Turn("I believe that it is done."))
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(task("TASK-A: make it", verify="echo 3 tests fail; false", retries=1))
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
    assert (record.status, record.reason, record.attempt, record.verified) == ("failed", "verify", 2, False)
    assert record.result == "I believe that it is done."
    assert "The verification failed (exit code 1): 3 tests fail" in str(model_api.turns()[1].body)


@pytest.mark.promise("cli.spawn.stall-timeout")
async def test_a_model_that_hangs_is_a_stall(team: Team, model_api: ModelApi) -> None:
    model_api.route("TASK-A", Turn("", hang=True))
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(task("TASK-A: hang", stall_timeout_ms=4000))
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
    assert (record.status, record.reason) == ("failed", "stalled")


async def test_a_limit_that_one_task_hits_holds_the_next_also_of_another_orchestration(
    team: Team, model_api: ModelApi, tmp_path: Path
) -> None:
    reset = int(time.time()) + 3600
    headers = {"anthropic-ratelimit-unified-status": "rejected", "anthropic-ratelimit-unified-reset": str(reset)}
    model_api.route("TASK-A", Turn("", error=Error(429, "rate_limit_error", "limit", headers)))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    async with team.opened() as orchestration, team.house.opened(environment=team.environment, directory=elsewhere) as other:
        assert orchestration.directory != other.directory
        spawned = await orchestration.spawn(task("TASK-A: work", repo="none"))
        await ended(orchestration, spawned.orchestration_task_id)
        asked = len(model_api.turns())
        for place in (orchestration, other):
            held = await place.spawn(task("TASK-A: work too", repo="none"))
            script = await place.spawn(task("true", agent_name="shell/sh", repo="none"))
            await ended(place, script.orchestration_task_id)
            await until_event(place, "provider_limited")
            record = await place.status(held.orchestration_task_id)
            assert (record.status, record.attempt, (record.waiting_for or "").partition(":")[0]) == ("pending", 0, "limit")
            assert "used up" in (await place.explain(held.orchestration_task_id)).because[0]
            assert (await place.cancel(held.orchestration_task_id)).cancelled
    assert len(model_api.turns()) == asked
