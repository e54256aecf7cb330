"""What a command prints: written to a bounded file as it comes, its end kept in memory for the result."""

import contextlib
import os
import time
import typing

from devsh_memory_mcp.shim import rundir
from devsh_memory_mcp.shim.loop import Loop

TAIL = 64 * 1024
_LONGEST_LINE = 16 * 1024 * 1024

Listener = typing.Callable[[bytes], object]


class Stream:
    """One output. The file holds the first half of `limit`, then a line that says what is missing, then the end.

    `listener` is called with each whole line, also of what the file does not hold.
    """

    def __init__(self, path: str, limit: int, listener: Listener | None = None) -> None:
        self._lines = Lines(listener) if listener else None
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._head = limit // 2
        self._tail_size = min(TAIL, limit - self._head)
        self._tail = bytearray()
        self._written = 0
        self._reading: int | None = None
        self._loop: Loop | None = None
        self.total = 0
        self.heard_at = time.monotonic()  # when something came last

    def attach(self, loop: Loop, descriptor: int) -> None:
        """Reads `descriptor` from now on, to its end."""
        self._loop, self._reading = loop, descriptor
        os.set_blocking(descriptor, False)
        loop.read(descriptor, self._take)

    @property
    def is_closed(self) -> bool:
        """Whether everybody who could write has closed it."""
        return self._reading is None

    @property
    def tail(self) -> str:
        """The last bytes as text."""
        return self._tail.decode(errors="replace")

    @property
    def is_cut(self) -> bool:
        """Whether there was more than `tail` holds."""
        return self.total > len(self._tail)

    def finish(self) -> None:
        """Takes what is there, writes the end of the file, closes all."""
        for _ in range(64):  # more than a pipe holds; whoever still writes is outside the tree and may never stop
            if self._reading is None or not self._take():
                break
        self._stop()
        missing = self.total - self._written
        if missing > 0:
            end = bytes(self._tail[-missing:])
            dropped = missing - len(end)
            self._write((b"\n[%d bytes left out]\n" % dropped if dropped else b"") + end)
        os.close(self._descriptor)

    def _take(self) -> bool:
        """Reads once; False where there is nothing now or any more."""
        assert self._reading is not None
        try:
            content = os.read(self._reading, 65536)
        except BlockingIOError:
            return False
        if not content:
            self._stop()
            return False
        self._keep(content)
        return True

    def _keep(self, content: bytes) -> None:
        head = content[: max(0, self._head - self._written)] if self._written == self.total else b""
        self.total += len(content)
        self.heard_at = time.monotonic()
        if self._lines is not None:
            self._lines.take(content)
        self._tail += content
        if len(self._tail) > self._tail_size:
            del self._tail[: -self._tail_size]
        self._written += self._write(head) if head else 0

    def _write(self, content: bytes) -> int:
        """How much of it is in the file. A full disk costs output and nothing else: its last reserve is for the outcome."""
        try:
            return os.write(self._descriptor, content)
        except OSError:
            return 0

    def _stop(self) -> None:
        if self._reading is not None and self._loop is not None:
            self._loop.close(self._reading)
            self._reading = None


class Lines:
    """Cuts what comes into lines; one that is longer than 16 MB is left out."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._begun = bytearray()
        self._is_too_long = False

    def take(self, content: bytes) -> None:
        """The next bytes."""
        *ends, begun = content.split(b"\n")
        for end in ends:
            self._add(end)
            if not self._is_too_long:
                self._listener(bytes(self._begun))
            self._begun.clear()
            self._is_too_long = False
        self._add(begun)

    def _add(self, content: bytes) -> None:
        self._is_too_long = self._is_too_long or len(self._begun) + len(content) > _LONGEST_LINE
        if self._is_too_long:
            self._begun.clear()
        else:
            self._begun += content


class Relief:
    """The file that is given up when the disk is full, so that the end can still be told."""

    SIZE = 64 * 1024

    def __init__(self, path: str) -> None:
        self._path = path

    def lay(self) -> None:
        """Takes the space."""
        with contextlib.suppress(OSError), open(self._path, "wb", opener=rundir.create_private) as file:
            file.write(bytes(self.SIZE))

    def free(self) -> bool:
        """Gives it back; False where that was done before."""
        try:
            os.unlink(self._path)
        except OSError:
            return False
        return True
