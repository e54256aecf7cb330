"""Real Codex as a worker to whom something happens in the middle of its work."""

import pytest

from devsh_memory_mcp.domain.requests import MessageRequest
from tests.claude.test_worker import Team, heard, printed
from tests.codex.test_worker import patch, run, task
from tests.doubles.model_api import ModelApi
from tests.doubles.model_script import Tool, Turn
from tests.doubles.processes import Gate, Pipe, kill
from tests.engine.house import House, ended, events_of, git, reported_pid, until_event


def hanging(pipe: Pipe, gate: Gate) -> Tool:
    return run(f"exec 3> {pipe.path}; echo hangs >&3; {gate.pass_through}")


async def test_one_that_is_killed_in_a_tool_call_has_failed_its_work_is_saved_and_nothing_of_it_is_left(
    team: Team, model_api: ModelApi, house: House
) -> None:
    pipe, gate = house.pipe(), house.gate()
    model_api.route("TASK-A", Turn("", [patch("*** Add File: half.txt", "+half")]), Turn("", [hanging(pipe, gate)]))
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(task("TASK-A: work", permissions="bypass"))
        await until_event(orchestration, "agent_started")
        await pipe.lines(1)
        kill(await reported_pid(orchestration, spawned.orchestration_task_id, "agent_started"))
        await ended(orchestration, spawned.orchestration_task_id)
        assert await pipe.end() == ["hangs"]
        record = await orchestration.status(spawned.orchestration_task_id)
    assert (record.status, record.failure, record.branch) == ("failed", "crash", None)
    assert "codex ended without a result (signal 9)" in str(record.error_message)
    assert git(house.directory, "show", f"refs/devsh/salvage/{spawned.task_run_id}/1:half.txt") == "half"


async def test_one_that_is_cancelled_in_a_tool_call_leaves_nothing(team: Team, model_api: ModelApi, house: House) -> None:
    pipe, gate = house.pipe(), house.gate()
    model_api.route("TASK-A", Turn("", [hanging(pipe, gate)]))
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(task("TASK-A: work", permissions="bypass"))
        await pipe.lines(1)
        await orchestration.cancel(spawned.orchestration_task_id)
        await ended(orchestration, spawned.orchestration_task_id)
        assert await pipe.end() == ["hangs"]
        record = await orchestration.status(spawned.orchestration_task_id)
    assert (record.status, record.failure) == ("cancelled", None)


async def test_an_interrupt_ends_the_tool_that_runs(team: Team, model_api: ModelApi, house: House) -> None:
    pipe, gate = house.pipe(), house.gate()
    model_api.route("TASK-A", Turn("", [hanging(pipe, gate)]), Turn("Turned around.", expect="stop that"))
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(task("TASK-A: work", permissions="bypass"))
        await pipe.lines(1)
        await orchestration.message(MessageRequest(to=spawned.orchestration_task_id, message="stop that", interrupt=True))
        assert await pipe.end() == ["hangs"]
        answer = await ended(orchestration, spawned.orchestration_task_id)
    assert (answer.status, answer.result) == ("completed", "Turned around.")


@pytest.mark.promise("cli.spawn.max-turns")
async def test_one_that_takes_more_turns_than_it_may_is_ended_and_one_that_is_done_with_the_last_is_not(
    team: Team, model_api: ModelApi
) -> None:
    model_api.route("TASK-A", *(Turn("", [run(f"echo {number} > {number}.txt")]) for number in range(9)))
    model_api.route("TASK-B", Turn("", [run("echo 0 > 0.txt")]), Turn("Done."))
    async with team.opened() as orchestration:
        spawned = [await orchestration.spawn(task(name, permissions="bypass", max_turns=2, retries=1)) for name in ("TASK-A", "TASK-B")]
        await ended(orchestration, *(each.orchestration_task_id for each in spawned))
        more, enough = [await orchestration.status(each.orchestration_task_id) for each in spawned]
    assert (more.status, more.reason, more.failure, more.attempt) == ("failed", "exit", "turns", 1)
    assert "answered 2 times" in str(more.error_message)
    assert (more.tool_calls, more.commands) == (2, 2)
    assert (more.usage or {})["turns"] in (2, 3)  # it may have asked once more before it heard that it is to stop
    assert len(model_api.turns("TASK-A")) <= 3
    assert (enough.status, enough.result, enough.tool_calls) == ("completed", "Done.", 1)


async def test_a_message_during_its_last_words_is_read_all_the_same(team: Team, model_api: ModelApi) -> None:
    model_api.route("TASK-A", Turn("Done.", hold="the message is there"))  # what it says then is thrown away, and it is asked anew
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(task("TASK-A: work"))
        await heard(model_api, "TASK-A")
        await until_event(orchestration, "agent_started")
        sent = await orchestration.message(MessageRequest(to=spawned.orchestration_task_id, message="use tabs"))
        await printed(orchestration, spawned.orchestration_task_id, f'"id":"steer-{sent.message_id}"')
        model_api.open("the message is there")
        answer = await ended(orchestration, spawned.orchestration_task_id)
        receipts = [event for event in events_of(orchestration) if event.name == "message_delivered"]
    assert (answer.status, answer.result) == ("completed", "Done.")
    assert [request.has("use tabs") for request in model_api.turns()] == [False, True]
    assert [event.message_ids for event in receipts] == [(sent.message_id,)]  # type: ignore[attr-defined]


async def test_a_checkout_whose_sandbox_cannot_be_made_fails_at_once_and_asks_no_model(team: Team, model_api: ModelApi) -> None:
    async with team.opened(TMPDIR="/nowhere") as orchestration:
        spawned = await orchestration.spawn(task("TASK-A", retries=2))
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
    assert (record.status, record.failure, record.attempt) == ("failed", "permission", 1)
    assert "its own sandbox cannot be made on this machine" in str(record.needs_input)
    assert model_api.turns() == []
