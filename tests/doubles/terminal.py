"""A program at a terminal of its own, and somebody who reads what it shows and types."""

import contextlib
import os
import pty
import subprocess
import termios
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

PATIENCE = 30.0  # seconds; far above what anything here takes
ROWS, COLUMNS = 50, 160


class Terminal:
    """Runs the program from its making on, and ends it at the end of its block. `shown` is all that it wrote, as it wrote it."""

    def __init__(self, command: Sequence[str], directory: Path, environment: Mapping[str, str]) -> None:
        self.shown = bytearray()
        self._news = threading.Condition()
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (ROWS, COLUMNS))
        self._process = subprocess.Popen(
            command, cwd=directory, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # how a terminal ends
            while content := os.read(self._ours, 65536):
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
        os.write(self._ours, f"\x1b[200~{line}\x1b[201~\r".encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()
            self._reader.join(PATIENCE)
            os.close(self._ours)
