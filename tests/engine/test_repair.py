"""fsck while a runner lives: what it says, whom it asks to leave, and that what it advises leads out."""

import os
import shutil
import signal

import pytest
from anyio import to_thread

from devsh_memory_mcp import wiring
from devsh_memory_mcp.errors import Conflict
from devsh_memory_mcp.store.finding import Finding
from tests.doubles.processes import await_end, kill
from tests.engine.house import House, ended, reported_pid, run_directory, shell, until_event


async def fsck(house: House, *, repair: bool = False) -> list[Finding]:
    return await to_thread.run_sync(lambda: wiring.check(house.root, None, repair=repair))


async def test_an_idle_runner_is_asked_to_leave_for_a_repair_and_what_it_had_not_seen_is_told_before(house: House) -> None:
    async with house.opened() as orchestration:
        task = await orchestration.spawn(shell("true"))
        await ended(orchestration, task.orchestration_task_id)
        assert orchestration.directory is not None
        plan, runner = orchestration.directory / "PLAN.json", house.runner_pid()
        await orchestration.pull()  # it waits for the views
        assert await fsck(house) == []
        plan.unlink()
        (orchestration.directory / "AGENTS.json").write_text("{")
        told = {(finding.code, finding.path.name): finding.message for finding in await fsck(house)}
        assert set(told) == {("view_broken", "PLAN.json"), ("view_broken", "AGENTS.json")}
        assert "PLAN.json is missing." in told["view_broken", "PLAN.json"]
        assert house.runner_pid() == runner
    repaired = await fsck(house, repair=True)
    assert {finding.code for finding in repaired if finding.repaired} == {"view_broken", "set_aside"}
    assert await_end(runner, 5.0)
    assert plan.exists()
    assert await fsck(house) == []


async def test_with_agents_at_work_a_repair_is_refused_in_words_that_lead_on_and_the_agent_stays(house: House) -> None:
    gate = house.gate()
    async with house.opened() as orchestration:
        task = await orchestration.spawn(shell(gate.pass_through))
        await until_event(orchestration, "agent_started")
        runner = house.runner_pid()
        with pytest.raises(Conflict) as caught:
            await fsck(house, repair=True)
        assert task.orchestration_task_id in str(caught.value)
        assert f"`devsh orchestrate cancel {task.orchestration_task_id}`" in caught.value.next_step
        assert house.runner_pid() == runner
        gate.open()
        await ended(orchestration, task.orchestration_task_id)


async def test_work_that_waits_goes_on_behind_a_repair(house: House) -> None:
    async with house.opened() as orchestration:
        task = await orchestration.spawn(shell("test -e again || { touch again; false; }", retries=1, name="twice"))
        await until_event(orchestration, "retry_scheduled")
    runner = house.runner_pid()
    await fsck(house, repair=True)
    assert house.runner_pid() not in (0, runner)
    async with house.opened() as orchestration:
        await ended(orchestration, task.orchestration_task_id)


async def test_an_attempt_whose_directory_was_removed_is_lost_and_never_begun_again(house: House) -> None:
    marks = house.directory / "marks"
    gate = house.gate()
    async with house.opened() as orchestration:
        task = await orchestration.spawn(shell(f"echo begun >> {marks}; {gate.pass_through}"))
        await until_event(orchestration, "agent_started")
        place = await run_directory(orchestration, task.orchestration_task_id)
        pids = [await reported_pid(orchestration, task.orchestration_task_id, kind) for kind in ("started", "guard", "agent_started")]
    os.kill(pids[0], signal.SIGSTOP)  # or it would start another runner before it is killed
    pids.append(house.runner_pid())
    for pid in reversed(pids):
        kill(pid)
    assert all(await_end(pid, 5.0) for pid in pids)
    shutil.rmtree(place)
    (finding,) = (found for found in await fsck(house) if found.code == "attempt_not_running")
    assert f"devsh orchestrate wait {task.orchestration_task_id}" in finding.message
    async with house.opened() as orchestration:
        await ended(orchestration, task.orchestration_task_id)
        record = await orchestration.status(task.orchestration_task_id)
    assert (record.status, record.reason) == ("failed", "lost")
    assert not marks.exists() or marks.read_text() == "begun\n"
    assert [found.code for found in await fsck(house) if not found.is_note] == []
    assert not os.path.exists(place)
