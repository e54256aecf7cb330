"""What the server offers, takes and answers, in both eras."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from doubles.mcp_client import CANNED, MODERN, Connect, started, text_of
from doubles.orchestrations import IDS, NOW, Canned, record, row
from mcp.shared.exceptions import MCPError

from devsh_memory_mcp.domain import answers
from devsh_memory_mcp.errors import Conflict, NotAllowed, NotFound
from devsh_memory_mcp.faces.mcp_instructions import AGENT_INSTRUCTIONS, INSTRUCTIONS
from devsh_memory_mcp.faces.mcp_result import LIMIT
from devsh_memory_mcp.faces.mcp_tools import FACES

ALL = {
    "spawn_agent",
    "spawn_batch",
    "get_agent_status",
    "list_spawned_agents",
    "wait_for_agent",
    "cancel_agent",
    "get_orchestration_summary",
    "pull_orchestration_updates",
    "push_orchestration_updates",
    "send_message",
    "get_my_messages",
}
SPAWNED = answers.SpawnAnswer(**IDS, agent_name="shell/bash", status="pending", orchestration_id="orch_1")
COUNTS = answers.StatusCounts(total=1, running=1)
ENDED = {"agent_name": "shell/bash", "status": "completed", "result": "done"}


def message(number: int = 1, text: str = "hello") -> answers.MessageRecord:
    return answers.MessageRecord(id=number, sender="head", to="head", type="request", message=text, timestamp=NOW)


@pytest.mark.promise("mcp.tools")
async def test_the_eleven_tools_are_offered_described_and_annotated(connect: Connect, canned: Canned) -> None:
    async with connect(canned) as client:
        tools = (await client.list_tools()).tools
    assert {tool.name for tool in tools} == ALL
    for tool in tools:
        assert tool.title
        assert tool.description
        assert tool.annotations
        assert None not in tool.annotations.model_dump(exclude={"title"}).values()
        assert tool.input_schema["additionalProperties"] is False
        assert all(shown["description"] for shown in tool.input_schema["properties"].values())
        jsonschema.Draft202012Validator.check_schema(tool.input_schema)
        jsonschema.Draft202012Validator.check_schema(tool.output_schema)
    assert {tool.name for tool in tools if tool.annotations and tool.annotations.destructive_hint} == {"cancel_agent"}
    assert {tool.name for tool in tools if tool.annotations and not tool.annotations.read_only_hint} == {
        "spawn_agent",
        "spawn_batch",
        "cancel_agent",
        "pull_orchestration_updates",
        "push_orchestration_updates",
        "send_message",
        "get_my_messages",
    }
    assert {tool.name for tool in tools if tool.annotations and not tool.annotations.idempotent_hint} == {
        "spawn_agent",
        "spawn_batch",
        "push_orchestration_updates",
        "send_message",
        "get_my_messages",
    }


async def test_the_instructions_are_small(connect: Connect, canned: Canned) -> None:
    async with connect(canned) as client:
        assert client.instructions in (INSTRUCTIONS, None)  # without a handshake they come with discovery
    assert len(INSTRUCTIONS.encode()) < 2048
    assert len(AGENT_INSTRUCTIONS.encode()) < 2048
    for tool in re.findall(r"[a-z]+_[a-z_]+", AGENT_INSTRUCTIONS):
        assert tool in {face.name for face in FACES if face.is_for_agents}


@pytest.mark.parametrize("meta", [{}, MODERN], ids=["handshake", "2026-07-28"])
async def test_the_tool_list_is_small_as_it_is_sent(tmp_path: Path, meta: dict[str, Any]) -> None:
    async with started(CANNED, str(tmp_path / "closed"), greets=not meta) as raw:
        await raw.ask("tools/list", {"_meta": meta} if meta else {})
        assert raw.process.stdout
        line = await raw.process.stdout.readline()
    assert len(json.loads(line)["result"]["tools"]) == len(ALL)
    assert len(line) <= 14 * 1024


async def test_the_agents_that_can_be_started_here_and_the_default_are_told(connect: Connect, canned: Canned) -> None:
    async with connect(canned, environment={"CMUX_DEFAULT_CODING_AGENT": "shell/sh"}) as client:
        (spawn,) = [tool for tool in (await client.list_tools()).tools if tool.name == "spawn_agent"]
    shown = spawn.input_schema["properties"]
    assert "shell/bash" in shown["agentName"]["description"]
    assert shown["agentName"]["default"] == "shell/sh"
    assert shown["priority"] | {"description": ""} == {"type": "integer", "minimum": 0, "maximum": 10, "default": 5, "description": ""}


@pytest.mark.promise("mcp.worker")
async def test_an_agent_is_offered_only_what_it_talks_with_and_told_whom_to_ask_for_the_rest(connect: Connect, canned: Canned) -> None:
    async with connect(canned, identity="ns0123456789") as client:
        offered = {tool.name for tool in (await client.list_tools()).tools}
        refused = {name: await client.call_tool(name, {"prompt": "breed"}) for name in sorted(ALL - offered)}
        unknown = await client.call_tool("spawn", {})
        assert (await client.list_resources()).resources == []
        assert (await client.list_resource_templates()).resource_templates == []
        assert (await client.list_prompts()).prompts == []
        with pytest.raises(MCPError, match="Unknown resource"):
            await client.read_resource("devsh://brief")
        with pytest.raises(MCPError, match="no prompt"):
            await client.get_prompt("review_loop")
    assert offered == {"get_my_messages", "send_message", "get_agent_status"}
    for name, answer in refused.items():
        assert answer.is_error
        assert text_of(answer) == f"not_allowed: {name} is for heads, and you are a sub-agent. {NotAllowed.next_step}"
    assert "Unknown tool" in text_of(unknown)
    assert canned.asked == []


@pytest.mark.promise("mcp.spawn_agent")
@pytest.mark.promise("mcp.spawn_agent.prompt")
@pytest.mark.promise("mcp.spawn_agent.agentName")
@pytest.mark.promise("mcp.spawn_agent.repo")
@pytest.mark.promise("mcp.spawn_agent.branch")
@pytest.mark.promise("mcp.spawn_agent.dependsOn")
@pytest.mark.promise("mcp.spawn_agent.priority")
async def test_spawn_agent_passes_on_all_it_was_given(connect: Connect) -> None:
    canned = Canned(spawn=SPAWNED)
    given = {"agentName": "shell/bash", "repo": "o/r", "branch": "main", "dependsOn": ["ns1"], "priority": 2, "name": "a"}
    more = {"retries": 1, "timeout": 5000, "onDependencyFailure": "run", "prTitle": "T", "setup": "make", "includeDirty": True}
    more |= {"verify": "make test", "stallTimeout": 600, "maxTurns": 9, "maxCostUsd": 1.5}
    async with connect(canned) as client:
        answer = await client.call_tool("spawn_agent", {"prompt": "p", **given, **more, "idempotencyKey": "k"})
    asked = canned.asked[0][1].model_dump(by_alias=True)
    assert (asked.pop("timeoutMs"), asked.pop("stallTimeoutMs")) == (more.pop("timeout"), more.pop("stallTimeout"))
    assert asked.items() >= {"prompt": "p", **more, "idempotencyKey": "k", **(given | {"dependsOn": ("ns1",)})}.items()
    assert answer.structured_content == {**SPAWNED.model_dump(by_alias=True, exclude_none=True, exclude={"warnings"})}
    assert {"orchestrationTaskId", "taskId", "taskRunId", "agentName", "status"} <= answer.structured_content.keys()


@pytest.mark.promise("mcp.spawn_batch")
async def test_spawn_batch_passes_on_all_it_was_given_and_answers_every_id(connect: Connect) -> None:
    spawned = tuple(SPAWNED.model_copy(update={"task_id": f"t{number}"}) for number in range(2))
    canned = Canned(spawn_batch=answers.BatchAnswer(orchestration_id="orch_1", total=2, tasks=spawned, next="Wait."))
    more = {"agentName": "shell/sh", "repo": "o/r", "branch": "main", "priority": 2, "retries": 1, "timeout": 5000}
    rest = {"onDependencyFailure": "run", "prTitle": "T", "setup": "make", "includeDirty": True, "dependsOn": ["t0"]}
    rest |= {"verify": "make test", "stallTimeout": 600, "maxTurns": 9, "maxCostUsd": 1.5}
    tasks = [{"id": "t0", "prompt": "p", "repo": None}, {"id": "t1", "prompt": "q", **more, **rest}]
    given = {"defaults": {"agentName": "shell/bash"}, "maxConcurrent": 3, "idempotencyKey": "k"}
    async with connect(canned) as client:
        answer = await client.call_tool("spawn_batch", {"tasks": tasks, **given})
        await client.call_tool("spawn_batch", {"tasks": json.dumps(tasks), "defaults": json.dumps(given["defaults"])})
    asked = [call[1].model_dump(by_alias=True, exclude_unset=True) for call in canned.asked]
    spans = {"timeoutMs": more.pop("timeout"), "stallTimeoutMs": rest.pop("stallTimeout")}
    expected = ({"id": "t0", "prompt": "p"}, {"id": "t1", "prompt": "q", **more, **rest, **spans, "dependsOn": ("t0",)})
    assert asked == [{"tasks": expected, **given}, {"tasks": expected, "defaults": given["defaults"]}]
    shown = answer.structured_content
    assert (shown["total"], shown["next"]) == (2, "Wait.")
    assert [task["taskId"] for task in shown["tasks"]] == ["t0", "t1"]
    assert all(task["orchestrationTaskId"] and task["status"] == "pending" for task in shown["tasks"])


async def test_of_a_batch_that_is_large_every_id_is_told_before_anything_else(connect: Connect) -> None:
    spawned = tuple(
        SPAWNED.model_copy(update={"task_id": f"task-{number}", "branch": "dev/" + "x" * 50, "next": "n" * 90}) for number in range(80)
    )
    canned = Canned(spawn_batch=answers.BatchAnswer(orchestration_id="orch_1", total=80, tasks=spawned))
    async with connect(canned) as client:
        answer = await client.call_tool("spawn_batch", {"tasks": [{"id": f"task-{number}", "prompt": "p"} for number in range(80)]})
    assert len(text_of(answer).encode()) <= LIMIT
    assert [task["taskId"] for task in answer.structured_content["tasks"]] == [f"task-{number}" for number in range(80)]


async def test_the_summary_has_the_brief_where_it_is_asked_for(connect: Connect) -> None:
    canned = Canned(summary=CALLS[2][2]["summary"], brief="# Brief " + "b" * 4900)
    async with connect(canned) as client:
        plain = (await client.call_tool("get_orchestration_summary")).structured_content
        whole = (await client.call_tool("get_orchestration_summary", {"brief": True})).structured_content
    assert "brief" not in plain
    assert whole == plain | {"brief": canned.given["brief"]}


async def test_the_engine_is_given_what_was_sent_and_no_default(connect: Connect) -> None:
    canned = Canned(spawn=SPAWNED, message=answers.MessageAnswer(message_id=3, to="head"))
    async with connect(canned) as client:
        await client.call_tool("spawn_agent", {"prompt": "p", "timeout": 5, "repo": None})
        await client.call_tool("send_message", {"to": "head", "message": "m"})
    assert [request.model_fields_set for _, request in canned.asked] == [{"prompt", "timeout_ms"}, {"to", "message"}]


async def test_arguments_are_bounded_and_refused_in_words(connect: Connect, canned: Canned) -> None:
    large = {"prTitle": "x" * 301, "setup": "x" * 65537, "dependsOn": ["a"] * 501}
    async with connect(canned) as client:
        refused = text_of(await client.call_tool("spawn_agent", {"prompt": "p", **large}))
        heavy = text_of(await client.call_tool("send_message", {"to": "a", "message": "m", "metadata": {"a": "x" * 16384}}))
    assert "prTitle: has more than 300 characters" in refused
    assert "setup: has more than 65536 characters" in refused
    assert "dependsOn: takes at most 500" in refused
    assert "metadata: has more than 16 KiB of JSON" in heavy
    assert canned.asked == []


CALLS: list[tuple[str, dict[str, Any], dict[str, Any], set[str]]] = [
    ("get_agent_status", {"orchestrationTaskId": "ns1"}, {"status": record()}, {"status", "prompt", "result", "errorMessage"}),
    ("cancel_agent", {"orchestrationTaskId": "ns1", "cascade": True}, {"cancel": answers.CancelAnswer(
        ok=True, cancelled=True, cancelled_count=2, orchestration_task_id="ns1", status="cancelled")},
     {"ok", "cancelled", "cancelledCount"}),
    ("get_orchestration_summary", {}, {"summary": answers.SummaryAnswer(
        orchestration_id="orch_1", status=COUNTS, active_agents=(), active_agent_count=0, agents=(), recent_completions=(),
        all_tasks_complete=False, has_failures=False)},
     {"orchestrationId", "status", "activeAgents", "activeAgentCount", "recentCompletions", "allTasksComplete", "hasFailures"}),
    ("pull_orchestration_updates", {"orchestrationId": "orch_1"}, {"pull": answers.PullAnswer(
        synced=True, orchestration_id="orch_1", tasks=(), messages=(), aggregated_status=COUNTS)},
     {"synced", "tasks", "messages", "aggregatedStatus"}),
    ("send_message", {"to": "head", "message": "m"}, {"message": answers.MessageAnswer(message_id=3, to="head")}, {"ok", "messageId"}),
    ("get_my_messages", {}, {"messages": answers.MessagesAnswer(messages=(message(),), cursor=1)}, {"messages", "cursor"}),
    ("list_spawned_agents", {"status": "running"}, {"list_tasks": answers.ListAnswer(result=(row(),))}, {"result", "nextCursor"}),
    ("wait_for_agent", {"orchestrationTaskId": "ns1", "timeout": 0}, {}, {"status", "result", "errorMessage"}),
]  # fmt: skip


@pytest.mark.promise("mcp.get_agent_status")
@pytest.mark.promise("mcp.get_agent_status.orchestrationTaskId")
@pytest.mark.promise("mcp.cancel_agent")
@pytest.mark.promise("mcp.cancel_agent.orchestrationTaskId")
@pytest.mark.promise("mcp.get_orchestration_summary")
@pytest.mark.promise("mcp.pull_orchestration_updates")
@pytest.mark.promise("mcp.pull_orchestration_updates.orchestrationId")
@pytest.mark.promise("mcp.send_message")
@pytest.mark.promise("mcp.get_my_messages")
@pytest.mark.parametrize(("tool", "given", "prepared", "fields"), CALLS, ids=[call[0] for call in CALLS])
async def test_every_answer_has_its_documented_fields_as_text_and_as_structure(
    connect: Connect, tool: str, given: dict[str, Any], prepared: dict[str, Any], fields: set[str]
) -> None:
    async with connect(Canned(**prepared)) as client:
        answer = await client.call_tool(tool, given)  # checks the structure against the tool's output schema
    assert not answer.is_error
    assert fields <= answer.structured_content.keys()
    shown = answer.structured_content["result"] if tool == "list_spawned_agents" else answer.structured_content
    assert json.loads(text_of(answer)) == shown


@pytest.mark.promise("mcp.list_spawned_agents")
@pytest.mark.promise("mcp.list_spawned_agents.status")
async def test_list_spawned_agents_answers_the_array_of_the_rows(connect: Connect) -> None:
    canned = Canned(list_tasks=answers.ListAnswer(result=(row(1), row(2)), next_cursor="c2"))
    async with connect(canned) as client:
        answer = await client.call_tool("list_spawned_agents", {"status": "running", "limit": 2, "cursor": "c1"})
    rows = json.loads(text_of(answer))
    assert [each["id"] for each in rows] == ["task1", "task2"]
    assert {"id", "prompt", "status", "agentName"} <= rows[0].keys()
    assert answer.structured_content == {"result": rows, "nextCursor": "c2"}
    assert "c2" in answer.content[1].text
    assert canned.asked[0][1].model_dump() == {"status": "running", "limit": 2, "cursor": "c1"}


@pytest.mark.promise("mcp.cancel_agent.cascade")
async def test_cancel_agent_cascades_only_when_asked_to(connect: Connect) -> None:
    ended = answers.CancelAnswer(ok=True, cancelled=True, cancelled_count=1, orchestration_task_id="ns1", status="cancelled")
    canned = Canned(cancel=ended)
    async with connect(canned) as client:
        await client.call_tool("cancel_agent", {"orchestrationTaskId": "ns1"})
        await client.call_tool("cancel_agent", {"orchestrationTaskId": "ns1", "cascade": True})
    assert [asked[-1] for asked in canned.asked] == [{"cascade": False}, {"cascade": True}]


@pytest.mark.parametrize(
    ("tool", "given", "says"),
    [
        ("spawn_agent", {"prompt": "p", "agentname": "shell/bash"}, "agentname: unknown argument, did you mean agentName?"),
        ("spawn_agent", {"prompt": "p", "agent_name": "shell/bash"}, "agent_name: unknown argument, did you mean agentName?"),
        ("spawn_agent", {}, "prompt: is missing"),
        ("spawn_agent", {"prompt": "p", "priority": 11}, "priority: "),
        ("spawn_agent", {"prompt": "p", "onDependencyFailure": "ignore"}, "onDependencyFailure: "),
        ("get_orchestration_summary", {"x": 1}, "x: unknown argument, known are brief"),
        ("spawn_batch", {"tasks": []}, "tasks: needs at least 1"),
        ("spawn_batch", {"tasks": [{"id": "a", "promt": "p"}]}, "tasks.0.promt: unknown argument, did you mean prompt?"),
        ("spawn_batch", {"tasks": [{"id": "a", "prompt": "p"}], "defaults": {"agent": "x"}}, "defaults.agent: unknown argument"),
        ("wait_for_agent", {"orchestrationTaskId": "ns1", "timeout": -1}, "timeout: "),
        ("wait_for_agent", {}, "orchestrationTaskId or ids"),
        ("wait_for_agent", {"orchestrationTaskId": "ns1", "ids": ["ns2"]}, "orchestrationTaskId or ids"),
        ("send_message", {"to": "head", "message": "m", "type": "shout"}, "type: "),
    ],
)
async def test_wrong_arguments_are_refused_with_what_is_wrong(
    connect: Connect, canned: Canned, tool: str, given: dict[str, Any], says: str
) -> None:
    async with connect(canned) as client:
        answer = await client.call_tool(tool, given)
    assert answer.is_error
    assert text_of(answer).startswith("invalid_request: ")
    assert says in text_of(answer)
    assert canned.asked == []


async def test_nulls_lists_in_strings_and_absent_arguments_are_understood(connect: Connect) -> None:
    canned = Canned(spawn=SPAWNED, summary=CALLS[2][2]["summary"])
    async with connect(canned) as client:
        await client.call_tool("spawn_agent", {"prompt": "p", "repo": None, "priority": None, "dependsOn": '["ns1","ns2"]'})
        await client.call_tool("spawn_agent", {"prompt": "p", "dependsOn": "ns1"})
        assert not (await client.call_tool("get_orchestration_summary")).is_error
    assert [asked[1].depends_on for asked in canned.asked[:2]] == [("ns1", "ns2"), ("ns1",)]
    assert canned.asked[0][1].priority == 5


async def test_errors_tell_code_message_and_the_next_step_in_terms_of_tools(connect: Connect) -> None:
    canned = Canned(spawn=Conflict("It cannot be.", next_step="Do something else."), summary=NotFound("There is none."))
    async with connect(canned) as client:
        refused = await client.call_tool("spawn_agent", {"prompt": "p"})
        missing = await client.call_tool("get_agent_status", {"orchestrationTaskId": "nothing"})
    assert refused.is_error
    assert text_of(refused) == "conflict: It cannot be. Do something else."
    assert text_of(missing).startswith("not_found: There is no task nothing. list_spawned_agents")


async def test_what_nobody_expected_is_hidden(connect: Connect) -> None:
    async with connect(Canned(spawn=ValueError("secret"))) as client:
        answer = await client.call_tool("spawn_agent", {"prompt": "p"})
    assert answer.is_error
    assert re.fullmatch(r"Error executing tool spawn_agent.*", text_of(answer))
    assert "secret" not in text_of(answer)


async def test_a_fresh_head_has_no_agents_and_no_messages(connect: Connect) -> None:
    class Fresh(Canned):
        async def current(self, *, create: bool = False, request: Any = None) -> Canned:
            raise NotFound("There is no orchestration yet.")

    async with connect(Fresh()) as client:
        assert (await client.call_tool("list_spawned_agents")).structured_content == {"result": [], "nextCursor": None}
        assert (await client.call_tool("get_my_messages")).structured_content == {"messages": [], "cursor": 0}
        assert "spawn_agent makes the first" in text_of(await client.call_tool("get_orchestration_summary"))
