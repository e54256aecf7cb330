"""Who calls the runner, and what it is told."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio

from devsh_memory_mcp.engine.doorkeeper import Doorkeeper


async def test_a_shim_that_calls_is_rung_for_what_came_into_its_inbox_meanwhile(tmp_path: Path) -> None:
    async def read(*_arguments: Any) -> bool:
        return True

    async def alone(_desk: Any, work: Any) -> bool:
        return bool(await work())

    async def nothing(_value: Any) -> None: ...

    attempt = SimpleNamespace(ring=None, run=SimpleNamespace(orchestration_id="orch_1"))
    desk = SimpleNamespace(wake=lambda: None, visitors=set())
    desks: Any = SimpleNamespace(attempts={("tr_1", 1): attempt}, of=lambda _attempt: desk, alone=alone)
    attempts: Any = SimpleNamespace(read_reports=read, hear_end=lambda _attempt: None)
    keeper = Doorkeeper(desks, attempts, nothing, take_leave=lambda: None, borrow=nothing)
    with anyio.fail_after(10):
        async with await anyio.create_unix_listener(tmp_path / "s") as listener, anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, keeper.receive)
            async with await anyio.connect_unix(tmp_path / "s") as shim:
                await shim.send(json.dumps({"hello": "shim", "taskRunId": "tr_1", "attempt": 1}).encode() + b"\n")
                assert b"pid" in await shim.receive()
                keeper.adopted.set()
                assert await shim.receive() == b"ring orch_1\n"
            tasks.cancel_scope.cancel()
