"""What starts when: places, priorities, retries, deadlines, and what holds everything up."""

import json
from datetime import timedelta
from pathlib import Path

import anyio

from devsh_memory_mcp.domain.events import RetryScheduled
from devsh_memory_mcp.domain.requests import BatchRequest
from devsh_memory_mcp.domain.schedule import FIRST_RETRY
from tests.engine.house import House, ended, events_of, shell, until_event, view


async def test_no_more_agents_run_than_there_are_places(house: House) -> None:
    started, gates = house.pipe(), [house.gate(f"gate{number}") for number in range(4)]
    async with house.opened() as orchestration:
        for number, gate in enumerate(gates):
            script = f"echo {number} > {started.path}; {gate.pass_through}"
            await orchestration.spawn(shell(script, name=f"t{number}", max_concurrent=2))
        assert sorted(await started.lines(2)) == ["0", "1"]
        counts = (await orchestration.summary()).status
        assert (counts.running, counts.pending) == (2, 2)
        assert (await orchestration.status("t3")).waiting_for == "a free place: 2 of 2 are taken"
        gates[1].open()
        assert (await started.lines(3))[2] == "2"
        for gate in gates:
            gate.open()
        await ended(orchestration, "t0", "t1", "t2", "t3")


async def test_the_highest_priority_goes_first(house: House) -> None:
    order, gate = house.directory / "order", house.gate()
    tasks = [{"id": "plug", "prompt": gate.pass_through, "priority": 0}]
    tasks += [{"id": f"p{level}", "prompt": f"echo {level} >> {order}", "priority": level} for level in (9, 5, 1)]
    request = {"tasks": tasks, "defaults": {"agentName": "shell/bash", "repo": "none"}, "maxConcurrent": 1}
    async with house.opened() as orchestration:
        await orchestration.spawn_batch(BatchRequest.model_validate(request))
        gate.open()
        await ended(orchestration, "p9", "p5", "p1")
    assert order.read_text(encoding="utf-8").split() == ["1", "5", "9"]


async def test_a_failure_is_tried_again_after_a_delay_that_varies(house: House) -> None:
    tries = house.directory / "tries"
    async with house.opened() as orchestration:
        script = f"echo . >> {tries}; [ $(wc -l < {tries}) -eq 2 ]"
        spawned = await orchestration.spawn(shell(script, retries=2))
        assert (await ended(orchestration, spawned.orchestration_task_id)).status == "completed"
        record = await orchestration.status(spawned.orchestration_task_id)
        (retry,) = (event for event in events_of(orchestration) if isinstance(event, RetryScheduled))
    assert (record.attempt, record.reason, record.error_message) == (2, None, None)
    assert FIRST_RETRY * 0.8 <= timedelta(milliseconds=retry.delay_ms) <= FIRST_RETRY * 1.2


async def test_a_deadline_ends_the_whole_tree(house: House) -> None:
    pipe = house.pipe()
    async with house.opened() as orchestration:
        script = f"exec 9>{pipe.path}; (setsid sh -c 'sleep 1000 & sleep 1000' &); echo here >&9; sleep 1000"
        spawned = await orchestration.spawn(shell(script, timeout_ms=200))
        answer = await ended(orchestration, spawned.orchestration_task_id)
        assert await pipe.end() == ["here"]
        record = await orchestration.status(spawned.orchestration_task_id)
    assert (answer.status, record.reason) == ("failed", "timeout")
    assert answer.error_message == "It was ended after 0.2 s, its time limit."


async def test_a_setup_that_fails_is_told_as_such(house: House) -> None:
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell("true", setup="echo broken >&2; exit 7"))
        answer = await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
    assert (answer.status, record.reason, record.exit_code) == ("failed", "setup", None)
    assert "exit code 7" in (answer.error_message or "")
    assert "broken" in (answer.error_message or "")


async def test_nothing_starts_while_the_disk_is_too_full(house: House) -> None:
    async with house.runner(free=lambda _path: 0), house.opened() as orchestration:
        spawned = await orchestration.spawn(shell("true"))
        await orchestration.pull()
        assert (await orchestration.status(spawned.orchestration_task_id)).attempt == 0
    async with house.opened() as orchestration:
        assert (await ended(orchestration, spawned.orchestration_task_id)).status == "completed"


async def test_a_paused_plan_starts_nothing_and_keeps_no_runner(house: House) -> None:
    async with house.opened() as orchestration:
        await ended(orchestration, (await orchestration.spawn(shell("true"))).orchestration_task_id)
        plan = view(orchestration, "PLAN.json")
        path = (orchestration.directory or Path()) / "PLAN.json"
        path.write_text(json.dumps(plan | {"status": "paused"}), encoding="utf-8")
        await orchestration.pull()
        spawned = await orchestration.spawn(shell("true", name="late"))
        await until_event(orchestration, "plan_edited")
        assert (await orchestration.status("late")).waiting_for == "the orchestration is paused (status in PLAN.json)"
        await orchestration.pull()
    house.end_runner()
    with anyio.fail_after(10):
        await house.run_runner(linger=0.0)
    async with house.opened() as orchestration:
        plan = view(orchestration, "PLAN.json")
        path.write_text(json.dumps(plan | {"status": "running"}), encoding="utf-8")
        await orchestration.pull()
        assert (await ended(orchestration, spawned.orchestration_task_id)).status == "completed"
