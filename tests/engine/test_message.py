"""Messages reach whom they are for, come again until they are had, and wake who waits."""

import os
import sys
from pathlib import Path

import pytest

import devsh_memory_mcp
from devsh_memory_mcp.domain.requests import MessageRequest, WaitRequest
from devsh_memory_mcp.errors import Conflict, NotFound
from devsh_memory_mcp.ports import Orchestration
from tests.engine.conftest import House, ended, shell

# What a worker's script can do with nothing but its own environment.
WORKER = """
import os, sys, anyio
from pathlib import Path
from devsh_memory_mcp.config import Caller
from devsh_memory_mcp.domain.requests import MessageRequest
from devsh_memory_mcp.wiring import open_orchestrations
async def main():
    names = os.environ
    caller = Caller(Path.cwd(), names, identity=names["CMUX_TASK_RUN_ID"])
    async with open_orchestrations(Path(names["DEVSH_MEMORY_DIR"]), caller, names["CMUX_ORCHESTRATION_ID"]) as orchestrations:
        orchestration = await orchestrations.current()
        await orchestration.message(MessageRequest(to="head", message="from below", type="status"))
anyio.run(main)
"""


async def tell(orchestration: Orchestration, to: str, text: str) -> int:
    return (await orchestration.message(MessageRequest(to=to, message=text))).message_id


async def texts(orchestration: Orchestration, **how: object) -> list[str]:
    return [message.message for message in (await orchestration.messages(**how)).messages]  # type: ignore[arg-type]


async def test_messages_come_again_until_the_next_call_says_that_they_arrived(house: House) -> None:
    async with house.opened() as orchestration:
        await tell(orchestration, "head", "one")
        assert await texts(orchestration) == ["one"]  # an answer that is lost on its way
    async with house.opened() as orchestration:
        assert await texts(orchestration) == ["one"]
        await tell(orchestration, "head", "two")
        assert await texts(orchestration) == ["two"]
        assert await texts(orchestration) == []
        assert await texts(orchestration, include_read=True) == ["one", "two"]


async def test_a_cursor_marks_what_was_had(house: House) -> None:
    async with house.opened() as orchestration:
        first, _second = [await tell(orchestration, "head", text) for text in ("one", "two")]
        assert await texts(orchestration, after=first) == ["two"]
    async with house.opened() as orchestration:
        assert await texts(orchestration) == ["two"]


async def test_a_broadcast_is_for_everybody_but_its_sender(house: House) -> None:
    gate = house.gate()
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell(gate.pass_through))
        await tell(orchestration, "*", "all of you")
        assert await texts(orchestration) == []
        async with house.opened(spawned.orchestration_id, identity=spawned.task_run_id) as worker:
            assert await texts(worker) == ["all of you"]
            await tell(worker, "*", "from a worker")
        assert await texts(orchestration) == ["from a worker"]
        gate.open()
        await ended(orchestration, spawned.orchestration_task_id)


async def test_who_has_ended_or_runs_a_script_or_is_nobody_cannot_be_written_to(house: House) -> None:
    gate = house.gate()
    async with house.opened() as orchestration:
        over = await orchestration.spawn(shell("true"))
        await ended(orchestration, over.orchestration_task_id)
        first, _second = [await orchestration.spawn(shell(gate.pass_through)) for _ in range(2)]
        for to, words in {
            over.orchestration_task_id: f"{over.orchestration_task_id} has ended",
            first.task_run_id: "runs a script and cannot be spoken to",
            "shell/bash": "2 tasks run 'shell/bash'",
        }.items():
            with pytest.raises(Conflict, match=words) as caught:
                await tell(orchestration, to, "hello")
            assert caught.value.next_step
        for nobody in ("nope", "../../etc/passwd", "a\0b", "shell/zsh"):
            with pytest.raises(NotFound):
                await tell(orchestration, nobody, "hello")
        gate.open()
        await ended(orchestration, *(row.orchestration_task_id for row in (await orchestration.results()).results))


@pytest.mark.promise("env.CMUX_ORCHESTRATION_ID")
async def test_a_workers_script_can_write_to_the_head_and_wakes_it(house: House) -> None:
    gate = house.gate()
    package = Path(devsh_memory_mcp.__file__).parents[1]
    program = house.directory / "worker.py"
    program.write_text(WORKER, encoding="utf-8")
    async with house.opened() as orchestration:
        script = f"PYTHONPATH={package} {sys.executable} {program} && {gate.pass_through}"
        spawned = await orchestration.spawn(shell(script))
        answer = await orchestration.wait(WaitRequest(ids=(spawned.orchestration_task_id,)))
        assert (answer.status, answer.finished, answer.timed_out, answer.unread_messages) == ("running", False, False, 1)
        assert answer.next == "A message for you has come: read it, then wait again."
        (message,) = (await orchestration.messages()).messages
        assert (message.sender, message.to, message.type, message.message) == (
            spawned.orchestration_task_id, "head", "status", "from below",
        )  # fmt: skip
        gate.open()
        assert (await ended(orchestration, spawned.orchestration_task_id)).status == "completed"
    assert "CMUX_TASK_RUN_ID" not in os.environ


async def test_a_wait_that_is_over_in_time_tells_the_true_status(house: House) -> None:
    gate, started = house.gate(), house.pipe()
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell(f"echo . > {started.path}; {gate.pass_through}"))
        other = await orchestration.spawn(shell("echo quick"))
        ids = (spawned.orchestration_task_id, other.orchestration_task_id)
        await started.lines(1)
        now = await orchestration.wait(WaitRequest(ids=ids[:1], timeout=0))
        short = await orchestration.wait(WaitRequest(ids=ids[:1], timeout=1))
        first = await orchestration.wait(WaitRequest(ids=ids, mode="any"))
        gate.open()
        last = await orchestration.wait(WaitRequest(ids=ids))
    assert [(answer.status, answer.timed_out, answer.finished) for answer in (now, short)] == [("running", True, False)] * 2
    assert (first.orchestration_task_id, first.result, first.finished) == (ids[1], "quick\n", True)
    assert (first.next, last.finished, last.next) == (f"Wait again for the others: {ids[0]}.", True, None)
