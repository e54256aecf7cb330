"""Who calls the runner, and what it is told."""

import asyncio
import json
import os
import socket
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from anyio import to_thread

from devsh_memory_mcp.engine.doorkeeper import Doorkeeper


async def test_a_shim_that_calls_is_rung_for_what_came_into_its_inbox_meanwhile(tmp_path: Path) -> None:
    async def read(*_arguments: Any) -> bool:
        return True

    async def alone(_desk: Any, work: Any) -> bool:
        return bool(await work())

    async def nothing(_value: Any) -> None: ...

    attempt = SimpleNamespace(ring=None, run=SimpleNamespace(orchestration_id="orch_1"))
    desk = SimpleNamespace(wake=lambda: None, visitors=set())
    desks: Any = SimpleNamespace(attempts={}, of=lambda _attempt: desk, alone=alone, log=print)
    attempts: Any = SimpleNamespace(read_reports=read, hear_end=lambda _attempt: None)
    keeper = Doorkeeper(desks, attempts, nothing, take_leave=lambda: None, borrow=nothing)
    with anyio.fail_after(10):
        async with await anyio.create_unix_listener(tmp_path / "s") as listener, anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, keeper.receive)
            async with await anyio.connect_unix(tmp_path / "s") as shim:
                await shim.send(json.dumps({"hello": "shim", "taskRunId": "tr_1", "attempt": 1}).encode() + b"\n")
                assert b"pid" in await shim.receive()
                desks.attempts["tr_1", 1] = attempt  # of an earlier runner
                keeper.adopted.set()
                assert await shim.receive() == b"ring orch_1\n"
            tasks.cancel_scope.cancel()


def said_to(path: Path, words: bytes, *, stays: bool) -> bytes:
    """What a caller hears, until it is hung up on where it stays."""
    heard = b""
    with socket.socket(socket.AF_UNIX) as caller, suppress(ConnectionError):
        caller.settimeout(10)
        caller.connect(str(path))
        caller.sendall(words + b"\n")
        while (more := caller.recv(4096)) and stays:
            heard += more
        heard += more
    return heard


@pytest.mark.parametrize(
    "words",
    [
        b'{"hello":"shim","taskRunId":"tr_1","attempt":null}',
        b'{"hello":"face"}\nlend []',
        b'{"hello":"face"}\nlend [[',
        b"[" * 60000,
        b"7",
        b"\xff",
    ],
    ids=["no number", "no names", "half", "depth", "a number", "no text"],
)
async def test_words_that_are_not_ours_end_that_connection_and_nothing_else(tmp_path: Path, words: bytes) -> None:
    async def nothing(_value: Any) -> None: ...

    desks: Any = SimpleNamespace(attempts={}, log=print)
    keeper = Doorkeeper(desks, desks, nothing, take_leave=lambda: None, borrow=nothing)
    keeper.adopted.set()
    with anyio.fail_after(20):
        async with await anyio.create_unix_listener(tmp_path / "s") as listener, anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, keeper.receive)
            await to_thread.run_sync(partial(said_to, tmp_path / "s", words, stays=True))
            assert b"pid" in await to_thread.run_sync(partial(said_to, tmp_path / "s", b'{"hello":"face"}', stays=False))
            tasks.cancel_scope.cancel()


async def test_a_caller_that_speaks_as_it_is_hung_up_on_leaves_no_error_behind(tmp_path: Path) -> None:
    async def nothing(_value: Any) -> None: ...

    desks: Any = SimpleNamespace(attempts={}, log=print)
    keeper = Doorkeeper(desks, desks, nothing, take_leave=lambda: None, borrow=nothing)
    keeper.adopted.set()
    reading, writing = os.pipe()
    loop = asyncio.get_running_loop()
    with anyio.fail_after(20):
        async with await anyio.create_unix_listener(tmp_path / "s") as listener, anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, keeper.receive)
            with socket.socket(socket.AF_UNIX) as caller:
                await to_thread.run_sync(partial(_greet, caller, tmp_path / "s"))
                loop.add_reader(reading, tasks.cancel_scope.cancel)
                os.write(writing, b".")  # both are readable in one round of the loop, this one first
                caller.sendall(b"ping\n")
                try:
                    await anyio.sleep_forever()
                finally:
                    loop.remove_reader(reading)
    os.close(reading)
    os.close(writing)


def _greet(caller: socket.socket, path: Path) -> None:
    caller.connect(str(path))
    caller.sendall(b'{"hello":"face"}\n')
    assert b"pid" in caller.recv(4096)
