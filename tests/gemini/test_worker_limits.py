"""Real Gemini CLI whose provider has a limit, or does not answer."""

import pytest

from tests.claude.test_worker import Team
from tests.doubles.model_api import ModelApi
from tests.doubles.model_script import Error, Turn
from tests.doubles.walls import needs_sandbox
from tests.engine.house import ended, events_of, until_event
from tests.gemini.test_worker import run, task

HOUR = 3_600_000


@needs_sandbox
async def test_a_limit_without_an_end_in_its_words_holds_the_next_until_the_end_that_its_header_names(
    team: Team, model_api: ModelApi
) -> None:
    busy = Error(429, "RESOURCE_EXHAUSTED", "You exceeded your quota. Please retry in 3600s.", {"retry-after": "3600"})
    model_api.route("TASK", Turn("never", error=busy))
    async with team.opened(DEVSH_SANDBOX="required") as orchestration:
        spawned = await orchestration.spawn(task("TASK-A", retries=1, network="off"))
        await until_event(orchestration, "retry_scheduled")
        record = await orchestration.status(spawned.orchestration_task_id)
        retry = next(event for event in events_of(orchestration) if event.name == "retry_scheduled")
        asked = len(model_api.turns())
        held = await orchestration.spawn(task("TASK-B", network="off"))
        script = await orchestration.spawn(task("true", agent_name="shell/sh"))
        await ended(orchestration, script.orchestration_task_id)
        other = await orchestration.status(held.orchestration_task_id)
        await orchestration.cancel(spawned.orchestration_task_id)
        await orchestration.cancel(held.orchestration_task_id)
    assert (record.status, record.failure) == ("pending", "rate_limit")
    assert HOUR - 60_000 < retry.delay_ms <= HOUR  # type: ignore[attr-defined]
    assert (other.status, other.attempt, (other.waiting_for or "").partition(":")[0]) == ("pending", 0, "limit")
    assert len(model_api.turns()) == asked


async def test_an_api_that_never_answers_ends_at_the_time_limit_and_one_that_says_nothing_is_a_stall(
    team: Team, model_api: ModelApi
) -> None:
    model_api.route("TASK", Turn("never", hang=True))
    async with team.opened() as orchestration:
        spawned = [
            await orchestration.spawn(task("TASK-A", timeout_ms=15_000)),
            await orchestration.spawn(task("TASK-B", stall_timeout_ms=15_000)),
        ]
        await ended(orchestration, *(each.orchestration_task_id for each in spawned))
        records = [await orchestration.status(each.orchestration_task_id) for each in spawned]
    assert [(record.status, record.reason, record.failure) for record in records] == [
        ("failed", "timeout", None),
        ("failed", "stalled", None),
    ]
    assert all(model_api.turns(name) for name in ("TASK-A", "TASK-B"))


async def test_a_stream_that_breaks_off_is_taken_up_again_by_the_next_try(team: Team, model_api: ModelApi) -> None:
    model_api.route("TASK-A", Turn("Whole after all.", drop=True, times=1))
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(task("TASK-A", retries=1))
        answer = await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
    assert (answer.status, answer.result, record.attempt) == ("completed", "Whole after all.", 2)


@pytest.mark.promise("cli.spawn.max-turns")
async def test_one_that_takes_more_turns_than_it_may_is_ended_and_one_that_is_done_with_the_last_is_not(
    team: Team, model_api: ModelApi
) -> None:
    model_api.route("TASK-A", *(Turn("", [run(f"echo {number} > {number}.txt")]) for number in range(9)))
    model_api.route("TASK-B", Turn("Two at once.", [run("echo 0 > 0.txt"), run("echo 1 > 1.txt")]), Turn("Done."))
    async with team.opened() as orchestration:
        spawned = [await orchestration.spawn(task(name, permissions="bypass", max_turns=2, retries=1)) for name in ("TASK-A", "TASK-B")]
        await ended(orchestration, *(each.orchestration_task_id for each in spawned))
        more, enough = [await orchestration.status(each.orchestration_task_id) for each in spawned]
    assert (more.status, more.failure, more.attempt, more.result) == ("failed", "turns", 1, None)
    assert "answered 2 times" in str(more.error_message)
    assert len(model_api.turns("TASK-A")) <= 3
    assert (enough.status, enough.result, enough.tool_calls) == ("completed", "Done.", 2)
