"""A part of the terminal that is redrawn in place: each frame in one write, and the cursor given back however it ends."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType, TracebackType
from typing import Any, Self, TextIO

import click

from devsh_memory_mcp.cli import terminal
from devsh_memory_mcp.cli.cells import clipped

BEGIN, END = "\x1b[?2026h", "\x1b[?2026l"  # a terminal that knows them shows the frame only when it is whole
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
REST_OF_LINE, REST_OF_SCREEN, WHOLE_SCREEN = "\x1b[K", "\x1b[J", "\x1b[H\x1b[2J"
Handler = Callable[[int, FrameType | None], Any] | int | None
ENDINGS = (signal.SIGTERM, signal.SIGHUP)


class Screen:
    """Shows lines where the last ones stood; leaves the place empty, or as it is when it is interrupted.

    To be used in the main thread, while this process is the terminal's foreground job.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._drawn = 0
        self._size: tuple[int, int] | None = None
        self._is_behind = False  # went on in the background
        self._is_drawing = self._is_to_pause = False
        self._handlers: dict[signal.Signals, Handler] = {}

    def __enter__(self) -> Self:
        for number in ENDINGS:
            self._handlers[number] = signal.signal(number, self._end)
        self._handlers[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, self._pause)
        self._write(HIDE)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if not self._is_behind:
            # The cursor stands below the picture: of a whole end nothing is left, an interrupted one stays to be read.
            self._write(SHOW if kind is not None else f"{self._back()}{REST_OF_SCREEN}{SHOW}")

    def show(self, lines: Sequence[str]) -> None:
        """Replaces what is shown; lines may carry ANSI styles, and are cut to the terminal."""
        self._is_drawing = True
        self._draw(lines)
        self._is_drawing = False
        if self._is_to_pause:
            self._stop()

    def _draw(self, lines: Sequence[str]) -> None:
        columns, height = size = (terminal.width(self._stream), terminal.height(self._stream))
        # Terminals wrap what they show anew when their size changes, each in its own way: only an empty screen is certain.
        back = self._back() if self._size in (size, None) else WHOLE_SCREEN
        shown = [clipped(line if terminal.is_coloured() else click.unstyle(line), columns - 1) for line in lines[: height - 1]]
        body = "".join(f"{line}{REST_OF_LINE}\r\n" for line in shown)
        self._write(f"{BEGIN}{back}{body}{REST_OF_SCREEN}{END}")
        self._drawn, self._size = len(shown), size

    def _back(self) -> str:
        return f"\r\x1b[{self._drawn}A" if self._drawn else "\r"

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._write(SHOW)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _pause(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-Z, which may come in the middle of a frame."""
        self._is_to_pause = True
        if not self._is_drawing:
            self._stop()

    def _stop(self) -> None:
        """The shell gets its cursor; what comes after `fg` is drawn below what it wrote meanwhile."""
        self._is_to_pause = False
        self._write(SHOW)
        os.kill(os.getpid(), signal.SIGSTOP)
        self._drawn, self._is_behind = 0, not terminal.is_foreground(self._stream)
        if not self._is_behind:
            self._write(HIDE)

    def _write(self, text: str) -> None:
        """All at once, past Python's buffers, which would cut a frame in pieces."""
        self._stream.flush()
        content = text.encode(self._stream.encoding or "utf-8", "replace")
        with contextlib.suppress(OSError):  # the terminal has gone, and whoever looked at it
            while content:
                content = content[os.write(self._stream.fileno(), content) :]
