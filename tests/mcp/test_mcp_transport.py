"""The process on its pipes: what goes over the wire, and every way in which it ends."""

import asyncio
import importlib.metadata
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from doubles.mcp_client import CANNED, TESTS, Raw, started
from mcp import Client, StdioServerParameters
from mcp.server import MCPServer
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCNotification

from devsh_memory_mcp.config import VERSION
from devsh_memory_mcp.faces.mcp_transport import LineReader, LineWriter, connection_of

BOUND = 20  # s; a hang, not a slow machine


def test_what_is_private_in_the_sdk_is_still_there() -> None:
    low = MCPServer("canary")._lowlevel_server
    assert callable(low.run)
    assert low.create_initialization_options().server_name == "canary"
    assert low.get_request_handler("subscriptions/listen") is not None
    assert callable(low.add_request_handler)
    assert isinstance(MCPServer("canary").middleware, list)


async def test_a_request_still_knows_its_connection() -> None:
    server, found = MCPServer("canary"), []

    async def remember(context: Any, call_next: Any) -> Any:
        found.append(connection_of(context))
        return await call_next(context)

    server.middleware.append(remember)
    async with Client(server, mode="legacy") as client:
        await client.list_tools()
    assert len(set(found)) == 1
    assert callable(found[0].exit_stack.callback)


async def waiting(raw: Raw) -> int:
    """A wait in flight, which has begun."""
    meta = {"_meta": {"progressToken": "p"}}
    number = await raw.ask("tools/call", {"name": "wait_for_agent", "arguments": {"orchestrationTaskId": "ns1"}, **meta})
    assert (await raw.read())["method"] == "notifications/progress"
    return number


@pytest.mark.parametrize(
    ("ending", "code"),
    [("eof", 0), ("broken", 0), (signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)],
)
async def test_it_ends_cleanly_with_a_wait_in_flight(tmp_path: Path, ending: Any, code: int) -> None:
    note = tmp_path / "closed"
    read_end, write_end = os.pipe()
    with anyio.fail_after(BOUND):
        options = {"stdout": write_end} if ending == "broken" else {}
        async with started(CANNED, str(note), greets=ending != "broken", **options) as raw:
            os.close(write_end)
            if ending == "broken":
                await begun_on(raw, read_end)
                os.close(read_end)
            else:
                await waiting(raw)
                if ending == "eof":
                    raw.process.stdin.close()
                else:
                    raw.process.send_signal(ending)
            assert await raw.process.wait() == code
            said = await raw.process.stderr.read()
    assert b"Traceback" not in said
    assert note.read_text(encoding="utf-8") == "closed for raw"


async def begun_on(raw: Raw, read_end: int) -> None:
    """A handshake and a wait, read from a pipe that can be closed."""
    reader = LineReader(read_end)
    await raw.ask("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}})
    await anext(reader)
    await raw.ask("tools/call", {"name": "wait_for_agent", "arguments": {"orchestrationTaskId": "ns1"}, "_meta": {"progressToken": 1}})
    await anext(reader)


async def test_idle_it_ends_at_eof_and_before_the_handshake_too(tmp_path: Path) -> None:
    with anyio.fail_after(BOUND):
        for greets in (True, False):
            async with started(CANNED, str(tmp_path / "closed"), greets=greets) as raw:
                raw.process.stdin.close()
                assert await raw.process.wait() == 0


async def test_an_empty_file_as_stdin_is_an_end(tmp_path: Path) -> None:
    with anyio.fail_after(BOUND):
        async with started(CANNED, str(tmp_path / "closed"), greets=False, stdin=asyncio.subprocess.DEVNULL) as raw:
            assert await raw.process.wait() == 0
            assert await raw.process.stdout.read() == b""


async def test_nothing_but_the_protocol_reaches_stdout(tmp_path: Path) -> None:
    with anyio.fail_after(BOUND):
        async with started(CANNED, str(tmp_path / "closed")) as raw:
            raw.process.stdin.write(b"\n  \nnot json\n")
            await raw.ask("tools/call", {"name": "get_agent_status", "arguments": {"orchestrationTaskId": "ns1"}})
            assert (await raw.read())["id"] == raw.last_id
            raw.process.stdin.close()
            rest = await raw.process.stdout.read()
    assert rest == b""


async def test_a_client_that_does_not_read_holds_nothing_up_but_itself(tmp_path: Path) -> None:
    with anyio.fail_after(BOUND):
        async with started(CANNED, str(tmp_path / "closed")) as raw:
            numbers = [
                await raw.ask("tools/call", {"name": "get_agent_status", "arguments": {"orchestrationTaskId": "ns1"}}) for _ in range(200)
            ]
            await raw.process.stdin.drain()
            assert sorted([(await raw.read())["id"] for _ in numbers]) == numbers


async def test_lines_survive_pieces_and_full_pipes() -> None:
    read_end, write_end = os.pipe()
    writer, reader = LineWriter(write_end), LineReader(read_end)
    big = SessionMessage(JSONRPCNotification(jsonrpc="2.0", method="notifications/x", params={"text": "ü" * 200_000}))
    received: list[Any] = []
    with anyio.fail_after(BOUND):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(writer.drain, tasks.cancel_scope.cancel)
            for _ in range(2):
                await writer.send(big)
            async for message in reader:
                received.append(message.message)
                if len(received) == 2:
                    break
            tasks.cancel_scope.cancel()
        os.close(write_end)
        with pytest.raises(anyio.EndOfStream):
            await reader.receive()
    assert received == [big.message, big.message]
    os.close(read_end)


@pytest.mark.parametrize("pieces", [[b"x" * 2000 + b"\n"], [b"x" * 900, b"x" * 900, b"x" * 3000, b"y\n"], [b"x" * 900, b"x" * 200 + b"\n"]])
async def test_a_line_that_is_too_long_is_told_once_and_the_next_is_read(pieces: list[bytes]) -> None:
    read_end, write_end = os.pipe()
    told = []

    async def tell() -> None:
        told.append(True)

    reader = LineReader(read_end, 1000, tell)
    fine = JSONRPCNotification(jsonrpc="2.0", method="notifications/x", params={"text": "x" * 900})
    with anyio.fail_after(BOUND):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write_slowly, write_end, [*pieces, fine.model_dump_json(by_alias=True).encode() + b"\n"])
            assert (await reader.receive()).message == fine
    assert told == [True]
    os.close(read_end)
    os.close(write_end)


