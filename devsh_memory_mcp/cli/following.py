"""Being told of changes instead of asking for them."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from devsh_memory_mcp.ports import Orchestration


class Bell:
    """Rings when something has changed since it was last heard."""

    def __init__(self) -> None:
        self._rung = anyio.Event()

    def ring(self) -> None:
        """Something has changed."""
        self._rung.set()

    async def heard(self, at_most: float | None = None) -> bool:
        """Waits for the bell, with `at_most` for so many seconds; whether it rang."""
        with anyio.move_on_after(at_most):
            await self._rung.wait()
        rang = self._rung.is_set()
        if rang:
            self._rung = anyio.Event()
        return rang


@asynccontextmanager
async def following(orchestration: Orchestration) -> AsyncIterator[Bell]:
    """A bell that rings at each change from now on: read, hear, read again."""
    bell = Bell()
    position = await orchestration.position()
    async with anyio.create_task_group() as group:
        group.start_soon(_ring, orchestration, bell, position)
        yield bell
        group.cancel_scope.cancel()


@asynccontextmanager
async def resizes(bell: Bell) -> AsyncIterator[None]:
    """Rings the bell when the terminal has another size."""

    async def listen() -> None:
        with anyio.open_signal_receiver(signal.SIGWINCH) as signals:
            async for _ in signals:
                bell.ring()

    async with anyio.create_task_group() as group:
        group.start_soon(listen)
        yield
        group.cancel_scope.cancel()


async def _ring(orchestration: Orchestration, bell: Bell, position: int) -> None:
    async for _ in orchestration.changes(position):
        bell.ring()
