"""Somebody at a terminal: an interactive bash that is typed to, and what it and its commands show."""

import os
import select
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.doubles.line import start

PATIENCE = 120.0  # seconds; far above what anything here takes
COLUMNS, ROWS = 100, 40
_QUIET = "stty -echo; PS1= PS2=; trap 'failed=$?' ERR; failed=0\n"
_MARK = "\x1e"  # no program of ours prints it


class Console:
    """One shell; what is set in it stays."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        command = ["bash", "--norc", "--noprofile", "--noediting", "-i"]
        self._process, self._terminal = start(command, directory, environment, columns=COLUMNS, lines=ROWS)
        self.type(_QUIET)

    def type(self, lines: str, *answers: tuple[str, str]) -> tuple[int, str]:
        """Types lines; answers the exit code of what failed last, 0 where nothing did, and what was seen.

        `answers` are what is waited for on the screen, and what is typed then.
        """
        self._write(f"{{\n{lines}\n}}; printf '\\036%s\\036' \"$failed\"; failed=0\n")  # read as one, so that no command reads the next
        seen = "".join(self._until(awaited, then) for awaited, then in answers)
        seen += self._until(_MARK)
        seen, code = seen.removesuffix(_MARK), self._until(_MARK)
        return int(code.removesuffix(_MARK)), seen

    def _write(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def _until(self, awaited: str, then: str = "") -> str:
        seen, deadline = b"", time.monotonic() + PATIENCE
        while not seen.endswith(awaited.encode()):
            ready, _, _ = select.select([self._terminal], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{awaited!r} has not come in {PATIENCE:.0f} s, but: {seen.decode(errors='replace')}"
            seen += os.read(self._terminal, 1)
        self._write(then)
        return seen.decode(errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._terminal)  # which hangs up on the shell and what it runs
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
