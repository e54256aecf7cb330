"""An orchestration without an engine: answers are what a test puts in, `ends` decides when a wait is over."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio

from devsh_memory_mcp.config import Caller
from devsh_memory_mcp.domain import answers, requests
from devsh_memory_mcp.errors import NotFound
from devsh_memory_mcp.ports import Orchestrations, Progress

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
IDS = {"orchestration_task_id": "ns0123456789", "task_id": "ns0123456789", "task_run_id": "tr_0123456789ab"}


def row(number: int = 0, **values: Any) -> answers.TaskRow:
    own = {**IDS, "id": f"task{number}", "orchestration_task_id": f"ns{number:010}", "prompt": "p", "status": "running", "created_at": NOW}
    return answers.TaskRow(**{**own, "agent_name": "shell/bash", "orchestration_id": "orch_1", **values})


def record(**values: Any) -> answers.TaskRecord:
    own = {**IDS, "id": "ns0123456789", "prompt": "p", "status": "running", "created_at": NOW, "priority": 5}
    return answers.TaskRecord(**{**own, "agent_name": "shell/bash", "orchestration_id": "orch_1", **values})


class Canned:
    """Orchestrations and the one orchestration in them."""

    orchestration_id = "orch_1"
    directory: Path | None = Path("/memory/orchestration")

    def __init__(self, **given: Any) -> None:
        self.given, self.asked, self.ends = given, [], anyio.Event()

    async def current(self, *, create: bool = False, request: Any = None) -> "Canned":
        return self

    async def named(self, orchestration_id: str) -> "Canned":
        if orchestration_id != "orch_1":
            raise NotFound(f"There is no orchestration {orchestration_id}.")
        return self

    async def holding(self, any_id: str) -> "Canned":
        if not any_id.startswith(("ns", "tr_", "task")):
            raise NotFound(f"There is no task {any_id}.")
        return self

    def __getattr__(self, name: str) -> Any:
        async def answered(*args: Any, **named: Any) -> Any:
            self.asked.append((name, *args, named) if named else (name, *args))
            value = self.given[name]
            if isinstance(value, Exception):
                raise value
            return value(*args, **named) if callable(value) else value

        return answered

    async def output(self, any_id: str, **asked: Any) -> AsyncIterator[str]:
        self.asked.append(("output", any_id, asked))
        for text in self.given["output"]:
            yield text

    async def wait(self, request: requests.WaitRequest, progress: Progress | None = None) -> answers.WaitAnswer:
        self.asked.append(("wait", request))
        if progress is not None and request.timeout:
            await progress(0, request.timeout / 1000, "0/1 done after 0 s")
        with anyio.move_on_after(self.given.get("wait_seconds", request.timeout / 1000)) as scope:
            await self.ends.wait()
        over = scope.cancelled_caught
        status = "running" if over else "completed"
        return answers.WaitAnswer(orchestration_task_id=request.ids[0], status=status, timed_out=over, finished=not over)


@asynccontextmanager
async def opened(caller: Caller) -> AsyncIterator[Orchestrations]:
    """What a server process is given in place of the wiring."""
    sent = answers.MessageAnswer(message_id=1, to="head", delivered=False)
    yield Canned(message=sent, spawn=answers.SpawnAnswer(**IDS, agent_name="shell/bash", status="pending", orchestration_id="orch_1"))
