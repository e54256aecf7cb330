"""Requests that are repeated, made together or made by many processes at once have their effect once, and none is lost."""

import json
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from devsh_memory_mcp.domain.events import AgentSpawned, MessageSent
from devsh_memory_mcp.domain.requests import BatchRequest, MessageRequest
from devsh_memory_mcp.errors import DependencyCycle, IdempotencyConflict, InvalidRequest, UnknownDependency
from tests.engine.house import House, ended, events_of, shell, view

PROGRAM = Path(__file__).with_name("caller.py")


async def test_the_same_request_with_the_same_key_is_the_same_task(house: House) -> None:
    async with house.opened() as orchestration:
        first = await orchestration.spawn(shell("echo once", idempotency_key="k"))
        again = await orchestration.spawn(shell("echo once", idempotency_key="k"))
        with pytest.raises(IdempotencyConflict):
            await orchestration.spawn(shell("echo twice", idempotency_key="k"))
        with pytest.raises(IdempotencyConflict):
            await orchestration.message(MessageRequest(to="head", message="hello", idempotency_key="k"))
        assert again.orchestration_task_id == first.orchestration_task_id
        sent = [await orchestration.message(MessageRequest(to="head", message="hello", idempotency_key="m")) for _ in range(2)]
        assert len({answer.message_id for answer in sent}) == 1
        with pytest.raises(IdempotencyConflict):
            await orchestration.message(MessageRequest(to="head", message="goodbye", idempotency_key="m"))
        assert (await ended(orchestration, first.orchestration_task_id)).result == "once\n"
        assert len([event for event in events_of(orchestration) if isinstance(event, AgentSpawned)]) == 1


def batch(*tasks: dict[str, object], **fields: object) -> BatchRequest:
    plain = [{"prompt": "true"} | task for task in tasks]
    return BatchRequest.model_validate({"tasks": plain, "defaults": {"agentName": "shell/bash", "repo": "none"}} | fields)


async def test_a_batch_is_one_commit_and_answers_in_the_order_in_which_it_was_given(house: House) -> None:
    request = batch({"id": "last", "dependsOn": ["mid"]}, {"id": "mid", "dependsOn": ["first"]}, {"id": "first"}, idempotencyKey="b")
    async with house.opened() as orchestration:
        answer = await orchestration.spawn_batch(request)
        again = await orchestration.spawn_batch(request)
        assert [task.task_id for task in answer.tasks] == ["last", "mid", "first"]
        assert [task.orchestration_task_id for task in again.tasks] == [task.orchestration_task_id for task in answer.tasks]
        lines = (orchestration.directory or Path()).joinpath("EVENTS.jsonl").read_text(encoding="utf-8").splitlines()
        spawned = [json.loads(line) for line in lines if '"agent_spawned"' in line]
        assert len({line["end"] for line in spawned}) == 1
        assert [row.status for row in (await ended(orchestration, "first", "mid", "last")).tasks] == ["completed"] * 3


@pytest.mark.parametrize(
    ("tasks", "error", "words"),
    [
        ([{"id": "a", "dependsOn": ["b"]}, {"id": "b", "dependsOn": ["a"]}], DependencyCycle, "circle"),
        ([{"id": "a", "dependsOn": ["a"]}], DependencyCycle, "circle"),
        ([{"id": "a"}, {"id": "b", "dependsOn": ["nope"]}], UnknownDependency, "'nope'"),
        ([{"id": "a"}, {"id": "a"}], InvalidRequest, "two tasks with the id 'a'"),
        ([{"id": "a"}, {"id": "b", "prompt": "  "}], InvalidRequest, "empty"),
    ],
    ids=["circle", "itself", "unknown", "repeated", "empty"],
)
async def test_a_batch_with_a_mistake_admits_nothing(house: House, tasks: list[dict[str, object]], error: type, words: str) -> None:
    async with house.opened() as orchestration:
        with pytest.raises(error, match=words):
            await orchestration.spawn_batch(batch(*tasks))
        assert [event.name for event in events_of(orchestration)] == ["orchestration_created"]


async def called(house: House, *arguments: str) -> list[object]:
    """What another process with the same caller prints: one JSON value a line."""
    done = await anyio.run_process(
        [sys.executable, str(PROGRAM), str(house.root), str(house.directory), *arguments], stderr=subprocess.STDOUT
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


async def test_two_first_spawns_at_once_share_one_orchestration(house: House) -> None:
    answers: list[object] = []

    async def spawn() -> None:
        answers.extend(await called(house, "spawn"))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(spawn)
    assert len(set(map(str, answers))) == 1
    async with house.opened() as orchestration:
        assert orchestration.orchestration_id == answers[0]
        assert (await orchestration.results()).total_tasks == 2
        await ended(orchestration, *(row.orchestration_task_id for row in (await orchestration.results()).results))


async def test_eight_processes_send_eight_hundred_messages_and_no_reader_sees_a_broken_file(house: House) -> None:
    acknowledged: list[object] = []
    async with house.opened() as orchestration:
        directory = str(orchestration.directory)

        async def send(number: int) -> None:
            acknowledged.extend(await called(house, "send", str(number)))

        reader = await anyio.open_process([sys.executable, str(PROGRAM), str(house.root), directory, "read"])
        async with reader:
            async with anyio.create_task_group() as tasks:
                for number in range(8):
                    tasks.start_soon(send, number)
            pulled = await orchestration.pull()
            while not pulled.synced:  # which a busy machine may take longer for than one pull waits; the house has a bound
                pulled = await orchestration.pull()
            assert reader.stdin is not None
            assert reader.stdout is not None
            await reader.stdin.aclose()
            told = b"".join([chunk async for chunk in reader.stdout])
            await reader.wait()
        sent = [event.message for event in events_of(orchestration) if isinstance(event, MessageSent)]
        shown = view(orchestration, "MAILBOX.json")["messages"]
    assert (len(acknowledged), len(set(map(str, acknowledged)))) == (800, 800)
    assert sorted(sent) == sorted(f"{process}-{number}" for process in range(8) for number in range(100))
    assert isinstance(shown, list)
    assert sorted(message["message"] for message in shown) == sorted(sent)
    rounds, broken = json.loads(told)
    assert rounds > 0
    assert broken == []
