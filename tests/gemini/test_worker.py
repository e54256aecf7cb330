"""Real Gemini CLI as a worker, from the spawn to the branch."""

import os
from pathlib import Path

import pytest

from devsh_memory_mcp.domain.requests import MessageRequest, SpawnRequest
from tests.claude.test_worker import Team
from tests.doubles.model_api import ModelApi
from tests.doubles.model_script import Error, Tool, Turn
from tests.engine.house import House, ended, events_of, git, until_event

OURS = "mcp_devsh-memory"


def task(prompt: str, **fields: object) -> SpawnRequest:
    return SpawnRequest.model_validate({"prompt": prompt, "agent_name": "gemini/gemini-2.5-pro"} | fields)


def run(command: str) -> Tool:
    return Tool("run_shell_command", {"command": command, "description": "runs it"})


@pytest.mark.promise("agent.gemini")
async def test_it_edits_commits_and_its_branch_is_there(team: Team, model_api: ModelApi, repository: Path) -> None:
    model_api.route(
        "TASK-A",
        Turn("I write.", [Tool("write_file", {"file_path": "made.txt", "content": "made\n"})], usage={"input_tokens": 1000}),
        Turn("", [run("git add made.txt && git commit -qm made")]),
        Turn("All done.", usage={"output_tokens": 50}),
    )
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(task("TASK-A: make it"))
        assert (spawned.permissions, spawned.cost_basis) == ("acceptEdits", "api")
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
    assert (record.status, record.result, record.error_message, record.needs_input) == ("completed", "All done.", None, None)
    assert git(repository, "show", f"{record.branch}:made.txt") == "made"
    assert git(repository, "log", "-1", "--format=%s", str(record.branch)) == "made"
    assert record.usage == {"inputTokens": 1200, "outputTokens": 70}
    assert (record.cost_usd, record.cost_basis, record.tool_calls, record.commands) == (None, "unknown", 2, 1)


async def test_a_refused_key_fails_at_once_and_too_many_requests_are_no_failure(team: Team, model_api: ModelApi) -> None:
    busy = Error(429, "RESOURCE_EXHAUSTED", "slow down", {"retry-after": "0"})
    model_api.route("TASK-A", Turn("Made it.", error=busy, times=1))
    model_api.route("TASK-B", Turn("never"))
    async with team.opened() as orchestration:
        made = await orchestration.spawn(task("TASK-A"))
        answer = await ended(orchestration, made.orchestration_task_id)
        model_api.refused.add("api key")
        spawned = await orchestration.spawn(task("TASK-B", retries=2))
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
    assert (answer.status, answer.result) == ("completed", "Made it.")
    assert (record.status, record.failure, record.attempt) == ("failed", "auth", 1)
    assert "GEMINI_API_KEY" in str(record.needs_input)


async def test_what_was_denied_is_told_and_all_of_it_denied_is_no_success(team: Team, model_api: ModelApi) -> None:
    model_api.route("TASK-A", Turn("", [run("npm install left-pad")]), Turn("I could not."))
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(task("TASK-A"))
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
    assert (record.status, record.failure) == ("failed", "permission")
    assert "runs `npm install left-pad`" in str(record.needs_input)


async def test_messages_wait_for_the_turns_end_and_an_interrupt_ends_the_tool_that_runs(
    team: Team, model_api: ModelApi, house: House
) -> None:
    pipe, gate = house.pipe(), house.gate()
    hanging = run(f"exec 3> {pipe.path}; echo hangs >&3; {gate.pass_through}")
    model_api.route("TASK-A", Turn("", [hanging]), Turn("Tabs.", expect="use tabs"), Turn("Turned around.", expect="stop that"))
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(task("TASK-A: work", permissions="bypass"))
        name = spawned.orchestration_task_id
        await pipe.lines(1)
        await orchestration.message(MessageRequest(to=name, message="use tabs"))
        await orchestration.message(MessageRequest(to=name, message="stop that", interrupt=True))
        assert await pipe.end() == ["hangs"]
        answer = await ended(orchestration, name)
        receipts = [event for event in events_of(orchestration) if event.name == "message_delivered"]
    assert (answer.status, answer.result, len(receipts)) == ("completed", "Turned around.", 2)


async def test_one_that_is_cancelled_in_a_tool_call_leaves_nothing(team: Team, model_api: ModelApi, house: House) -> None:
    pipe, gate = house.pipe(), house.gate()
    model_api.route("TASK-A", Turn("", [run(f"exec 3> {pipe.path}; echo hangs >&3; {gate.pass_through}")]))
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(task("TASK-A: work", permissions="bypass"))
        await pipe.lines(1)
        await orchestration.cancel(spawned.orchestration_task_id)
        answer = await ended(orchestration, spawned.orchestration_task_id)
        assert await pipe.end() == ["hangs"]
    assert answer.status == "cancelled"


async def test_one_that_may_do_anything_speaks_to_its_head_and_another_model_than_asked_for_is_told(
    team: Team, model_api: ModelApi
) -> None:
    report = Tool(f"{OURS}_send_message", {"to": "head", "message": "half way", "type": "status"})
    model_api.route("TASK-A", Turn("", [report]), Turn("Reported."))
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(task("TASK-A", agent_name="gemini/gemini-3-pro-preview", permissions="bypass"))
        await until_event(orchestration, "message_sent")
        mail = await orchestration.messages()
        await orchestration.messages(after=mail.cursor)
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
    assert [(message.sender, message.message) for message in mail.messages] == [(spawned.orchestration_task_id, "half way")]
    assert f"{OURS}_spawn_agent" not in model_api.turns()[0].tools
    assert (record.status, record.result) == ("completed", "Reported.")
    assert "gemini had it done by gemini-2.5-pro, not by gemini-3-pro-preview." in record.warnings
    assert not Path(os.environ["HOME"], "started").exists()


async def test_one_that_goes_on_works_on_what_it_left_and_knows_what_was_said(team: Team, model_api: ModelApi, repository: Path) -> None:
    """Its own session is found from no other directory."""
    write = Tool("write_file", {"file_path": "one.txt", "content": "one\n"})
    model_api.route("GO-ON", Turn("", [run("cat one.txt > two.txt")], expect="The word is plover"), Turn("Went on."))
    model_api.route("TASK-A", Turn("", [write]), Turn("The word is plover."))
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(task("TASK-A: begin", permissions="bypass"))
        await ended(orchestration, spawned.orchestration_task_id)
        again = await orchestration.spawn(SpawnRequest(prompt="GO-ON", resume=spawned.orchestration_task_id, permissions="bypass"))
        await ended(orchestration, again.orchestration_task_id)
        first, second = [await orchestration.status(each.orchestration_task_id) for each in (spawned, again)]
    assert (first.status, second.status, second.result) == ("completed", "completed", "Went on."), second.error_message
    assert [warning for warning in again.warnings if "takes no session into another checkout" in warning]
    assert second.branch == first.branch
    assert git(repository, "show", f"{second.branch}:two.txt") == "one"
