"""Real opencode as a worker, from the spawn to the branch."""

from pathlib import Path

import pytest

from devsh_memory_mcp.domain.requests import MessageRequest, SpawnRequest
from tests.claude.test_worker import Team, heard
from tests.doubles.model_api import ModelApi
from tests.doubles.model_script import Error, Tool, Turn
from tests.engine.house import House, ended, events_of, git, until_event

PATIENCE = 180  # seconds: it takes long to start on a machine that has other work
OURS = "devsh-memory"


def task(prompt: str, **fields: object) -> SpawnRequest:
    return SpawnRequest.model_validate({"prompt": prompt, "agent_name": "opencode/anthropic/claude-haiku-4-5"} | fields)


def run(command: str) -> Tool:
    return Tool("bash", {"command": command, "description": "runs it"})


@pytest.mark.promise("agent.opencode")
async def test_it_edits_commits_and_its_branch_is_there(team: Team, model_api: ModelApi, repository: Path) -> None:
    model_api.route(
        "TASK-A",
        Turn("I write.", [Tool("write", {"filePath": "made.txt", "content": "made\n"})], usage={"input_tokens": 10_000}),
        Turn("", [run("git add made.txt && git commit -qm made")]),
        Turn("All done.", usage={"output_tokens": 50}),
    )
    async with team.opened(seconds=PATIENCE) as orchestration:
        spawned = await orchestration.spawn(task("TASK-A: make it"))
        assert (spawned.permissions, spawned.cost_basis) == ("acceptEdits", "api")
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
    assert (record.status, record.result, record.error_message, record.needs_input) == ("completed", "All done.", None, None)
    assert git(repository, "show", f"{record.branch}:made.txt") == "made"
    assert git(repository, "log", "-1", "--format=%s", str(record.branch)) == "made"
    assert (record.cost_usd, record.usage, record.tool_calls, record.commands) == (pytest.approx(0.01055), None, 2, 1)
    assert model_api.turns()[0].body["model"] == "claude-haiku-4-5"


async def test_a_message_is_in_the_next_request_of_the_same_turn(team: Team, model_api: ModelApi, house: House) -> None:
    gate = house.gate()
    model_api.route("TASK-A", Turn("I work.", [run(gate.pass_through)]), Turn("Changed as you said.", expect="use tabs"))
    async with team.opened(seconds=PATIENCE) as orchestration:
        spawned = await orchestration.spawn(task("TASK-A: work", permissions="bypass"))
        await heard(model_api, "TASK-A")
        await until_event(orchestration, "agent_started")
        sent = await orchestration.message(MessageRequest(to=spawned.orchestration_task_id, message="use tabs"))
        gate.open()
        answer = await ended(orchestration, spawned.orchestration_task_id)
        receipts = [event for event in events_of(orchestration) if event.name == "message_delivered"]
    assert (answer.status, answer.result) == ("completed", "Changed as you said.")
    assert [event.message_ids for event in receipts] == [(sent.message_id,)]  # type: ignore[attr-defined]


async def test_an_interrupt_ends_the_tool_that_runs_and_it_turns_to_the_message(team: Team, model_api: ModelApi, house: House) -> None:
    pipe, gate = house.pipe(), house.gate()
    hanging = run(f"exec 3> {pipe.path}; echo hangs >&3; {gate.pass_through}")
    model_api.route("TASK-A", Turn("", [hanging]), Turn("Turned around.", expect="stop that"))
    async with team.opened(seconds=PATIENCE) as orchestration:
        spawned = await orchestration.spawn(task("TASK-A: work", permissions="bypass"))
        await pipe.lines(1)
        await orchestration.message(MessageRequest(to=spawned.orchestration_task_id, message="stop that", interrupt=True))
        assert await pipe.end() == ["hangs"]
        answer = await ended(orchestration, spawned.orchestration_task_id)
    assert (answer.status, answer.result) == ("completed", "Turned around.")


async def test_one_that_is_cancelled_in_a_tool_call_leaves_nothing(team: Team, model_api: ModelApi, house: House) -> None:
    pipe, gate = house.pipe(), house.gate()
    model_api.route("TASK-A", Turn("", [run(f"exec 3> {pipe.path}; echo hangs >&3; {gate.pass_through}")]))
    async with team.opened(seconds=PATIENCE) as orchestration:
        spawned = await orchestration.spawn(task("TASK-A: work", permissions="bypass"))
        await pipe.lines(1)
        await orchestration.cancel(spawned.orchestration_task_id)
        await ended(orchestration, spawned.orchestration_task_id)
        assert await pipe.end() == ["hangs"]
        record = await orchestration.status(spawned.orchestration_task_id)
    assert (record.status, record.failure) == ("cancelled", None)


