"""A part of the terminal that is redrawn in place."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text


class Screen:
    """Shows lines where the last ones stood; leaves the place empty, or as it is when it is interrupted."""

    def __init__(self) -> None:
        self._live = Live(
            console=Console(highlight=False), auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._live.transient = kind is None
        self._live.stop()

    def show(self, lines: list[str]) -> None:
        """Replaces what is shown; lines may carry ANSI colours."""
        self._live.update(Text.from_ansi("\n".join(lines), no_wrap=True, overflow="ellipsis"), refresh=True)
