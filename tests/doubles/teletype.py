"""A program at a terminal of its own, which it is the foreground job of, and what one sees there."""

import os
import select
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.doubles.glass import Glass
from tests.doubles.line import set_size, start

PATIENCE = 20.0  # seconds


class Teletype:
    """`glass` shows what it has written; what is typed here reaches it as keys do."""

    def __init__(self, command: Sequence[str], directory: Path, environment: Mapping[str, str], *, columns: int = 100, lines: int = 30):
        self.glass = Glass(columns, lines)
        self.written = ""
        self._process, self._line = start(command, directory, environment, columns=columns, lines=lines)
        self.pid = self._process.pid

    def resize(self, columns: int, lines: int) -> None:
        self.glass.resize(columns, lines)
        set_size(self._line, columns, lines)

    def type(self, keys: str) -> None:
        os.write(self._line, keys.encode())

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def until(self, seen: Callable[[Glass], object]) -> None:
        """Reads on until the glass shows it."""
        deadline = time.monotonic() + PATIENCE
        while not seen(self.glass):
            assert self._read(deadline), f"the program has ended; on the screen is:\n{self.glass.shown}"

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._line], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"the time is over; on the screen is:\n{self.glass.shown}"
        try:
            text = os.read(self._line, 65536).decode(errors="replace")
        except OSError:  # Linux says so when the last process has closed the terminal
            return False
        self.written += text
        self.glass.feed(text)
        return bool(text)

    def end(self) -> int:
        """Reads to the end; the exit code, negative where a signal ended it."""
        deadline = time.monotonic() + PATIENCE
        while self._read(deadline):
            pass
        return self._process.wait(PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._line)  # hangs up: whoever still runs there ends
        try:
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
