"""What can be read by address, in both eras: nothing of it changes anything, and all of it is bounded."""

import json
from typing import Any

import pytest
from doubles.mcp_client import Connect
from doubles.orchestrations import Canned, record, row
from mcp import Client
from mcp.shared.exceptions import MCPError

from devsh_memory_mcp.domain import answers
from devsh_memory_mcp.domain.brief import NOTHING
from devsh_memory_mcp.errors import NotFound
from devsh_memory_mcp.faces.mcp_resources import LIMIT, LOG_END

FIXED = {"devsh://brief", "devsh://plan", "devsh://agents"}
FOR_EACH = {"devsh://agents/{id}", "devsh://runs/{id}/log"}


class Fresh(Canned):
    async def current(self, *, create: bool = False, request: Any = None) -> Canned:
        raise NotFound("Nothing has been spawned here yet.")


async def read(client: Client, uri: str) -> str:
    (content,) = (await client.read_resource(uri)).contents
    assert str(content.uri) == uri
    assert len(content.text.encode()) <= LIMIT
    return str(content.text)


@pytest.mark.promise("mcp.resources")
async def test_they_are_listed_with_what_is_there(connect: Connect, canned: Canned) -> None:
    async with connect(canned) as client:
        fixed = (await client.list_resources()).resources
        for_each = (await client.list_resource_templates()).resource_templates
    assert {str(resource.uri) for resource in fixed} == FIXED
    assert {template.uri_template for template in for_each} == FOR_EACH
    assert all(each.title and each.description and each.mime_type for each in (*fixed, *for_each))
    assert canned.asked == []


@pytest.mark.promise("mcp.brief")
async def test_the_brief_is_read_as_text(connect: Connect) -> None:
    async with connect(Canned(brief="# Brief of orchestration orch_1\n")) as client:
        answer = await client.read_resource("devsh://brief")
    assert (answer.contents[0].text, answer.contents[0].mime_type) == ("# Brief of orchestration orch_1\n", "text/markdown")


async def test_a_head_whose_session_has_nothing_is_told_what_else_is_at_work(connect: Connect) -> None:
    counts = answers.StatusCounts(total=3, running=2, completed=1)
    summary = answers.SummaryAnswer(
        orchestration_id="orch_1", status=counts, active_agents=(), active_agent_count=2, agents=(), recent_completions=(),
        all_tasks_complete=False, has_failures=False,
    )  # fmt: skip
    fresh = Fresh(active=[Canned(summary=summary)])
    async with connect(fresh) as client:
        page = await read(client, "devsh://brief")
        told = await client.call_tool("get_orchestration_summary", {"brief": True})
        assert await read(client, "devsh://agents") == '{"agents":[]}'
    assert page.startswith(NOTHING)
    assert "- orch_1: 2 running, 0 pending, 3 in all" in page
    assert told.is_error
    assert page in told.content[0].text


async def test_the_plan_and_the_agents_are_json(connect: Connect) -> None:
    plan = {"orchestrationId": "orch_1", "tasks": [{"id": "a", "prompt": "p" * 200_000}]}
    canned = Canned(plan=plan, list_tasks=answers.ListAnswer(result=(row(1), row(2))), status=record(result="done"))
    async with connect(canned) as client:
        shown: dict[str, Any] = json.loads(await read(client, "devsh://plan"))
        agents = json.loads(await read(client, "devsh://agents"))["agents"]
        agent = json.loads(await read(client, "devsh://agents/ns0123456789"))
    assert (shown["orchestrationId"], shown["rest"]) == ("orch_1", "/memory/orchestration/PLAN.json")
    assert [each["id"] for each in agents] == ["task1", "task2"]
    assert (agent["orchestrationTaskId"], agent["result"]) == ("ns0123456789", "done")


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ([], "It has printed nothing yet."),
        (["one\ntw", "o\n"], "one\ntwo\n"),
        (["x" * 3 * LOG_END], "x" * 2 * LOG_END),
    ],
)
async def test_of_a_log_the_end_is_read(connect: Connect, printed: list[str], shown: str) -> None:
    canned = Canned(output=printed)
    async with connect(canned) as client:
        assert await read(client, "devsh://runs/ns0123456789/log") == shown
    assert canned.asked == [("output", "ns0123456789", {"last": LOG_END})]


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("devsh://nothing", "Unknown resource: devsh://nothing. There are devsh://brief, "),
        ("devsh://agents/../x", "Unknown resource"),
        ("devsh://agents/nobody", "not_found: There is no task nobody. devsh://agents lists them."),
    ],
)
async def test_an_address_that_leads_nowhere_says_where_to_look(connect: Connect, canned: Canned, uri: str, says: str) -> None:
    async with connect(canned) as client:
        with pytest.raises(MCPError, match=says):
            await client.read_resource(uri)


async def test_what_nobody_expected_is_hidden(connect: Connect) -> None:
    async with connect(Canned(brief=ValueError("secret"))) as client:
        with pytest.raises(MCPError, match="the server's log has the reason") as caught:
            await client.read_resource("devsh://brief")
    assert "secret" not in str(caught.value)