async def write_slowly(descriptor: int, pieces: list[bytes]) -> None:
    for piece in pieces:
        os.write(descriptor, piece)
        await anyio.lowlevel.checkpoint()


async def test_the_server_of_an_agent_holds_no_line_without_end() -> None:
    with anyio.fail_after(BOUND):
        async with started("-m", "devsh_memory_mcp", "--worker") as raw:
            raw.process.stdin.write(b"x" * (1 << 20))
            raw.process.stdin.write(b"x" * 100_000)
            refused = await raw.read()
            raw.process.stdin.write(b"\n")
            await raw.ask("tools/list", {})
            assert (await raw.read())["id"] == raw.last_id
    assert (refused["id"], refused["error"]["code"]) == (None, -32600)


async def test_a_writer_whose_reader_is_gone_says_so_once_and_refuses_then() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    writer = LineWriter(write_end)
    message = SessionMessage(JSONRPCNotification(jsonrpc="2.0", method="notifications/x"))
    told = []
    with anyio.fail_after(BOUND):
        await writer.send(message)
        await writer.drain(lambda: told.append(True))
        with pytest.raises(anyio.BrokenResourceError):
            await writer.send(message)
    assert told == [True]
    os.close(write_end)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_real_client_in_both_eras(tmp_path: Path, mode: str) -> None:
    path = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    command = StdioServerParameters(command=sys.executable, args=[CANNED, str(tmp_path / "closed")], env={"PYTHONPATH": path})
    with anyio.fail_after(BOUND):
        async with Client(command, mode=mode) as client:
            answer = await client.call_tool("get_agent_status", {"orchestrationTaskId": "ns1"})
            assert answer.structured_content["result"] == "r" * 4000
            assert client.server_info.version == VERSION


async def run(*command: str) -> tuple[int | None, bytes, bytes]:
    with anyio.fail_after(BOUND):
        async with started("-m", "devsh_memory_mcp", *command, greets=False) as raw:
            raw.process.stdin.close()
            return await raw.process.wait(), await raw.process.stdout.read(), await raw.process.stderr.read()


async def test_version_and_help_answer_without_the_sdk() -> None:
    code, out, _ = await run("--version")
    assert (code, out.decode().strip()) == (0, f"devsh-memory-mcp {VERSION}")
    code, out, _ = await run("--help")
    assert code == 0
    assert all(flag in out.decode() for flag in ("--dir", "--agent-name", "--agent", "--orchestration-id", "--version"))
    probe = "import sys; from devsh_memory_mcp import __main__; sys.exit('mcp' in sys.modules)"
    async with started("-c", probe, greets=False) as raw:
        assert await raw.process.wait() == 0


async def test_unknown_flags_are_refused_on_stderr() -> None:
    code, out, said = await run("--agents", "x")
    assert (code, out) == (2, b"")
    assert b"--agents" in said


def test_the_console_script_is_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    scripts = {entry.name: entry.value for entry in importlib.metadata.entry_points(group="console_scripts")}
    assert scripts.get("devsh-memory-mcp", "devsh_memory_mcp.__main__:main") == "devsh_memory_mcp.__main__:main"
    assert json.dumps(VERSION)
