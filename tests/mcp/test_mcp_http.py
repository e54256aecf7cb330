"""MCP over HTTP: who a client is, whose a session is, and what is left of one that has gone."""

import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from doubles.mcp_client import HELLO, text_of
from doubles.web import served, shown, token
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from devsh_memory_mcp.faces.http_mcp import mcp_over_http
from devsh_memory_mcp.faces.mcp_tools import FACES

BOUND = 60  # s; a hang, not a slow machine
ACCEPT = {"Accept": "application/json, text/event-stream"}
SCRIPT = {"prompt": "echo done", "agentName": "shell/sh", "repo": "none"}
ERAS = {"handshake": "legacy", "modern": "2026-07-28", "sse": "legacy"}
Reach = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture
def root(own_surroundings: Path) -> Path:
    return own_surroundings / "memory"


@pytest.fixture
async def url(root: Path) -> AsyncIterator[str]:
    async with served(root, dict(os.environ), [mcp_over_http]) as address:
        yield address


@asynccontextmanager
async def client(url: str, made: str, era: str = "handshake", **said: str) -> AsyncIterator[Client]:
    """A client of the SDK's, who shows the token."""
    headers = shown(made) | said
    if era == "sse":
        async with Client(sse_client(f"{url}/sse", headers=headers), mode=ERAS[era]) as found:
            yield found
        return
    http = httpx2.AsyncClient(headers=headers, timeout=BOUND)
    async with http, Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=ERAS[era]) as found:
        yield found


