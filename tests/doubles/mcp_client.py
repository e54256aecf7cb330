"""A server process spoken to in raw lines, and what a tool's answer says."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from mcp import Client
from mcp.types import CallToolResult, TextContent

Connect = Callable[..., AbstractAsyncContextManager[Client]]
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
TESTS = Path(__file__).parents[1]
CANNED = str(TESTS / "doubles" / "canned_server.py")

# What every request of the era without a handshake carries.
MODERN: dict[str, object] = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": HELLO["clientInfo"],
    "io.modelcontextprotocol/clientCapabilities": {},
}


def text_of(answer: CallToolResult) -> str:
    block = answer.content[0]
    assert isinstance(block, TextContent)
    return block.text


class Raw:
    """The process, with a handshake behind it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process, self.last_id = process, 0

    async def ask(self, method: str, params: dict[str, Any]) -> int:
        self.last_id += 1
        self.write({"jsonrpc": "2.0", "id": self.last_id, "method": method, "params": params})
        return self.last_id

    def write(self, message: dict[str, Any]) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(message).encode() + b"\n")

    async def read(self) -> dict[str, Any]:
        assert self.process.stdout
        message: dict[str, Any] = json.loads(await self.process.stdout.readline())
        return message


@asynccontextmanager
async def started(*command: str, greets: bool = True, **options: Any) -> AsyncIterator[Raw]:
    """`python COMMAND`, ended at the latest when the block is left."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])}
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE, **options}
    process = await asyncio.create_subprocess_exec(sys.executable, *command, env=environment, limit=1 << 22, **pipes)
    raw = Raw(process)
    try:
        if greets:
            await raw.ask("initialize", HELLO)
            assert "result" in await raw.read()
            raw.write({"jsonrpc": "2.0", "method": "notifications/initialized"})
        yield raw
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
