"""What a head decides reaches the journal, and the files of an orchestration reach a copy elsewhere."""

import json
import os
from pathlib import Path

import pytest

from devsh_memory_mcp.domain import events
from devsh_memory_mcp.domain.exchange import PushedTask, PushRequest
from devsh_memory_mcp.domain.requests import MessageRequest, SpawnRequest
from devsh_memory_mcp.errors import InvalidRequest, NotAllowed
from devsh_memory_mcp.faces.mirroring import mirrored, push_plan, refresh
from devsh_memory_mcp.ports import Orchestration
from devsh_memory_mcp.store.mirror import Mirror
from tests.engine.house import House, ended, events_of, shell, view


async def push(orchestration: Orchestration, *tasks: PushedTask, **more: object) -> tuple[int, int, tuple[str, ...]]:
    answer = await orchestration.push(PushRequest.model_validate({"tasks": tasks} | more))
    return answer.tasks_pushed, answer.tasks_updated, answer.warnings


async def test_how_far_a_head_is_stands_in_the_plan_and_in_the_journal(house: House) -> None:
    async with house.opened() as orchestration:
        answer = await orchestration.push(PushRequest(head_agent_status="running", message="two to go"))
        assert (answer.success, answer.head_agent_status, answer.tasks_updated) == (True, "running", 0)
        await orchestration.pull()
        plan = view(orchestration, "PLAN.json")
        assert (plan["headAgentStatus"], plan["headMessage"]) == ("running", "two to go")
        assert events.HeadReported(head_agent_status="running", message="two to go") in events_of(orchestration)


async def test_a_task_that_the_head_did_itself_is_done_and_what_waits_for_it_starts(house: House) -> None:
    async with house.opened() as orchestration:
        assert await push(orchestration, PushedTask(id="think", prompt="Think about it")) == (1, 1, ())
        spawned = await orchestration.spawn(shell("echo went on", depends_on=("think",)))
        assert await push(orchestration, PushedTask(id="think", status="completed", result="thought")) == (1, 1, ())
        await ended(orchestration, spawned.orchestration_task_id)
        assert (await orchestration.status("think")).result == "thought"
        assert (await orchestration.status(spawned.orchestration_task_id)).status == "completed"
        assert await push(orchestration, PushedTask(id="think", status="completed", result="again")) == (1, 0, ())
        assert (await orchestration.status("think")).result == "thought"


async def test_a_task_that_the_head_gave_up_fails_what_waits_for_it(house: House) -> None:
    async with house.opened() as orchestration:
        await push(orchestration, PushedTask(id="think", prompt="Think about it"))
        spawned = await orchestration.spawn(shell("true", depends_on=("think",)))
        await push(orchestration, PushedTask(id="think", status="failed", error_message="too hard"))
        assert (await orchestration.status("think")).error_message == "too hard"
        assert (await orchestration.status(spawned.orchestration_task_id)).error_message == "Dependency think failed"


async def test_what_an_agent_has_is_not_touched_and_the_head_is_told(house: House) -> None:
    gate = house.gate()
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell(gate.pass_through))
        task = spawned.orchestration_task_id
        *_, warnings = await push(orchestration, PushedTask(id=task, status="completed"), PushedTask(id="nobody", status="completed"))
        assert [warning.split()[0] for warning in warnings] == [task, "nobody:"]
        gate.open()
        await ended(orchestration, task)
        *_, warnings = await push(orchestration, PushedTask(id=task, status="failed"))
        assert "final" in warnings[0]
        assert (await orchestration.status(task)).status == "completed"


async def test_only_a_head_says_how_things_stand(house: House) -> None:
    gate = house.gate()
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell(gate.pass_through))
        async with house.opened(orchestration.orchestration_id, identity=spawned.task_run_id) as worker:
            with pytest.raises(NotAllowed):
                await worker.push(PushRequest(message="I decide"))
        gate.open()
        await ended(orchestration, spawned.orchestration_task_id)


async def test_a_head_pushes_what_it_wrote_into_its_plan(house: House) -> None:
    async with house.opened() as orchestration:
        await orchestration.pull()
        assert orchestration.plan_path is not None
        with pytest.raises(InvalidRequest):
            await push_plan(orchestration, status=None, message=None)
        plan = json.loads(orchestration.plan_path.read_bytes())
        plan["tasks"] = [{"id": "mine", "prompt": "Do it", "agentName": "me", "status": "completed", "result": "did it"}]
        orchestration.plan_path.write_text(json.dumps(plan), encoding="utf-8")
        answer = await push_plan(orchestration, status="completed", message=None)
        assert (answer.tasks_pushed, answer.tasks_updated, answer.head_agent_status) == (1, 1, "completed")
        task = await orchestration.status("mine")
        assert (task.status, task.result) == ("completed", "did it")
        await orchestration.pull()


