"""`devsh-memory-mcp` as a client's way to a server elsewhere, and as a server for many."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from doubles.mcp_client import HELLO, TESTS, Raw, started, text_of
from doubles.web import KEY, served, shown, token
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from devsh_memory_mcp.config import BASE_URLS, TOKEN_VARIABLE
from devsh_memory_mcp.faces.mcp_tools import FACES

PIPES = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
BOUND = 60  # s; a hang, not a slow machine
OURS = ("-m", "devsh_memory_mcp")
SCRIPT = {"prompt": "pwd", "agentName": "shell/sh"}


@pytest.fixture
def there(own_surroundings: Path) -> Path:
    """The memory root of the server, which no client's variable names."""
    return own_surroundings / "there"


async def call(raw: Raw, tool: str, **arguments: Any) -> dict[str, Any]:
    number = await raw.ask("tools/call", {"name": tool, "arguments": arguments})
    while (answer := await raw.read()).get("id") != number:
        pass
    result: dict[str, Any] = answer["result"]
    return result


@pytest.mark.promise("mcp.remote")
@pytest.mark.parametrize("how", ["--remote", *BASE_URLS])
async def test_a_client_over_stdio_works_at_a_server(there: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    with anyio.fail_after(BOUND):
        async with served(there, {**os.environ, "DEVSH_SANDBOX": "none"}) as url:
            monkeypatch.setenv(TOKEN_VARIABLE, token())
            words = ("--remote", url, "--use-env-jwt") if how == "--remote" else ()
            if not words:
                monkeypatch.setenv(how, url)
            async with started(*OURS, *words) as raw:
                number = await raw.ask("tools/list", {})
                listed = {tool["name"]: tool for tool in (await raw.read())["result"]["tools"]}
                assert (raw.last_id, len(listed)) == (number, len(FACES))
                assert "Available here" not in str(listed["spawn_agent"])
                task = (await call(raw, "spawn_agent", **SCRIPT, repo="none"))["structuredContent"]
                ended = (await call(raw, "wait_for_agent", orchestrationTaskId=task["orchestrationTaskId"]))["structuredContent"]
                assert ended["status"] == "completed"
                assert Path(ended["result"].strip()).is_relative_to(there)


async def test_without_a_token_that_is_demanded_it_says_so(there: Path) -> None:
    with anyio.fail_after(BOUND):
        async with served(there, dict(os.environ)) as url:
            for words, said in (
                (("--remote", url), "unauthenticated: "),
                (("--remote", url, "--use-env-jwt"), f"unauthenticated: --use-env-jwt is given, and {TOKEN_VARIABLE}"),
                (("--use-env-jwt",), f"unauthenticated: --use-env-jwt is given, and {TOKEN_VARIABLE}"),
            ):
                async with started(*OURS, *words) as raw:
                    answer = await call(raw, "list_spawned_agents")
                    assert answer["isError"]
                    assert answer["content"][0]["text"].startswith(said)


async def test_the_server_of_a_sub_agent_is_on_its_machine_whatever_its_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMUX_API_BASE_URL", "unix:/nowhere/at/all")
    with anyio.fail_after(BOUND):
        async with started(*OURS, "--worker") as raw:
            answer = await call(raw, "get_my_messages")
            assert answer["content"][0]["text"].startswith("not_found: ")


@pytest.mark.promise("mcp.transport")
@pytest.mark.parametrize("transport", ["streamable-http", "sse"])
async def test_over_http_one_process_serves_many(there: Path, monkeypatch: pytest.MonkeyPatch, transport: str) -> None:
    monkeypatch.setenv("CMUX_TASK_RUN_JWT_SECRET", KEY.decode())
    command = [sys.executable, *OURS, "--dir", str(there), "--transport", transport, "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(TESTS.parent)}
    with anyio.fail_after(BOUND):
        process = await asyncio.create_subprocess_exec(*command, env=environment, **PIPES)
        assert process.stdout is not None
        try:
            url = (await process.stdout.readline()).decode().strip()
            shown_line = next(line for line in (await lines(process.stdout, 4)) if "claude mcp add" in line)
            path = {"streamable-http": "/mcp", "sse": "/sse"}[transport]
            assert f"{url}{path}" in shown_line
            names = []
            for made in (token(), token(owner="anna")):
                headers = shown(made)
                if transport == "sse":
                    async with Client(sse_client(f"{url}{path}", headers=headers), mode="legacy") as client:
                        names.append(await listed(client))
                else:
                    http = httpx2.AsyncClient(headers=headers)
                    async with http, Client(streamable_http_client(f"{url}{path}", http_client=http)) as client:
                        names.append(await listed(client))
            assert names == [len(FACES)] * 2
            async with httpx2.AsyncClient(headers=shown(token()), timeout=BOUND) as http, opened(http, f"{url}{path}") as stream:
                process.send_signal(signal.SIGTERM)
                async for _ in stream.aiter_raw():
                    pass
            assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
            _, said = await process.communicate()
        assert b"Traceback" not in said
        assert b"ASGI" not in said


@asynccontextmanager
async def opened(http: httpx2.AsyncClient, url: str) -> AsyncIterator[httpx2.Response]:
    """A stream on which the server speaks of its own accord."""
    headers = {"Accept": "application/json, text/event-stream"}
    if url.endswith("/mcp"):
        hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO}
        begun = await http.post(url, json=hello, headers=headers)
        headers["Mcp-Session-Id"] = begun.headers["mcp-session-id"]
    async with http.stream("GET", url, headers=headers) as stream:
        assert stream.status_code == 200
        yield stream


async def lines(stream: asyncio.StreamReader, count: int) -> list[str]:
    return [(await stream.readline()).decode() for _ in range(count)]


async def listed(client: Client) -> int:
    answer = await client.call_tool("list_spawned_agents", {})
    assert answer.structured_content is not None, text_of(answer)
    assert answer.structured_content["result"] == []
    return len((await client.list_tools()).tools)
