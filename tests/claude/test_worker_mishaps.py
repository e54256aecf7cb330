"""Real Claude Code as a worker to whom something happens in the middle of its work."""

from pathlib import Path

from devsh_memory_mcp.domain.requests import MessageRequest
from tests.claude.test_worker import Team, allow, heard, queued, task, team, write
from tests.doubles.model_api import ModelApi
from tests.doubles.model_script import Tool, Turn
from tests.doubles.processes import kill
from tests.engine.house import House, ended, events_of, git, reported_pid, until_event

__all__ = ["team"]


def bash(command: str) -> Tool:
    return Tool("Bash", {"command": command})


async def test_one_that_is_killed_in_a_tool_call_has_failed_its_work_is_saved_and_nothing_of_it_is_left(
    team: Team, model_api: ModelApi, house: House, repository: Path, claude_home: Path
) -> None:
    pipe, gate = house.pipe(), house.gate()
    model_api.route(
        "TASK-A",
        Turn("", [bash("pwd")]),
        Turn("", [write("{{result:(/\\S+workspace)}}/half.txt", "half\n")]),
        Turn("", [bash(f"exec 3> {pipe.path}; echo hangs >&3; {gate.pass_through}")]),
    )
    allow(claude_home / ".claude", "Bash")
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(task("TASK-A: work"))
        await until_event(orchestration, "agent_started")
        await pipe.lines(1)
        kill(await reported_pid(orchestration, spawned.orchestration_task_id, "agent_started"))
        await ended(orchestration, spawned.orchestration_task_id)
        assert await pipe.end() == ["hangs"]
        record = await orchestration.status(spawned.orchestration_task_id)
    assert (record.status, record.failure, record.branch) == ("failed", "crash", None)
    assert "claude ended without a result (signal 9)" in str(record.error_message)
    assert git(repository, "show", f"refs/devsh/salvage/{spawned.task_run_id}/1:half.txt") == "half"


async def test_a_message_during_its_last_words_is_its_next_turn(team: Team, model_api: ModelApi) -> None:
    model_api.route("TASK-A", Turn("Done.", hold="the message is there"), Turn("Done, with tabs.", expect="use tabs"))
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(task("TASK-A: work"))
        await heard(model_api, "TASK-A")
        sent = await orchestration.message(MessageRequest(to=spawned.orchestration_task_id, message="use tabs"))
        await queued(orchestration, spawned.orchestration_task_id, sent.message_id)
        model_api.open("the message is there")
        answer = await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
        receipts = [event for event in events_of(orchestration) if event.name == "message_delivered"]
    assert (answer.status, answer.result) == ("completed", "Done, with tabs.")
    assert record.usage is not None
    assert (len(model_api.turns()), record.usage["turns"], record.usage["inputTokens"]) == (2, 2, 200)
    assert [event.message_ids for event in receipts] == [(sent.message_id,)]  # type: ignore[attr-defined]


async def test_an_interrupt_ends_the_tool_that_runs(team: Team, model_api: ModelApi, house: House, claude_home: Path) -> None:
    pipe, gate = house.pipe(), house.gate()
    model_api.route(
        "TASK-A",
        Turn("", [bash(f"exec 3> {pipe.path}; echo hangs >&3; {gate.pass_through}")]),
        Turn("Turned around.", expect="stop that"),
    )
    allow(claude_home / ".claude", "Bash")
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(task("TASK-A: work"))
        await pipe.lines(1)
        await orchestration.message(MessageRequest(to=spawned.orchestration_task_id, message="stop that", interrupt=True))
        assert await pipe.end() == ["hangs"]
        answer = await ended(orchestration, spawned.orchestration_task_id)
    assert (answer.status, answer.result) == ("completed", "Turned around.")
