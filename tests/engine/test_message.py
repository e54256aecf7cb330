"""Messages reach whom they are for, come again until they are had, and wake who waits."""

import os
import shlex
import sys
from pathlib import Path

import anyio
import pytest

import devsh_memory_mcp
from devsh_memory_mcp.backends.local import LocalBackend
from devsh_memory_mcp.domain.requests import MessageRequest, WaitRequest
from devsh_memory_mcp.errors import Conflict, IdempotencyConflict, NotFound
from devsh_memory_mcp.ports import Orchestration
from devsh_memory_mcp.shim.rundir import Letter, read_lines
from tests.engine.house import House, ended, shell

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


async def test_a_cursor_marks_what_was_handed_out_up_to_it_and_nothing_else(house: House) -> None:
    async with house.opened() as orchestration:
        await tell(orchestration, "head", "question")
        await orchestration.message(MessageRequest(to="head", message="news", type="status"))
        answer = await orchestration.messages(type_="status")
        assert [message.message for message in answer.messages] == ["news"]
        assert await texts(orchestration, after=answer.cursor) == ["question"]
        assert await texts(orchestration, after=answer.cursor) == []
        assert await texts(orchestration, after=answer.cursor, include_read=True) == []
        assert await texts(orchestration, include_read=True) == ["question", "news"]


async def test_a_cursor_of_an_earlier_session_hides_nothing_that_was_not_confirmed(house: House) -> None:
    async with house.opened() as orchestration:
        for text in ("one", "two"):
            await tell(orchestration, "head", text)
        cursor = (await orchestration.messages()).cursor
    async with house.opened() as orchestration:
        assert await texts(orchestration, after=cursor) == ["one", "two"]
        assert await texts(orchestration, after=cursor) == []


async def test_many_messages_are_read_by_pages_and_a_page_that_was_lost_comes_again(house: House) -> None:
    async with house.opened() as orchestration:
        for text in "abcde":
            await tell(orchestration, "head", text * 1000)
        first = await orchestration.messages(max_bytes=2600)
        assert first.next == f"There are 3 more: ask again with after={first.cursor}."
        lost = await orchestration.messages(after=first.cursor, max_bytes=2600)
        again = await orchestration.messages(after=first.cursor, max_bytes=2600)
        last = await orchestration.messages(after=again.cursor, max_bytes=1)
        rest = await orchestration.messages(after=last.cursor)
        pages = [[message.message[0] for message in answer.messages] for answer in (first, lost, again, last, rest)]
        assert pages == [["a", "b"], ["c", "d"], ["c", "d"], ["e"], []]
        assert (last.next, rest.cursor) == (None, last.cursor)
        everything = [message.message[0] for message in (await orchestration.messages(include_read=True, after=first.cursor)).messages]
        assert everything == ["c", "d", "e"]


async def test_filters_narrow_what_is_shown_and_what_is_confirmed(house: House) -> None:
    async with house.opened() as orchestration:
        await orchestration.message(MessageRequest(to="head", message="mine", type="response", correlation_id="c1"))
        await orchestration.message(MessageRequest(to="head", message="other", type="response", correlation_id="c2"))
        assert await texts(orchestration, correlation_id="c1") == ["mine"]
        assert await texts(orchestration, correlation_id="c1", type_="status") == []
        assert await texts(orchestration) == ["other"]


async def test_a_key_that_comes_again_means_the_same_message_or_is_refused(house: House) -> None:
    async with house.opened() as orchestration:
        request = MessageRequest(to="head", message="one", metadata={"a": 1}, idempotency_key="k")
        sent = await orchestration.message(request)
        assert (await orchestration.message(request)).message_id == sent.message_id
        for other in ({"to": "*"}, {"message": "two"}, {"metadata": {"a": 2}}, {"correlation_id": "c"}, {"type": "status"}):
            with pytest.raises(IdempotencyConflict):
                await orchestration.message(request.model_copy(update=other))
        with pytest.raises(IdempotencyConflict):
            await orchestration.spawn(shell("true", idempotency_key="k"))
        assert len(await texts(orchestration)) == 1


async def test_whoever_names_a_run_that_nobody_knows_counts_as_the_head_and_is_told(house: House) -> None:
    async with house.opened(identity="tr_of_another_place") as orchestration:
        await tell(orchestration, "head", "one")
        assert await texts(orchestration) == ["one"]
        spawned = await orchestration.spawn(shell("true"))
        assert spawned.warnings == (
            "CMUX_TASK_RUN_ID is 'tr_of_another_place', a run that no orchestration here knows; you are taken for the head.",
        )
        assert (await ended(orchestration, spawned.orchestration_task_id)).status == "completed"


async def test_an_agent_of_another_orchestration_reads_and_says_nothing_here(house: House) -> None:
    async with house.opened(session="a") as theirs:
        spawned = await theirs.spawn(shell("true"))
        await ended(theirs, spawned.orchestration_task_id)
    async with house.opened(session="b") as orchestration:
        await tell(orchestration, "*", "to all of us")
        async with house.opened(orchestration.orchestration_id, identity=spawned.task_run_id) as stranger:
            assert await texts(stranger) == []
            with pytest.raises(Conflict, match="is no task of orchestration"):
                await tell(stranger, "head", "hello")


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
        command = shlex.join(["env", f"PYTHONPATH={package}", sys.executable, str(program)])
        script = f"{command} && {gate.pass_through}"
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


async def test_a_letter_that_was_cut_off_does_not_swallow_the_next(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox.jsonl"
    inbox.write_bytes(b'{"id":7,"type":"mess')
    async with anyio.create_task_group() as tasks:
        await LocalBackend(tmp_path, 1.0, tasks, lambda _directory: None).send(str(tmp_path), Letter(7, "message"))
    assert [letter.id for letter in read_lines(str(inbox), Letter)[0]] == [7]
