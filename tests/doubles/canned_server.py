"""A server process over a canned orchestration; its lifespan's end is told in a file, and it prints what it must not."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from doubles.orchestrations import Canned, opened, record

from devsh_memory_mcp.config import Caller
from devsh_memory_mcp.faces.mcp_server import build_server
from devsh_memory_mcp.faces.mcp_transport import run_stdio
from devsh_memory_mcp.ports import Orchestrations


@asynccontextmanager
async def told(caller: Caller) -> AsyncIterator[Orchestrations]:
    try:
        async with opened(caller):
            sys.stdout.write("a stray line\n")
            yield Canned(status=record(prompt="p" * 3000, result="r" * 4000))
    finally:
        Path(sys.argv[1]).write_text(f"closed for {caller.head_agent}", encoding="utf-8")


if __name__ == "__main__":
    run_stdio(build_server(told, Caller(Path(), {}, head_agent="", is_shell=False)))
