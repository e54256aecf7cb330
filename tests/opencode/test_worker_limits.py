"""Real opencode whose provider has a limit, or does not answer."""

import pytest

from tests.claude.test_worker import Team
from tests.doubles.model_api import ModelApi
from tests.doubles.model_script import Error, Turn
from tests.doubles.walls import needs_sandbox
from tests.engine.house import ended, events_of, until_event
from tests.opencode.test_worker import PATIENCE, run, task

HOUR = 3_600_000
SILENCE = 40_000  # milliseconds, in which it has to have started


@needs_sandbox
async def test_one_that_waits_for_its_limit_without_a_word_is_ended_and_the_next_waits_until_that_is_over(
    team: Team, model_api: ModelApi
) -> None:
    busy = Error(429, "rate_limit_error", "slow down", {"retry-after": "3600"})
    model_api.route("TASK", Turn("never", error=busy))
    async with team.opened(seconds=PATIENCE, DEVSH_SANDBOX="required", ANTHROPIC_BASE_URL=model_api.address) as orchestration:
        spawned = await orchestration.spawn(task("TASK-A", retries=1, stall_timeout_ms=SILENCE))
        await until_event(orchestration, "retry_scheduled")
        record = await orchestration.status(spawned.orchestration_task_id)
        retry = next(event for event in events_of(orchestration) if event.name == "retry_scheduled")
        held = await orchestration.spawn(task("TASK-B"))
        script = await orchestration.spawn(task("true", agent_name="shell/sh"))
        await ended(orchestration, script.orchestration_task_id)
        other = await orchestration.status(held.orchestration_task_id)
        await orchestration.cancel(spawned.orchestration_task_id)
        await orchestration.cancel(held.orchestration_task_id)
    assert (record.status, record.reason, record.failure) == ("pending", "stalled", "rate_limit"), record
    assert HOUR - 60_000 < retry.delay_ms <= HOUR  # type: ignore[attr-defined]
    assert (other.status, other.attempt, (other.waiting_for or "").partition(":")[0]) == ("pending", 0, "limit")
    assert len(model_api.turns("TASK-B")) == 0


async def test_an_api_that_never_answers_ends_at_the_time_limit(team: Team, model_api: ModelApi) -> None:
    model_api.route("TASK-A", Turn("never", hang=True))
    async with team.opened(seconds=PATIENCE) as orchestration:
        spawned = await orchestration.spawn(task("TASK-A", timeout_ms=SILENCE))
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
    assert (record.status, record.reason, record.failure) == ("failed", "timeout", None)
    assert model_api.turns("TASK-A")


async def test_a_stream_that_breaks_off_is_taken_up_again(team: Team, model_api: ModelApi) -> None:
    model_api.route("TASK-A", Turn("Whole after all.", drop=True, times=1))
    async with team.opened(seconds=PATIENCE) as orchestration:
        spawned = await orchestration.spawn(task("TASK-A"))
        answer = await ended(orchestration, spawned.orchestration_task_id)
    assert (answer.status, answer.result) == ("completed", "Whole after all.")


@pytest.mark.promise("cli.spawn.max-turns")
async def test_one_that_takes_more_turns_than_it_may_is_ended_and_one_that_is_done_with_the_last_is_not(
    team: Team, model_api: ModelApi
) -> None:
    model_api.route("TASK-A", *(Turn("", [run(f"echo {number} > {number}.txt")]) for number in range(9)))
    model_api.route("TASK-B", Turn("Two at once.", [run("echo 0 > 0.txt"), run("echo 1 > 1.txt")]), Turn("Done."))
    async with team.opened(seconds=PATIENCE) as orchestration:
        spawned = [await orchestration.spawn(task(name, permissions="bypass", max_turns=2, retries=1)) for name in ("TASK-A", "TASK-B")]
        await ended(orchestration, *(each.orchestration_task_id for each in spawned))
        more, enough = [await orchestration.status(each.orchestration_task_id) for each in spawned]
    assert (more.status, more.failure, more.attempt, more.result) == ("failed", "turns", 1, None)
    assert "answered 2 times" in str(more.error_message)
    assert len(model_api.turns("TASK-A")) <= 3
    assert (enough.status, enough.result, enough.tool_calls) == ("completed", "Done.", 2)
