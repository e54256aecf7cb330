"""What is wrong with one attempt, one orchestration or one connection is nobody else's trouble."""

import os
import signal
import socket

import anyio
import pytest

from devsh_memory_mcp.shim.doorbell import socket_path
from tests.doubles.processes import await_end, kill
from tests.engine.house import House, ended, git, reported_pid, run_directory, shell, until_event


async def test_a_run_file_that_an_agent_spoils_is_kept_aside_and_stops_nobody(house: House) -> None:
    begun, gate = house.pipe(), house.gate()
    async with house.opened() as orchestration:
        spoiler = await orchestration.spawn(shell(f"echo broken > ../run.json; echo . > {begun.path}; {gate.pass_through}; echo done"))
        await begun.lines(1)
        await until_event(orchestration, "agent_started")
        run = await run_directory(orchestration, spoiler.orchestration_task_id)
        house.end_runner()
        other = await orchestration.spawn(shell("echo other"))
        assert (await ended(orchestration, other.orchestration_task_id)).result == "other\n"
        gate.open()
        assert (await ended(orchestration, spoiler.orchestration_task_id)).result == "done\n"
        assert [path.read_text(encoding="utf-8") for path in run.glob("run.json.damaged-*")] == ["broken\n"]


async def test_an_orchestration_whose_directory_vanishes_holds_up_no_other_one(house: House) -> None:
    async with house.opened() as orchestration:
        doomed = await orchestration.spawn(shell("true"))
        await ended(orchestration, doomed.orchestration_task_id)
        await orchestration.pull()
        assert orchestration.directory is not None
        orchestration.directory.rename(house.directory / "gone")
    runner = house.runner_pid()
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell("echo still here"))
        assert (await ended(orchestration, spawned.orchestration_task_id)).result == "still here\n"
    assert house.runner_pid() == runner


@pytest.mark.parametrize("words", [b"[]\n", b'"x"\n', b"{}\n", b"\xff\xfe\n", b"x" * 10_000, b'{"hello": "shim", "attempt": "one"}\n'])
async def test_who_speaks_another_language_at_the_socket_ends_no_runner(house: House, words: bytes) -> None:
    async with house.opened() as orchestration:
        await ended(orchestration, (await orchestration.spawn(shell("true"))).orchestration_task_id)
        runner = house.runner_pid()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(socket_path(str(house.root)))
            connection.sendall(words)
            connection.shutdown(socket.SHUT_WR)
            await anyio.wait_readable(connection)
        assert (await ended(orchestration, (await orchestration.spawn(shell("true"))).orchestration_task_id)).status == "completed"
        assert house.runner_pid() == runner


async def test_a_socket_that_was_cleaned_away_is_made_again(house: House) -> None:
    begun, gate = house.pipe(), house.gate()
    async with house.runner(linger=0.2):
        async with house.opened() as orchestration:
            spawned = await orchestration.spawn(shell(f"echo . > {begun.path}; {gate.pass_through}; echo done"))
            await begun.lines(1)
            os.unlink(socket_path(str(house.root)))
        async with house.opened() as orchestration:
            second = await orchestration.spawn(shell("echo reached"))
            assert (await ended(orchestration, second.orchestration_task_id)).result == "reached\n"
            gate.open()
            assert (await ended(orchestration, spawned.orchestration_task_id)).result == "done\n"


async def test_a_guard_that_its_agent_stops_does_not_hold_up_a_cancel(house: House) -> None:
    pipe = house.pipe()
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell(f"exec 9>{pipe.path}; kill -STOP $PPID; echo here >&9; sleep 1000"))
        await pipe.lines(1)
        cancelled = await orchestration.cancel(spawned.orchestration_task_id)
        assert cancelled.cancelled
        assert (await ended(orchestration, spawned.orchestration_task_id)).status == "cancelled"
        assert await pipe.end() == ["here"]


async def test_a_guard_that_outlives_its_shim_stopped_is_ended(house: House) -> None:
    pipe = house.pipe()
    async with house.runner(lock_goes=0.1), house.opened() as orchestration:
        spawned = await orchestration.spawn(shell(f"exec 9>{pipe.path}; echo here >&9; sleep 1000"))
        await pipe.lines(1)
        await until_event(orchestration, "agent_started")
        guard = await reported_pid(orchestration, spawned.orchestration_task_id, "guard")
        os.kill(guard, signal.SIGSTOP)
        kill(await reported_pid(orchestration, spawned.orchestration_task_id, "started"))
        assert (await ended(orchestration, spawned.orchestration_task_id)).status == "failed"
        assert await anyio.to_thread.run_sync(await_end, guard, 5.0)
        assert await pipe.end() == ["here"]


async def test_what_waits_for_its_turn_at_a_checkout_can_be_cancelled_at_once(house: House, repository: object) -> None:
    begun, gate = house.pipe(), house.gate()
    async with house.opened() as orchestration:
        slow = f"echo . > {begun.path}; {gate.pass_through}"
        ids = [(await orchestration.spawn(shell("true", repo=None, setup=slow))).orchestration_task_id for _ in range(5)]
        await begun.lines(5)  # a setup holds no turn, so the fifth has begun as well
        cancelled = await orchestration.cancel(ids[4])
        assert (cancelled.cancelled, cancelled.status) == (True, "cancelled")
        gate.open()
        await ended(orchestration, *ids)
    assert git(house.directory, "for-each-ref", "refs/heads/dev") == ""
