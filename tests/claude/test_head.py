"""Real Claude Code as the head, with real Claude Code as its workers."""

import json
import re
from typing import Any

import pytest

from devsh_memory_mcp.clients.server import SERVER_NAME
from tests.claude.head import ALL, REST, Head, bash, hand_out, hand_out_scripts, merge, ours, spawn, wait, work
from tests.claude.test_model_api import result_of
from tests.claude.test_worker import queued
from tests.doubles.model_api import ModelApi
from tests.doubles.model_request import Request
from tests.doubles.model_script import Tool, Turn
from tests.engine.house import ended, until_event

SESSION = "7a1c1e4e-2f0a-4f1e-9d5c-0123456789ab"


def answers_in(request: Request) -> list[dict[str, Any]]:
    """What the last tools answered."""
    return [json.loads(text) for text in request.results]


@pytest.mark.promise("agent.claude", "mcp.wait_for_agent", "mcp.send_message", "mcp.get_my_messages")
async def test_it_hands_out_four_works_answers_a_question_and_merges_all(head: Head, model_api: ModelApi) -> None:
    gate = head.house.gate()
    ask = ours("send_message", to="head", message="tabs or spaces?", type="request")
    answer = ours("send_message", to='{{result:"from":"(ns\\w+)"}}', message="use tabs", type="response", replyTo='{{result:"id":(\\d+)}}')
    first, *rest = work("a")
    model_api.route("WORK-A", Turn("", [ask]), Turn("", [bash(gate.pass_through)]), first._replace(expect="use tabs"), *rest)
    model_api.route(
        "LEAD",
        Turn("I hand it out.", hand_out(model_api, "abcd")),
        Turn("", [wait(ALL)]),
        Turn("", [ours("get_my_messages")], expect='"unreadMessages":1'),
        Turn("", [answer]),
        *(Turn("", [wait(ids)]) for ids in (ALL, REST, REST, REST)),
        Turn("", [*merge("abcd"), ours("get_my_messages")]),
        Turn("All four are merged."),
    )
    with head.started("LEAD: add four files") as process:
        spawned, sent = answers_in(model_api.await_turn("LEAD", 2))[0], answers_in(model_api.await_turn("LEAD", 5))[0]
        async with head.house.opened(spawned["orchestrationId"]) as orchestration:
            await queued(orchestration, sent["to"], sent["messageId"])
        gate.open()
        for number, letter in enumerate("cadb", 6):  # one end, one answer
            model_api.open(letter)
            assert f'"result":"Added {letter}."' in model_api.await_turn("LEAD", number).results[0]
        assert result_of(process)["result"] == "All four are merged."
    head.assert_merged("abcd")
    assert head.receipts() == [("use tabs", "push"), ("tabs or spaces?", "pull")]


@pytest.mark.promise("mcp.cancel_agent")
async def test_a_worker_that_hangs_is_cancelled_and_nothing_of_it_is_left(head: Head, model_api: ModelApi) -> None:
    pipe, gate = head.house.pipe(), head.house.gate()
    model_api.route("WORK-H", Turn("", [bash(f"exec 3> {pipe.path}; echo hangs >&3; {gate.pass_through}")]))
    model_api.route(
        "LEAD",
        Turn("", [spawn("WORK-H: hang")]),
        Turn("", [ours("cancel_agent", orchestrationTaskId="{{result:ns\\w+}}")], hold="it hangs"),
        Turn("", [ours("get_agent_status", orchestrationTaskId="{{all:ns\\w+}}")], expect='"cancelledCount":1'),
        Turn("It is gone.", expect='"status":"cancelled"'),
    )
    with head.started("LEAD: try it") as process:
        assert await pipe.lines(1) == ["hangs"]
        model_api.open("it hangs")
        assert result_of(process)["result"] == "It is gone."
        assert await pipe.end() == ["hangs"]


@pytest.mark.promise("mcp.brief")
async def test_one_that_was_killed_is_resumed_reads_the_brief_and_spawns_nothing_twice(head: Head, model_api: ModelApi) -> None:
    gates = {letter: head.house.gate(letter) for letter in "ab"}
    brief = Turn("", [Tool("ReadMcpResourceTool", {"server": SERVER_NAME, "uri": "devsh://brief"})])
    model_api.route(
        "LEAD",
        Turn("I hand it out.", hand_out_scripts(gates)),
        Turn("", [wait(ALL, "all")]),
        brief,
        brief,  # where it was cut off claude itself speaks once, and counts as the model
        Turn("", hand_out_scripts(gates), expect="You lead these 2 agents"),
        Turn("", [wait(ALL, "all")]),
        Turn("", merge("ab")),
        Turn("Merged after all."),
    )
    with head.started("LEAD: add two files", "--session-id", SESSION) as process:
        first, second = answers_in(model_api.await_turn("LEAD", 2))
        async with head.house.opened(first["orchestrationId"]) as orchestration:
            await until_event(orchestration, "agent_started", 2)
            process.kill()
            gates["a"].open()  # it goes on without its head
            assert (await ended(orchestration, first["orchestrationTaskId"])).result == "Added a.\n"
    gates["b"].open()
    with head.started("go on", "--resume", SESSION) as process:
        assert result_of(process)["result"] == "Merged after all."
    head.assert_merged("ab")
    known = re.findall(r'"orchestrationTaskId":"(\w+)"', model_api.turns("LEAD")[-1].conversation)
    assert set(known) == {first["orchestrationTaskId"], second["orchestrationTaskId"]}
