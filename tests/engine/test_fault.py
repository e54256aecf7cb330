"""Runners, shims and guards are killed or stopped; work is neither lost nor done twice, and nothing stays behind."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import anyio
import pytest

from devsh_memory_mcp.domain.events import AttemptEnded, AttemptStarted, RunnerStarted
from devsh_memory_mcp.domain.requests import BatchRequest
from tests.doubles.processes import await_end, kill
from tests.engine.house import BOUND, House, ended, events_of, git, reported_pid, run_directory, shell, until_event

# A tree that a signal to one process, group or session would not end.
TREE = "(setsid sh -c 'sleep 1000 & sleep 1000' &); setsid sleep 1000 & "


async def test_a_killed_runner_amid_twenty_agents_loses_and_doubles_nothing_though_nobody_looks(house: House) -> None:
    marks = house.directory / "marks"
    begun, last, gate = house.pipe("begun"), house.pipe("last"), house.gate()
    script = f"echo begin $CMUX_TASK_RUN_ID >> {marks}; echo . > {begun.path}; {gate.pass_through}; echo end $CMUX_TASK_RUN_ID >> {marks}"
    tasks = [{"id": f"t{number}", "prompt": script} for number in range(20)]
    tasks.append({"id": "last", "prompt": f"echo done > {last.path}", "dependsOn": [task["id"] for task in tasks]})
    request = {"tasks": tasks, "defaults": {"agentName": "shell/bash", "repo": "none"}, "maxConcurrent": 20}
    with anyio.fail_after(BOUND):
        async with house.opened() as orchestration:
            await orchestration.spawn_batch(BatchRequest.model_validate(request))
        await begun.lines(20)
        house.end_runner()
        gate.open()
        assert await last.lines(1) == ["done"]
    async with house.opened() as orchestration:
        await ended(orchestration, "last")
        results = await orchestration.results()
        started = Counter(event.orchestration_task_id for event in events_of(orchestration) if isinstance(event, AttemptStarted))
    assert (results.status, results.completed_tasks) == ("completed", 21)
    assert set(started.values()) == {1}
    counts = Counter(marks.read_text(encoding="utf-8").splitlines())
    assert (len(counts), set(counts.values())) == (40, {1})


async def test_adopted_attempts_take_no_part_in_the_making_of_checkouts(house: House, repository: Path) -> None:
    begun, gate = house.pipe(), house.gate()
    async with house.opened() as orchestration:
        script = f"echo . > {begun.path}; {gate.pass_through}"
        ids = [(await orchestration.spawn(shell(script, repo=None, max_concurrent=9))).orchestration_task_id for _ in range(9)]
        await begun.lines(9)
        kill(house.runner_pid())
        gate.open()
        follower = await orchestration.spawn(shell("true", repo=None, depends_on=tuple(ids)))
        assert (await ended(orchestration, follower.orchestration_task_id)).status == "completed"


@pytest.mark.parametrize("victim", ["started", "guard"], ids=["shim", "guard"])
async def test_a_killed_supervisor_takes_the_tree_along_and_the_work_is_saved(house: House, repository: Path, victim: str) -> None:
    pipe = house.pipe()
    async with house.opened() as orchestration:
        script = f"exec 9>{pipe.path}; {TREE} echo draft > draft; echo here >&9; sleep 1000"
        spawned = await orchestration.spawn(shell(script, repo=None))
        await pipe.lines(1)
        await until_event(orchestration, "agent_started")
        kill(await reported_pid(orchestration, spawned.orchestration_task_id, victim))
        assert await pipe.end() == ["here"]
        answer = await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
    assert (answer.status, record.reason) == ("failed", "lost")
    assert [git(repository, "show", f"{ref}:draft") for ref in record.salvage_refs] == ["draft"]
    house.checks.append(lambda: git(repository, "for-each-ref", "refs/heads/dev", "refs/devsh/base") == "")


async def test_a_lost_attempt_is_made_again_where_there_are_retries(house: House, repository: Path) -> None:
    pipe, flag = house.pipe(), house.directory.parent / "flag"
    script = f"exec 9>{pipe.path}; [ -e {flag} ] && exit 0; touch {flag} half; echo here >&9; sleep 1000"
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell(script, retries=1, repo=None))
        await pipe.lines(1)
        await until_event(orchestration, "agent_started")
        kill(await reported_pid(orchestration, spawned.orchestration_task_id, "started"))
        answer = await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
        ends = [(event.attempt, event.reason) for event in events_of(orchestration) if isinstance(event, AttemptEnded)]
    assert (answer.status, record.attempt, ends) == ("completed", 2, [(1, "lost"), (2, "exit")])
    assert [git(repository, "ls-tree", "--name-only", ref, "half") for ref in record.salvage_refs] == ["half"]


async def test_a_stopped_runner_is_ended_and_replaced_by_who_waits(house: House) -> None:
    begun, gate = house.pipe(), house.gate()
    async with house.opened(patience=1.0) as orchestration:
        spawned = await orchestration.spawn(shell(f"echo . > {begun.path}; {gate.pass_through}; echo done"))
        await begun.lines(1)
        runner = house.runner_pid()
        os.kill(runner, signal.SIGSTOP)
        gate.open()
        assert (await ended(orchestration, spawned.orchestration_task_id)).result == "done\n"
        assert await_end(runner, 5.0)
        assert len([event for event in events_of(orchestration) if isinstance(event, RunnerStarted)]) == 2


_STOPPED = """
import fcntl, os, signal, sys
lock = os.open(sys.argv[1] + "/runner.lock", os.O_RDWR | os.O_CREAT, 0o600)
fcntl.flock(lock, fcntl.LOCK_EX)
os.pwrite(lock, b"%d" % os.getpid(), 0)
os.kill(os.getpid(), signal.SIGSTOP)
"""


async def test_a_runner_that_was_stopped_before_it_listened_is_ended_and_replaced(house: House) -> None:
    stopped = subprocess.Popen([sys.executable, "-S", "-c", _STOPPED, str(house.root)])
    try:
        os.waitid(os.P_PID, stopped.pid, os.WSTOPPED)
        async with house.opened() as orchestration:
            spawned = await orchestration.spawn(shell("true"))
            assert (await ended(orchestration, spawned.orchestration_task_id)).status == "completed"
        assert await anyio.to_thread.run_sync(stopped.wait, BOUND) == -signal.SIGKILL
    finally:
        stopped.kill()
        stopped.wait()


async def test_a_runner_that_was_stopped_and_replaced_leaves_without_harm_when_it_goes_on(house: House) -> None:
    begun, gate = house.pipe(), house.gate()
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell(f"echo . > {begun.path}; {gate.pass_through}"))
        await begun.lines(1)
        await until_event(orchestration, "agent_started")
        assert (await orchestration.pull()).synced  # it is not in the middle of a commit, whose lock it would keep
    old = house.runner_pid()
    os.kill(old, signal.SIGSTOP)
    house.forget_runner()
    async with house.opened() as orchestration:
        second = await orchestration.spawn(shell("true"))
        assert (await ended(orchestration, second.orchestration_task_id)).status == "completed"
        assert house.runner_pid() != old
        os.kill(old, signal.SIGCONT)
        gate.open()
        assert (await ended(orchestration, spawned.orchestration_task_id)).status == "completed"
        assert await anyio.to_thread.run_sync(await_end, old, float(BOUND))
        events = events_of(orchestration)
    assert [event.pid for event in events if isinstance(event, RunnerStarted)] == [old, house.runner_pid()]
    assert len([event for event in events if isinstance(event, AttemptEnded)]) == 2


async def test_of_two_runners_one_leaves_at_once(house: House) -> None:
    async with house.opened() as orchestration:
        await ended(orchestration, (await orchestration.spawn(shell("true"))).orchestration_task_id)
        first = house.runner_pid()
        await house.run_runner(lock=0.0)
        assert house.runner_pid() == first
        assert len([event for event in events_of(orchestration) if isinstance(event, RunnerStarted)]) == 1


async def test_a_shim_that_stops_is_ended_after_a_cancel_and_its_work_is_saved(house: House, repository: Path) -> None:
    pipe = house.pipe()
    async with house.runner(escalation=0.1), house.opened() as orchestration:
        spawned = await orchestration.spawn(shell(f"exec 9>{pipe.path}; {TREE} echo draft > draft; echo here >&9; sleep 1000", repo=None))
        await pipe.lines(1)
        await until_event(orchestration, "agent_started")
        os.kill(await reported_pid(orchestration, spawned.orchestration_task_id, "started"), signal.SIGSTOP)
        cancelled = await orchestration.cancel(spawned.orchestration_task_id)
        assert (cancelled.cancelled, cancelled.status) == (True, "cancelled")
        assert await pipe.end() == ["here"]
        record = await orchestration.status(spawned.orchestration_task_id)
    assert [git(repository, "show", f"{ref}:draft") for ref in record.salvage_refs] == ["draft"]


async def test_a_stopped_shim_whose_runner_was_killed_can_be_cancelled_too(house: House) -> None:
    pipe = house.pipe()
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell(f"exec 9>{pipe.path}; echo here >&9; sleep 1000"))
        await pipe.lines(1)
        await until_event(orchestration, "agent_started")
        os.kill(await reported_pid(orchestration, spawned.orchestration_task_id, "started"), signal.SIGSTOP)
    house.end_runner()
    async with house.runner(escalation=0.1, hello=0.1), house.opened() as orchestration:
        cancelled = await orchestration.cancel(spawned.orchestration_task_id)
        assert (cancelled.cancelled, cancelled.status) == (True, "cancelled")
        assert await pipe.end() == ["here"]


async def test_a_runner_leaves_when_it_is_asked_to_though_a_shim_is_silent(house: House) -> None:
    pipe = house.pipe()
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell(f"exec 9>{pipe.path}; echo here >&9; sleep 1000"))
        await pipe.lines(1)
        await until_event(orchestration, "agent_started")
        shim = await reported_pid(orchestration, spawned.orchestration_task_id, "started")
    os.kill(shim, signal.SIGSTOP)
    house.end_runner()
    with anyio.fail_after(BOUND):
        async with house.runner(hello=0.0), house.opened() as orchestration:
            await until_event(orchestration, "runner_started", 2)
            assert (await orchestration.pull()).synced
    os.kill(shim, signal.SIGCONT)
    async with house.opened() as orchestration:
        assert (await orchestration.cancel(spawned.orchestration_task_id)).cancelled
        assert (await ended(orchestration, spawned.orchestration_task_id)).status == "cancelled"
    assert await pipe.end() == ["here"]


async def test_a_stopped_shim_does_not_hold_up_a_deadline(house: House) -> None:
    pipe = house.pipe()
    async with house.runner(escalation=-4.9), house.opened() as orchestration:  # the deadline's own grace is five seconds
        spawned = await orchestration.spawn(shell(f"exec 9>{pipe.path}; echo here >&9; sleep 1000", timeout_ms=300))
        await pipe.lines(1)
        await until_event(orchestration, "agent_started")
        os.kill(await reported_pid(orchestration, spawned.orchestration_task_id, "started"), signal.SIGSTOP)
        assert (await ended(orchestration, spawned.orchestration_task_id)).status == "failed"
        assert await pipe.end() == ["here"]


async def test_an_attempt_whose_directory_is_gone_fails_and_the_runner_goes_on(house: House) -> None:
    pipe = house.pipe()
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell(f"exec 9>{pipe.path}; echo here >&9; sleep 1000"))
        await pipe.lines(1)
        await until_event(orchestration, "agent_started")
        shim = await reported_pid(orchestration, spawned.orchestration_task_id, "started")
        directory = await run_directory(orchestration, spawned.orchestration_task_id)
        directory.rename(directory.with_name("elsewhere"))
        kill(shim)
        answer = await ended(orchestration, spawned.orchestration_task_id)
        assert (answer.status, "gone" in (answer.error_message or "")) == ("failed", True)
        other = await orchestration.spawn(shell("true"))
        assert (await ended(orchestration, other.orchestration_task_id)).status == "completed"
    house.expected = {"unknown_run_directory"}  # that the other one is gone is a note: nothing mends it


async def test_directories_that_an_agent_makes_beside_its_checkout_hold_nothing_up(house: House) -> None:
    async with house.opened() as orchestration:
        task = await orchestration.spawn(shell("mkdir ../own.tmp ../own.1.tmp; touch ../kept.tmp"))
        answer = await ended(orchestration, task.orchestration_task_id)
        directory = await run_directory(orchestration, task.orchestration_task_id)
    assert (answer.status, (directory / "kept.tmp").exists()) == ("completed", True)
    for name in ("own.tmp", "own.1.tmp"):
        (directory / name).rmdir()
    (directory / "kept.tmp").unlink()
