"""The process that answers heads: there while there are some, started again where it dies, and never missed by who connects."""

import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from devsh_memory_mcp.engine.api_server import listening_at, serve
from tests.doubles.aftermath import BOUND
from tests.doubles.processes import await_end, kill

# It tells whoever connects its pid, until its input ends.
ANSWER = """
import os, select, socket, sys
listener = socket.socket(fileno=int(sys.argv[2]))
while True:
    ready = select.select([0, listener], [], [])[0]
    if 0 in ready:
        break
    connection, _ = listener.accept()
    connection.sendall(b"%d" % os.getpid())
    connection.close()
"""


class Demand:
    """Whether there are heads."""

    def __init__(self) -> None:
        self.wanted, self.unwanted = anyio.Event(), anyio.Event()

    def end(self) -> None:
        self.wanted, ended = anyio.Event(), self.unwanted
        self.unwanted = anyio.Event()
        ended.set()


class Api:
    """The server under test, as a head finds it."""

    def __init__(self, address: str) -> None:
        self.address, self.demand, self.log = address, Demand(), list[str]()
        self.has_said_much = anyio.Event()

    def say(self, text: str) -> None:
        self.log.append(text)
        if len(self.log) == 3:
            self.has_said_much.set()

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(BOUND)
        connection.connect(self.address)
        return connection

    async def pid(self) -> int:
        with self.connect() as connection:
            return int(await to_thread.run_sync(connection.recv, 100))


@asynccontextmanager
async def serving(*command: str) -> AsyncIterator[Api]:
    with tempfile.TemporaryDirectory(prefix="api-", dir="/tmp") as directory:  # an address is short
        api = Api(f"{directory}/api")
        demand: Any = api.demand
        async with listening_at(api.address) as listener, anyio.create_task_group() as tasks:
            tasks.start_soon(serve, demand, listener, command, api.say)
            with anyio.fail_after(BOUND):
                yield api
            tasks.cancel_scope.cancel()
        assert not Path(api.address).exists()


async def test_who_connects_before_it_is_there_or_while_it_is_started_again_is_answered() -> None:
    async with serving(sys.executable, "-c", ANSWER) as api:
        with api.connect() as early:
            api.demand.wanted.set()
            first = int(await to_thread.run_sync(early.recv, 100))
        assert await api.pid() == first
        kill(first)
        second = await api.pid()
        assert second != first
    assert [line for line in api.log if "has ended with -9" in line]
    assert await to_thread.run_sync(await_end, second, BOUND)


async def test_it_ends_when_there_are_no_heads_and_comes_again_with_the_next() -> None:
    async with serving(sys.executable, "-c", ANSWER) as api:
        api.demand.wanted.set()
        first = await api.pid()
        api.demand.end()
        assert await to_thread.run_sync(await_end, first, BOUND)
        api.demand.wanted.set()
        assert await api.pid() != first
    assert api.log == []


@pytest.mark.parametrize("command", [("/there/is/none",), (sys.executable, "-c", "raise SystemExit(3)")])
async def test_one_that_cannot_be_had_is_told_and_tried_again(command: tuple[str, ...]) -> None:
    async with serving(*command) as api:
        api.demand.wanted.set()
        await api.has_said_much.wait()
    assert "cannot be served" in api.log[0] or "has ended with 3" in api.log[0]


async def test_a_socket_that_is_another_ones_by_now_is_left_alone(tmp_path: Path) -> None:
    address = str(tmp_path / "api")
    async with listening_at(address):
        Path(address).unlink()
        Path(address).write_text("another one's")
    assert Path(address).read_text() == "another one's"