async def call(found: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    answer = await found.call_tool(tool, arguments)
    assert not answer.is_error, text_of(answer)
    assert answer.structured_content is not None
    return answer.structured_content


@pytest.mark.promise("mcp.http")
@pytest.mark.parametrize("era", ERAS)
async def test_a_head_does_the_main_job(url: str, era: str) -> None:
    with anyio.fail_after(BOUND):
        async with client(url, token(), era) as head:
            assert len((await head.list_tools()).tools) == len(FACES)
            task = await call(head, "spawn_agent", **SCRIPT)
            ended = await call(head, "wait_for_agent", orchestrationTaskId=task["orchestrationTaskId"])
            assert (ended["status"], ended["result"]) == ("completed", "done\n")


@pytest.mark.parametrize("era", ERAS)
async def test_a_workers_token_is_a_workers_whatever_its_client_says(url: str, era: str) -> None:
    with anyio.fail_after(BOUND):
        async with client(url, token()) as head:
            task = await call(head, "spawn_agent", **{**SCRIPT, "prompt": "sleep 60"})
            made = token("worker", run=task["taskRunId"])
            async with client(url, made, era, **{"X-Devsh-Shell": "1"}) as worker:
                assert [tool.name for tool in (await worker.list_tools()).tools] == ["get_agent_status", "send_message", "get_my_messages"]
                refused = await worker.call_tool("spawn_agent", {"prompt": "p"})
                assert refused.is_error
                assert text_of(refused).startswith("not_allowed")
                await call(worker, "send_message", to="head", message="hello", type="status")
            heard = await call(head, "get_my_messages")
            assert [message["from"] for message in heard["messages"]] == [task["orchestrationTaskId"]]
            await call(head, "cancel_agent", orchestrationTaskId=task["orchestrationTaskId"])
            assert (await ask(url, made)).status_code == 401  # its attempt is over


async def ask(url: str, made: str | None, method: str = "POST", path: str = "/mcp", session: str | None = None) -> httpx2.Response:
    headers = ACCEPT | (shown(made) if made else {}) | ({"Mcp-Session-Id": session} if session else {})
    body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO}
    if session:
        body = {"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}}
    async with httpx2.AsyncClient() as http:
        return await http.request(method, f"{url}{path}", headers=headers, json=body if method == "POST" else None)


@pytest.mark.parametrize("asked", ["POST /mcp", "GET /mcp", "DELETE /mcp", "GET /sse", "POST /messages"])
async def test_nobody_comes_in_without_a_good_token(url: str, asked: str) -> None:
    with anyio.fail_after(BOUND):
        for made in (None, "no token", token(seconds=-1), token(key=b"another key of thirty-two bytes.")):
            answer = await ask(url, made, *asked.split())
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.promise("mcp.http")
async def test_a_session_is_there_for_the_token_that_began_it_and_for_no_other(url: str) -> None:
    mine, other = token(), token(owner="anna")
    with anyio.fail_after(BOUND):
        session = (await ask(url, mine)).headers["mcp-session-id"]
        assert (await ask(url, mine, session=session)).status_code == 200
        for made in (other, token(seconds=1800)):
            assert (await ask(url, made, session=session)).status_code == 404
            assert (await ask(url, made, "DELETE", session=session)).status_code == 404
        assert (await ask(url, mine, session=session)).status_code == 200
        assert (await ask(url, mine, "DELETE", session=session)).status_code == 200
        assert (await ask(url, mine, session=session)).status_code == 404


async def test_who_says_something_to_an_events_session_has_to_be_its_client(url: str) -> None:
    with anyio.fail_after(BOUND):
        async with httpx2.AsyncClient(timeout=BOUND) as http, http.stream("GET", f"{url}/sse", headers=shown(token())) as stream:
            lines = stream.aiter_lines()
            path = [await anext(lines) for _ in range(2)][1].removeprefix("data: ")
            answer = await http.post(f"{url}{path}", headers=shown(token(owner="anna")), json={"jsonrpc": "2.0", "method": "ping", "id": 1})
            assert answer.status_code == 404


async def test_a_client_that_connects_anew_finds_its_orchestration_and_another_token_another(url: str) -> None:
    first, second = token(), token(seconds=7200)
    with anyio.fail_after(BOUND):
        async with client(url, first) as head:
            task = await call(head, "spawn_agent", **SCRIPT)
        for era in ERAS:
            async with client(url, first, era) as again:
                assert [row["id"] for row in (await call(again, "list_spawned_agents"))["result"]] == [task["orchestrationTaskId"]]
        async with client(url, second) as other, client(url, first, **{"X-Devsh-Session": "s2"}) as apart:
            for each in (other, apart):
                own = await call(each, "spawn_agent", **SCRIPT)
                assert own["orchestrationId"] != task["orchestrationId"]


async def test_what_a_broken_stream_did_not_bring_is_told_again(url: str) -> None:
    made = token()
    with anyio.fail_after(BOUND):
        async with httpx2.AsyncClient(headers=ACCEPT | shown(made), timeout=BOUND) as http:
            begun = await http.post(f"{url}/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {**HELLO}})
            headers = {"Mcp-Session-Id": begun.headers["mcp-session-id"], "Mcp-Protocol-Version": "2025-11-25"}
            await http.post(f"{url}/mcp", json={"jsonrpc": "2.0", "method": "notifications/initialized"}, headers=headers)
            asked = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "spawn_agent", "arguments": SCRIPT}}
            async with http.stream("POST", f"{url}/mcp", json=asked, headers=headers) as stream:
                last = await anext(line async for line in stream.aiter_lines() if line.startswith("id: "))
            again = headers | {"Last-Event-ID": last.removeprefix("id: ")}
            async with http.stream("GET", f"{url}/mcp", headers=again) as stream:
                data = await anext(line async for line in stream.aiter_lines() if line.startswith("data: {"))
            spawned = json.loads(data.removeprefix("data: "))["result"]["structuredContent"]
            waits = {"name": "wait_for_agent", "arguments": {"orchestrationTaskId": spawned["orchestrationTaskId"]}}
            await http.post(f"{url}/mcp", json={"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": waits}, headers=headers)
    assert spawned["status"] in ("pending", "running")


async def test_a_session_that_nobody_asks_is_over_and_so_is_one_whose_token_is(root: Path) -> None:
    with anyio.fail_after(BOUND):
        async with served(root, dict(os.environ), [partial(mcp_over_http, idle=0.05)]) as url:
            session = (await ask(url, made := token())).headers["mcp-session-id"]
            while (await ask(url, made, session=session)).status_code != 404:
                await anyio.sleep(0.1)
        async with served(root, dict(os.environ), [mcp_over_http]) as url, httpx2.AsyncClient(timeout=BOUND) as http:
            session = (await ask(url, made := token(seconds=2))).headers["mcp-session-id"]
            headers = {"Accept": "text/event-stream", "Mcp-Session-Id": session} | shown(made)
            for path in ("/mcp", "/sse"):
                async with http.stream("GET", f"{url}{path}", headers=headers) as stream:
                    assert stream.status_code == 200
                    async for _ in stream.aiter_lines():
                        pass
                made = token(seconds=2)
                headers |= shown(made)
