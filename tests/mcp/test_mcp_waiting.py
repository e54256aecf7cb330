"""Waiting in slices, its progress, and that it disturbs nobody. Time is told, not slept."""

from typing import Any

import anyio
import pytest
from doubles.mcp_client import Connect
from doubles.orchestrations import Canned, row
from mcp.types import Implementation

from devsh_memory_mcp.domain import answers
from devsh_memory_mcp.domain.requests import WaitRequest
from devsh_memory_mcp.faces.mcp_wait import Reporter, bearable
from devsh_memory_mcp.ports import Progress

CLAUDE, CODEX, OTHER = (Implementation(name=name, version="1") for name in ("claude-code", "codex-mcp-client", "other"))
MINUTE = 60_000


@pytest.mark.parametrize(
    ("client", "environment", "told", "over_http", "bound"),
    [
        ("claude-code", {}, True, False, 1_790_000),
        ("claude-code", {}, False, False, 280_000),
        ("claude-code", {}, True, True, 280_000),
        ("claude-code", {"MCP_TOOL_TIMEOUT": "60000"}, True, False, 55_000),
        ("claude-code", {"MCP_TOOL_TIMEOUT": "600"}, True, False, 300),
        ("claude-code", {"MCP_TOOL_TIMEOUT": "0"}, True, False, 1_790_000),
        ("claude-code", {"MCP_TOOL_TIMEOUT": "soon"}, True, False, 1_790_000),
        ("codex-mcp-client", {"MCP_TOOL_TIMEOUT": "60000"}, True, False, 280_000),
        ("Codex", {}, False, False, 280_000),
        ("whoever", {}, True, False, 50_000),
        ("", {}, False, True, 50_000),
    ],
)
def test_a_call_lasts_as_long_as_its_client_can_bear(
    client: str, environment: dict[str, str], told: bool, over_http: bool, bound: int | None
) -> None:
    assert bearable(client, environment, is_told=told, is_http=over_http) == bound


@pytest.mark.promise("mcp.wait_for_agent.timeout")
@pytest.mark.parametrize(("client", "asked_ms"), [(CLAUDE, 5 * MINUTE), (CODEX, 280_000), (OTHER, 50_000)])
async def test_the_end_of_a_slice_is_the_true_status_and_not_a_timeout(connect: Connect, client: Implementation, asked_ms: int) -> None:
    async def told(_progress: float, _total: float | None, _message: str | None) -> None: ...

    canned = Canned(wait_seconds=0)
    async with connect(canned, client=client) as connected:
        answer = await connected.call_tool("wait_for_agent", {"orchestrationTaskId": "ns1"}, progress_callback=told)
    assert canned.asked[0][1].timeout == asked_ms
    shown = answer.structured_content
    assert not answer.is_error
    assert (shown["status"], shown["finished"]) == ("running", False)
    assert shown["timedOut"] is (client is CLAUDE)
    assert "call wait_for_agent again" in shown["next"]


async def test_a_short_timeout_of_the_callers_own_is_a_timeout_everywhere(connect: Connect) -> None:
    async with connect(Canned(wait_seconds=0), client=OTHER) as client:
        answer = await client.call_tool("wait_for_agent", {"orchestrationTaskId": "ns1", "timeout": 1})
    assert answer.structured_content["timedOut"] is True


@pytest.mark.promise("mcp.wait_for_agent")
@pytest.mark.promise("mcp.wait_for_agent.orchestrationTaskId")
async def test_it_blocks_until_the_end(connect: Connect, canned: Canned) -> None:
    async with connect(canned, client=CLAUDE) as client, anyio.create_task_group() as tasks:
        begun = anyio.Event()
        results: list[Any] = []

        async def wait() -> None:
            results.append(await client.call_tool("wait_for_agent", {"orchestrationTaskId": "ns1"}, progress_callback=noticed))

        async def noticed(_progress: float, _total: float | None, _message: str | None) -> None:
            begun.set()

        with anyio.fail_after(10):
            tasks.start_soon(wait)
            await begun.wait()
            assert results == []
            canned.ends.set()
    assert results[0].structured_content["status"] == "completed"
    assert results[0].structured_content["finished"] is True


async def test_several_are_waited_for_in_one_call(connect: Connect, canned: Canned) -> None:
    canned.ends.set()
    async with connect(canned) as client:
        await client.call_tool("wait_for_agent", {"ids": ["ns1", "ns2"], "mode": "any", "timeout": 10})
    assert canned.asked[0][1].model_dump() == {"ids": ("ns1", "ns2"), "mode": "any", "timeout": 10}


async def test_of_each_task_it_tells_what_is_new_and_not_what_was_asked(connect: Connect) -> None:
    class Two(Canned):
        async def wait(self, request: WaitRequest, progress: Progress | None = None) -> answers.WaitAnswer:
            rows = (row(1, status="completed", result="r" * 200), row(2, needs_input="may not run make"))
            return answers.WaitAnswer(orchestration_task_id="ns1", status="completed", finished=True, tasks=rows)

    async with connect(Two()) as client:
        shown = (await client.call_tool("wait_for_agent", {"ids": ["ns1", "ns2"]})).structured_content
    assert [(each["id"], each["status"]) for each in shown["tasks"]] == [("task1", "completed"), ("task2", "running")]
    assert (shown["tasks"][0]["result"], shown["tasks"][1]["needsInput"]) == ("r" * 200, "may not run make")
    assert not {"prompt", "createdAt", "taskRunId"} & {key for each in shown["tasks"] for key in each}


async def test_cancelling_a_wait_cancels_no_agent(connect: Connect, canned: Canned) -> None:
    async with connect(canned, client=CLAUDE) as client, anyio.create_task_group() as tasks:
        begun = anyio.Event()

        async def noticed(_progress: float, _total: float | None, _message: str | None) -> None:
            begun.set()

        async def wait() -> None:
            await client.call_tool("wait_for_agent", {"orchestrationTaskId": "ns1"}, progress_callback=noticed)

        with anyio.fail_after(10):
            tasks.start_soon(wait)
            await begun.wait()
            tasks.cancel_scope.cancel()
    assert [asked[0] for asked in canned.asked] == ["wait"]


async def test_progress_grows_with_a_total_in_one_short_line() -> None:
    sent: list[tuple[float, float, str]] = []

    async def send(value: float, total: float, line: str) -> None:
        sent.append((value, total, line))

    reporter = Reporter(send)
    for done, line in ((0, "0/2 done"), (0, "0/2 done"), (5, "1/2 done\nnext line"), (4, "x" * 500)):
        await reporter.report(done, 5, line)
    values = [value for value, _, _ in sent]
    assert values == sorted(set(values))
    assert all(value <= total for value, total, _ in sent)
    assert [line for _, _, line in sent] == ["0/2 done", "0/2 done", "1/2 done", "x" * 200]


async def test_a_message_that_comes_ends_the_wait_early_and_is_no_timeout(connect: Connect) -> None:
    class WithMail(Canned):
        async def wait(self, request: WaitRequest, progress: Progress | None = None) -> answers.WaitAnswer:
            return answers.WaitAnswer(orchestration_task_id="ns1", status="running", unread_messages=1, next="Read it.")

    async with connect(WithMail(), client=OTHER) as client:
        shown = (await client.call_tool("wait_for_agent", {"orchestrationTaskId": "ns1"})).structured_content
    assert (shown["timedOut"], shown["unreadMessages"], shown["next"]) == (False, 1, "Read it.")
