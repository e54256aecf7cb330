"""An event loop whose time jumps to the next thing that is due: hours pass in no time, in the order in which they would."""

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any

DEADLOCK = 5.0  # s of real time in which nothing can happen any more


class _Jumping(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is not None:
            self.now += timeout
            return []
        ready = super().select(DEADLOCK)
        assert ready, "everybody waits, and nothing is due"
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


VIRTUAL: tuple[str, Mapping[str, Any]] = ("asyncio", {"loop_factory": VirtualLoop})