async def mirror_of(orchestration: Orchestration, root: Path) -> Mirror:
    mirror = Mirror(root, orchestration.orchestration_id)
    await refresh(mirror, orchestration)
    return mirror


async def test_a_mirror_has_the_files_as_they_are_there(house: House, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(SpawnRequest(prompt="echo hi", agent_name="shell/bash", repo="none"))
        await orchestration.message(MessageRequest(to="head", message="look"))
        await ended(orchestration, spawned.orchestration_task_id)
        answer = await mirrored(Mirror(copy, orchestration.orchestration_id), orchestration, await orchestration.pull())
        assert orchestration.directory is not None
        here = copy / "orchestration"
        assert answer.plan_path == str(copy / "mirrored" / orchestration.orchestration_id / "PLAN.json")
        await orchestration.pull()
        for name in ("PLAN.json", "AGENTS.json", "MAILBOX.json"):
            theirs = {key: value for key, value in view(orchestration, name).items() if key != "_view"}
            assert json.loads((here / name).read_bytes()) == theirs
        lines = [json.loads(line) for line in (here / "EVENTS.jsonl").read_bytes().splitlines()]
        journal = [json.loads(line) for line in (orchestration.directory / "EVENTS.jsonl").read_bytes().splitlines()]
        assert [line["event"] for line in lines] == [line["event"] for line in journal]
        assert all(line["spec"].get("environment", {}) == {} for line in lines if line["event"] == "agent_spawned")
        assert os.environ["HOME"] not in (here / "EVENTS.jsonl").read_text(encoding="utf-8")


async def test_a_mirror_is_brought_up_to_date_and_keeps_what_its_head_wrote(house: House, tmp_path: Path) -> None:
    async with house.opened() as orchestration:
        mirror = await mirror_of(orchestration, tmp_path)
        before = (mirror.directory / "EVENTS.jsonl").read_bytes()
        plan = json.loads(mirror.plan_path.read_bytes())
        plan["tasks"].append({"id": "mine", "prompt": "Do it", "agentName": "me", "status": "pending"})
        mirror.plan_path.write_text(json.dumps(plan), encoding="utf-8")
        await orchestration.message(MessageRequest(to="head", message="look"))
        await refresh(mirror, orchestration)
        after = (mirror.directory / "EVENTS.jsonl").read_bytes()
        assert after.startswith(before)
        assert after.count(b"message_sent") == 1
        assert [task["id"] for task in json.loads(mirror.plan_path.read_bytes())["tasks"]] == ["mine"]
        kept = [path for path in mirror.directory.iterdir() if ".edited-" in path.name]
        assert [json.loads(path.read_bytes()) for path in kept] == [plan]
        mirror.plan_path.write_bytes(b"{ torn")
        (mirror.directory / "EVENTS.jsonl").write_bytes(b"{ torn")
        await refresh(mirror, orchestration)
        assert (mirror.directory / "EVENTS.jsonl").read_bytes().startswith(after)


async def test_two_that_bring_a_mirror_up_to_date_at_once_write_each_line_once(house: House, tmp_path: Path) -> None:
    async with house.opened() as orchestration:
        mirror = await mirror_of(orchestration, tmp_path)
        before = mirror.position()
        await orchestration.message(MessageRequest(to="head", message="look"))
        late = await orchestration.mirror(before)
        await refresh(mirror, orchestration)
        mirror.append(late, before)  # what another process had asked for before
        told = [json.loads(line)["seq"] for line in (mirror.directory / "EVENTS.jsonl").read_bytes().splitlines()]
        assert told == list(range(1, len(told) + 1))


async def test_a_mirror_is_no_orchestration_of_its_root(house: House, tmp_path: Path) -> None:
    async with house.opened() as orchestration:
        await push(orchestration, PushedTask(id="think", prompt="Think about it"))
        other = House(tmp_path / "other", house.directory)
        other.root.mkdir()
        await mirror_of(orchestration, other.root)
    async with other.opened() as own:
        assert own.orchestration_id != orchestration.orchestration_id
    other.close()


@pytest.mark.parametrize("lines", [3, 1])
async def test_a_long_journal_comes_in_parts(house: House, tmp_path: Path, lines: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devsh_memory_mcp.engine.pushing.LINES", lines)
    async with house.opened() as orchestration:
        for number in range(7):
            await orchestration.message(MessageRequest(to="head", message=str(number)))
        mirror = await mirror_of(orchestration, tmp_path)
        told = [json.loads(line)["seq"] for line in (mirror.directory / "EVENTS.jsonl").read_bytes().splitlines()]
        assert told == list(range(1, await orchestration.position() + 1))
