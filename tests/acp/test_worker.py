"""Any agent that speaks ACP as a worker, from the spawn to the branch."""

import signal
from pathlib import Path

import pytest

from devsh_memory_mcp.domain.requests import MessageRequest, SpawnRequest
from tests.acp.conftest import Scripted
from tests.claude.test_worker import Team, printed
from tests.doubles.processes import kill
from tests.engine.house import House, ended, events_of, git, reported_pid

COST = {"sessionUpdate": "usage_update", "used": 500, "size": 9000, "cost": {"amount": 0.5, "currency": "USD"}}


def shell_call(command: str, **fields: object) -> dict[str, object]:
    return {"toolCallId": command, "title": command, "kind": "execute", "status": "pending", "rawInput": {"command": command}} | fields


def edit_call(path: str) -> dict[str, object]:
    return {"toolCallId": path, "title": "edit", "kind": "edit", "status": "pending", "locations": [{"path": path}]}


@pytest.mark.promise("agent.acp")
async def test_it_works_asks_for_what_it_may_and_its_branch_is_there(team: Team, agent: Scripted, repository: Path) -> None:
    commit = "git add made.txt && git commit -qm made"
    agent.does(
        [
            {"say": "I "},
            {"say": "write."},
            {"ask": edit_call("made.txt")},
            {"run": "echo made > made.txt"},
            {"ask": shell_call(commit)},
            {"run": commit},
            {"update": COST},
            {"say": "All "},
            {"say": "done."},
        ]
    )
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(agent.task())
        assert (spawned.permissions, spawned.warnings) == ("acceptEdits", ())
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
    assert (record.status, record.result, record.error_message, record.needs_input) == ("completed", "All done.", None, None)
    assert git(repository, "show", f"{record.branch}:made.txt") == "made"
    assert (record.usage, record.cost_usd, record.tool_calls, record.commands) == (None, 0.5, 2, 1)
    assert (record.stop_reason, str(record.session_id).startswith("session-")) == ("end_turn", True)


async def test_it_is_handed_our_server_under_the_runs_name(team: Team, agent: Scripted) -> None:
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(agent.task())
        await ended(orchestration, spawned.orchestration_task_id)
    (given,) = agent.heard("session/new")
    (server,) = given["mcpServers"]
    environment = {each["name"]: each["value"] for each in server["env"]}
    assert (server["name"], environment["CMUX_TASK_RUN_ID"]) == ("devsh-memory", spawned.task_run_id)


async def test_what_was_denied_is_told_and_all_of_it_denied_is_no_success(team: Team, agent: Scripted) -> None:
    agent.does([{"ask": shell_call("npm install x")}, {"ask": edit_call("/outside.txt")}, {"say": "I could not."}])
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(agent.task())
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
        told = [event for event in events_of(orchestration) if event.name == "agent_needs_input"]
    assert (record.status, record.failure, len(told)) == ("failed", "permission", 2)
    assert "npm install x" in str(record.needs_input)
    assert "/outside.txt" in str(record.needs_input)


async def test_one_that_is_asked_for_nothing_may_do_all(team: Team, agent: Scripted) -> None:
    agent.does([{"ask": shell_call("npm install x")}, {"say": "Done."}])
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(agent.task(permissions="bypass"))
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
    assert (record.status, record.needs_input) == ("completed", None)


async def test_messages_begin_turns_of_their_own_an_interrupt_ends_the_one_at_work_and_receipts_are_in_the_journal(
    team: Team, agent: Scripted
) -> None:
    agent.does([{"say": "I work."}, {"await": "session/cancel"}], [{"say": "Tabs."}], [{"say": "Turned around."}])
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(agent.task())
        name = spawned.orchestration_task_id
        await printed(orchestration, name, "I work.")
        first = await orchestration.message(MessageRequest(to=name, message="use tabs"))
        second = await orchestration.message(MessageRequest(to=name, message="stop that", interrupt=True))
        answer = await ended(orchestration, name)
        receipts = [event for event in events_of(orchestration) if event.name == "message_delivered"]
    assert (answer.status, answer.result, answer.error_message) == ("completed", "Turned around.", None)
    told = [message for event in receipts for message in event.message_ids]  # type: ignore[attr-defined]
    assert told == [first.message_id, second.message_id]  # in one event or in two, as the runner got to read them
    said = [each["prompt"][0]["text"] for each in agent.heard("session/prompt")]
    assert ["use tabs" in said[1], "stop that" in said[2], len(said)] == [True, True, 3]


