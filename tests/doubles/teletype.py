"""A program at a terminal of its own, which it is the foreground job of, and what one sees there."""

import fcntl
import os
import pty
import select
import struct
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.doubles.glass import Glass

PATIENCE = 20.0  # seconds


class Teletype:
    """`glass` shows what it has written; what is typed here reaches it as keys do."""

    def __init__(self, command: Sequence[str], directory: Path, environment: Mapping[str, str], *, columns: int = 100, lines: int = 30):
        self.glass = Glass(columns, lines)
        self.written = ""
        held, self._released = os.pipe()
        self.pid, self._line = pty.fork()
        if self.pid == 0:
            os.read(held, 1)  # until the terminal has its size
            os.chdir(directory)
            os.execvpe(command[0], list(command), dict(environment))
        self._set_size(columns, lines)
        os.write(self._released, b".")
        os.close(held)

    def _set_size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._line, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def resize(self, columns: int, lines: int) -> None:
        self.glass.resize(columns, lines)
        self._set_size(columns, lines)

    def type(self, keys: str) -> None:
        os.write(self._line, keys.encode())

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

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
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._line)  # hangs up: whoever still runs there ends
        os.close(self._released)
