"""What a command reads: written as it takes it, and closed when there will be no more."""

import os

from devsh_memory_mcp.shim.loop import Loop

_CHUNK = 65536


class Feed:
    """The writing end of a command's stdin. With `stays_open` more can follow until `close`."""

    def __init__(self, loop: Loop, descriptor: int, content: bytes, *, stays_open: bool) -> None:
        self._loop = loop
        self._descriptor = descriptor
        self._rest = bytearray(content)
        self._is_last = not stays_open
        self._is_waiting = False
        self._is_closed = False
        os.set_blocking(descriptor, False)
        self._expect()

    def write(self, content: bytes) -> None:
        """Adds to what it will read; nothing where it reads no more."""
        if not self._is_last:
            self._rest += content
            self._expect()

    def close(self) -> None:
        """No more is coming: it is closed behind what is still to be read."""
        self._is_last = True
        self._expect()

    def abandon(self) -> None:
        """It is closed now; whoever could have read is gone."""
        self._is_last = True
        self._rest.clear()
        self._expect()

    def _expect(self) -> None:
        if self._is_closed:
            return
        if not self._rest and self._is_last:
            self._is_closed = True
            if self._is_waiting:
                self._loop.close(self._descriptor)
            else:
                os.close(self._descriptor)
        elif self._rest and not self._is_waiting:
            self._is_waiting = True
            self._loop.write(self._descriptor, self._push)
        elif not self._rest and self._is_waiting:
            self._is_waiting = False
            self._loop.forget(self._descriptor)

    def _push(self) -> None:
        try:
            del self._rest[: os.write(self._descriptor, memoryview(self._rest)[:_CHUNK].tobytes())]
        except BlockingIOError:
            return
        except BrokenPipeError:  # it reads no further, which is its own affair
            self._is_last = True
            self._rest.clear()
        self._expect()
