"""When the time of what runs is over: at a deadline, or when it has been silent for too long. Timers alone; nobody polls."""

import time
import typing

from devsh_memory_mcp.shim.loop import Loop, Timer
from devsh_memory_mcp.shim.output import Stream


class Patience:
    """With one command. `over` is called with the cause of its end."""

    def __init__(self, loop: Loop, over: typing.Callable[[str], object]) -> None:
        self._loop = loop
        self._over = over
        self._timers: dict[str, Timer] = {}

    def until(self, deadline: float, cause: str) -> None:
        """It is over at that instant (monotonic seconds)."""
        self._timers[cause] = self._loop.at(deadline, lambda: self._over(cause))

    def heed_silence(self, seconds: float, streams: tuple[Stream, ...]) -> None:
        """It is over `seconds` after the newest output; a timer is set anew only when the one before has found some."""
        due = max(stream.heard_at for stream in streams) + seconds
        if time.monotonic() < due:
            self._timers["stalled"] = self._loop.at(due, lambda: self.heed_silence(seconds, streams))
        else:
            self._over("stalled")

    def end(self) -> None:
        """Nothing is waited for any more."""
        for timer in self._timers.values():
            self._loop.cancel(timer)
