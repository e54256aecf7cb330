"""A program at a terminal of its own, and somebody who reads what it shows and types."""

import contextlib
import fcntl
import os
import pty
import signal
import struct
import termios
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.doubles.processes import await_end, kill

PATIENCE = 30.0  # seconds; far above what anything here takes
ROWS, COLUMNS = 50, 160


class Terminal:
    """Runs the program from its making on, and hangs up at the end of its block. `shown` is all that it wrote, as it wrote it."""

    def __init__(self, command: Sequence[str], directory: Path, environment: Mapping[str, str]) -> None:
        self.shown = bytearray()
        self._news = threading.Condition()
        self.pid, self._descriptor = pty.fork()
        if self.pid == 0:
            try:
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
                os.chdir(directory)
                os.execve(command[0], command, environment)
            finally:
                os._exit(127)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # how a terminal ends
            while content := os.read(self._descriptor, 65536):
                with self._news:
                    self.shown += content
                    self._news.notify_all()

    def await_sign(self, sign: str) -> None:
        """Blocks until it was shown. It must be short: programs write only what changes on the screen, so a text may come in parts."""
        with self._news:
            came = self._news.wait_for(lambda: sign.encode() in self.shown, PATIENCE)
            assert came, f"{sign!r} was not shown: {self.shown[-4000:].decode(errors='replace')}"

    def enter(self, line: str) -> None:
        """A line and Enter. The line is marked as pasted, so that Enter is no part of it, however much is read at once."""
        os.write(self._descriptor, f"\x1b[200~{line}\x1b[201~\r".encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        kill(self.pid, signal.SIGHUP)
        if not await_end(self.pid, 5.0):
            kill(self.pid)
        os.waitpid(self.pid, 0)
        self._reader.join(PATIENCE)
        os.close(self._descriptor)
