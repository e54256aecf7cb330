"""An orchestration whose changes happen when a test says so, and that knows who follows it."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
from doubles.orchestrations import Canned, row

from devsh_memory_mcp.errors import NotFound
from devsh_memory_mcp.ports import Change


class Followed(Canned):
    """`is_there` says whether it was begun yet."""

    def __init__(self, *, is_there: bool = True, **given: Any) -> None:
        super().__init__(**given)
        self.is_there = is_there
        self.followers = 0
        self._history: list[Change] = []
        self._news = anyio.Event()

    async def current(self, *, create: bool = False, request: Any = None) -> Canned:
        self.is_there = self.is_there or create
        if not self.is_there:
            raise NotFound("Nothing has been spawned here yet.")
        return self

    async def position(self) -> int:
        return len(self._history)

    def happen(self, event: str, *tasks: int) -> None:
        """One commit: an event for each task, or one without a task."""
        for number in tasks or (None,):
            known = None if number is None else row(number, task_id=f"task{number}")
            self._history.append(Change(len(self._history) + 1, event, known))
        self._news.set()
        self._news = anyio.Event()

    async def changes(self, after: int) -> AsyncIterator[Change]:
        self.followers += 1
        try:
            while True:
                for change in self._history[after:]:
                    after = change.seq
                    yield change
                await self._news.wait()
        finally:
            self.followers -= 1