async def test_one_that_is_cancelled_in_a_tool_call_leaves_nothing(team: Team, agent: Scripted, house: House) -> None:
    pipe, gate = house.pipe(), house.gate()
    agent.does([{"run": f"exec 3> {pipe.path}; echo hangs >&3; {gate.pass_through}"}])
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(agent.task())
        await pipe.lines(1)
        await orchestration.cancel(spawned.orchestration_task_id)
        answer = await ended(orchestration, spawned.orchestration_task_id)
        assert await pipe.end() == ["hangs"]
    assert answer.status == "cancelled"


@pytest.mark.parametrize(
    ("turn", "failure", "said"),
    [
        ([{"error": {"code": -32000, "message": "Authentication required"}}], "auth", "Authentication required"),
        ([{"say": "Half"}, {"exit": 3}], "crash", "ended without a result (exit code 3)"),
        ([{"say": "Half"}, {"stop": "refusal"}], "refusal", "its model refused to go on"),
        ([{"stop": "end_turn"}], "crash", "without a word"),
    ],
)
async def test_what_is_no_answer_is_no_success(team: Team, agent: Scripted, turn: list[dict[str, object]], failure: str, said: str) -> None:
    agent.does(turn)
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(agent.task())
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
    assert (record.status, record.failure, record.result) == ("failed", failure, None)
    assert said in str(record.error_message)


async def test_one_that_is_killed_in_its_turn_has_failed_and_its_work_is_saved(team: Team, agent: Scripted, house: House) -> None:
    agent.does([{"run": "echo half > half.txt"}, {"say": "I work."}, {"hang": 600}])
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(agent.task())
        await printed(orchestration, spawned.orchestration_task_id, "I work.")
        kill(await reported_pid(orchestration, spawned.orchestration_task_id, "agent_started"), signal.SIGKILL)
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
    assert (record.status, record.failure) == ("failed", "crash")
    assert git(house.directory, "show", f"refs/devsh/salvage/{spawned.task_run_id}/1:half.txt") == "half"


async def test_lines_that_are_no_json_are_left_out(team: Team, agent: Scripted) -> None:
    agent.does([{"print": "not json {"}, {"print": "[1, 2]"}, {"print": '{"id": [], "result": 7}'}, {"say": "Done."}])
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(agent.task())
        answer = await ended(orchestration, spawned.orchestration_task_id)
    assert (answer.status, answer.result) == ("completed", "Done.")


async def test_one_that_hangs_ends_at_its_time_limit(team: Team, agent: Scripted) -> None:
    agent.does([{"hang": 600}])
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(agent.task(timeout_ms=1000))
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
    assert (record.status, record.reason) == ("failed", "timeout")


async def test_one_that_does_not_leave_when_all_is_said_is_ended_and_has_done_its_work(team: Team, agent: Scripted) -> None:
    agent.does([{"say": "Done."}], lingers=True)
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(agent.task())
        answer = await ended(orchestration, spawned.orchestration_task_id)
    assert (answer.status, answer.result) == ("completed", "Done.")


async def test_a_resumed_session_goes_on_where_it_was_and_costs_what_came_on_top(team: Team, agent: Scripted) -> None:
    more = COST | {"cost": {"amount": 0.75, "currency": "USD"}}
    agent.does([{"update": COST}, {"say": "The first."}], [{"update": more}, {"say": "The second."}])
    async with team.opened() as orchestration:
        first = await orchestration.spawn(agent.task())
        await ended(orchestration, first.orchestration_task_id)
        again = await orchestration.spawn(SpawnRequest(prompt="go on", resume=first.orchestration_task_id))
        await ended(orchestration, again.orchestration_task_id)
        records = [await orchestration.status(each.orchestration_task_id) for each in (first, again)]
    assert [(record.result, record.cost_usd) for record in records] == [("The first.", 0.5), ("The second.", 0.25)]
    assert records[0].session_id == records[1].session_id


async def test_a_session_that_cannot_be_loaded_is_no_success(team: Team, agent: Scripted) -> None:
    agent.does([{"say": "Done."}], [{"say": "never"}], loads=False)
    async with team.opened() as orchestration:
        first = await orchestration.spawn(agent.task())
        await ended(orchestration, first.orchestration_task_id)
        again = await orchestration.spawn(SpawnRequest(prompt="go on", resume=first.orchestration_task_id))
        await ended(orchestration, again.orchestration_task_id)
        record = await orchestration.status(again.orchestration_task_id)
    assert (record.status, "cannot go on with a session" in str(record.error_message)) == ("failed", True)
