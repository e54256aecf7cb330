"""The entry of the process that answers heads in sandboxes: `python -m devsh_memory_mcp.api ROOT --socket-fd N`.

It is a child of the runner's, which made the socket, and it ends at the end of its input: with the runner, however that ends.
"""

import argparse
import os
import signal
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

import anyio

from devsh_memory_mcp.faces.http_server import build_app
from devsh_memory_mcp.faces.serving import serve
from devsh_memory_mcp.store.guests import environment_in
from devsh_memory_mcp.store.server_key import server_key
from devsh_memory_mcp.wiring import hosting


def main(arguments: list[str]) -> int:
    """Serves until the runner goes, or a signal comes."""
    parser = argparse.ArgumentParser(prog="devsh api", description="Answers heads in sandboxes for a memory root.")
    parser.add_argument("root", type=Path)
    parser.add_argument("--socket-fd", type=int, required=True)
    given = parser.parse_args(arguments)
    anyio.run(_run, given.root, socket.socket(fileno=given.socket_fd))
    return 0


async def _run(root: Path, listener: socket.socket) -> None:
    hosted = hosting(root, environment_in(root, os.environ))
    app = build_app(server_key(os.environ), hosted, lambda: datetime.now(UTC))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_heed_end)
        await serve(app, [listener], leaving=app.state.leave)
        tasks.cancel_scope.cancel()


async def _heed_end() -> None:
    """Nothing is ever said on its input: that something can be read there is its end."""
    await anyio.wait_readable(0)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
