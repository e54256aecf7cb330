"""An orchestration without files and processes: the real service over a journal in memory, at the loop's own time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio

from devsh_memory_mcp.config import Caller
from devsh_memory_mcp.domain.events import Event, OrchestrationCreated
from devsh_memory_mcp.domain.state import State
from devsh_memory_mcp.engine.service import LocalOrchestration
from devsh_memory_mcp.engine.site import Site
from devsh_memory_mcp.ports import Committed, Decide

START = datetime(2026, 1, 2, tzinfo=UTC)


class LoopClock:
    def now(self) -> datetime:
        return START + timedelta(seconds=anyio.current_time())

    def monotonic(self) -> float:
        return anyio.current_time()


class MemoryJournal:
    """Also its link: whoever follows is rung at each commit, and by nothing else."""

    def __init__(self) -> None:
        self.state = State()
        self._grown = anyio.Event()

    async def read(self) -> State:
        return self.state

    async def read_whole(self) -> State:
        return self.state

    async def transact(self, decide: Decide[Any]) -> Committed[Any]:
        decision = decide(self.state, LoopClock().now())
        return Committed(decision.value, tuple(self.tell(event) for event in decision.events))

    def tell(self, event: Event) -> int:
        self.state.apply(self.state.seq + 1, LoopClock().now(), event)
        self._grown.set()
        self._grown = anyio.Event()
        return self.state.seq

    async def ring(self, _orchestration_id: str) -> None: ...

    @asynccontextmanager
    async def follow(self, _orchestration_id: str) -> AsyncIterator["MemoryJournal"]:
        yield self

    async def wait(self) -> None:
        await self._grown.wait()


def orchestration_over(journal: MemoryJournal, directory: Path, caller: Caller) -> LocalOrchestration:
    journal.tell(OrchestrationCreated(orchestration_id="orch_1"))
    site = Site("orch_1", directory, journal, journal, LoopClock())  # type: ignore[arg-type]
    return LocalOrchestration(site, directory, caller, lambda _created: None)