async def test_a_refused_key_fails_at_once_and_so_does_a_model_that_there_is_none_of(team: Team, model_api: ModelApi) -> None:
    model_api.refused.add("api key")
    model_api.route("TASK", Turn("never"))
    async with team.opened(seconds=PATIENCE) as orchestration:
        spawned = [
            await orchestration.spawn(task("TASK-A", retries=2)),
            await orchestration.spawn(task("TASK-B", agent_name="opencode/anthropic/claude-none-9", retries=2)),
        ]
        await ended(orchestration, *(each.orchestration_task_id for each in spawned))
        key, model = [await orchestration.status(each.orchestration_task_id) for each in spawned]
    assert (key.status, key.failure, key.attempt, "opencode auth login" in str(key.needs_input)) == ("failed", "auth", 1, True)
    assert (model.status, model.failure, model.attempt) == ("failed", "api", 1)
    assert "model not found: anthropic/claude-none-9" in str(model.error_message)
    assert not model_api.turns("TASK-B")


async def test_what_was_denied_is_told_and_the_rest_is_done_and_too_many_requests_are_no_failure(team: Team, model_api: ModelApi) -> None:
    busy = Error(429, "rate_limit_error", "slow down", {"retry-after": "0"})
    model_api.route("TASK-A", Turn("", [run("npm install left-pad")], error=busy, times=1), Turn("I could not."))
    model_api.route("TASK-B", Turn("", [run("npm install left-pad"), Tool("read", {"filePath": "README.md"})]), Turn("The rest is done."))
    async with team.opened(seconds=PATIENCE) as orchestration:
        nothing, some = await orchestration.spawn(task("TASK-A")), await orchestration.spawn(task("TASK-B"))
        await ended(orchestration, nothing.orchestration_task_id, some.orchestration_task_id)
        records = [await orchestration.status(each.orchestration_task_id) for each in (nothing, some)]
    assert [(record.status, record.failure) for record in records] == [("failed", "permission"), ("completed", None)], records
    assert all("runs `npm install left-pad`" in str(record.needs_input) for record in records)


async def test_it_speaks_to_its_head_and_sees_no_server_of_its_users(team: Team, model_api: ModelApi, configuration: Path) -> None:
    report = Tool(f"{OURS}_send_message", {"to": "head", "message": "half way", "type": "status"})
    model_api.route("TASK-A", Turn("", [report]), Turn("Reported."))
    async with team.opened(seconds=PATIENCE) as orchestration:
        spawned = await orchestration.spawn(task("TASK-A"))
        await until_event(orchestration, "message_sent")
        mail = await orchestration.messages()
        await orchestration.messages(after=mail.cursor)
        answer = await ended(orchestration, spawned.orchestration_task_id)
    assert (answer.status, answer.result) == ("completed", "Reported.")
    assert [(message.sender, message.message) for message in mail.messages] == [(spawned.orchestration_task_id, "half way")]
    assert f"{OURS}_spawn_agent" not in model_api.turns()[0].tools
    assert not (configuration.parents[2] / "started").exists()


async def test_one_that_goes_on_works_on_what_it_left_and_knows_what_was_said(team: Team, model_api: ModelApi, repository: Path) -> None:
    """Its own session would work on in the directory in which it began."""
    model_api.route("GO-ON", Turn("", [run("cat one.txt > two.txt")], expect="The word is plover"), Turn("Went on."))
    model_api.route("TASK-A", Turn("", [run("echo one > one.txt")]), Turn("The word is plover."))
    async with team.opened(seconds=PATIENCE) as orchestration:
        spawned = await orchestration.spawn(task("TASK-A: begin", permissions="bypass"))
        await ended(orchestration, spawned.orchestration_task_id)
        again = await orchestration.spawn(
            SpawnRequest(prompt="GO-ON", resume=spawned.orchestration_task_id, permissions="bypass"),
        )
        await ended(orchestration, again.orchestration_task_id)
        first, second = [await orchestration.status(each.orchestration_task_id) for each in (spawned, again)]
    assert (first.status, second.status, second.result) == ("completed", "completed", "Went on."), second.error_message
    assert [warning for warning in again.warnings if "takes no session into another checkout" in warning]
    assert second.branch == first.branch
    assert git(repository, "show", f"{second.branch}:two.txt") == "one"
    assert second.session_id != first.session_id
    asked = model_api.turns("GO-ON")[0]
    assert asked.has("You were asked:\nTASK-A: begin")
