"""A runner's control socket that only listens: what shims say to it can be awaited, and they can be rung."""

import contextlib
import json
import os
import pathlib
import queue
import socket
import tempfile
import threading

PATIENCE = 20.0  # seconds; far above what anything here takes


class Bell:
    """Accepts connections one after another and puts every line that comes into `heard`."""

    def __init__(self) -> None:
        self.path = f"{tempfile.mkdtemp(prefix='bell')}/s"  # short: an address is at most 104 bytes
        self.is_curt = False  # whether it hangs up on everybody
        self.heard: queue.Queue[str] = queue.Queue()
        self._connections: list[socket.socket] = []
        self._listen()

    def _listen(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen()
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, _ = listener.accept()
                self._connections.append(connection)
                threading.Thread(target=self._hear, args=(connection,), daemon=True).start()

    def _hear(self, connection: socket.socket) -> None:
        with connection.makefile("r") as lines:
            for line in lines:
                self.heard.put(line.rstrip("\n"))
                if self.is_curt:
                    connection.shutdown(socket.SHUT_RDWR)
            self.heard.put("end")

    def await_hello(self) -> dict[str, object]:
        return dict(json.loads(self.await_line("{")))

    def await_line(self, start: str) -> str:
        """The next line that starts so; those before it are dropped."""
        lines = iter(lambda: self.heard.get(timeout=PATIENCE), None)
        return next(line for line in lines if line.startswith(start))

    def ring(self) -> None:
        """Has every shim that is connected read its inbox."""
        for connection in self._connections:
            with contextlib.suppress(BrokenPipeError):  # one that has ended
                connection.sendall(b"ring x\n")

    def hide(self) -> None:
        self.path = str(pathlib.Path(self.path).rename(f"{self.path}.hidden"))

    def hang_up(self) -> None:
        """Dies and comes back at the same place: every connection ends."""
        self._stop()
        self._listen()

    def _stop(self) -> None:
        for connection in (self._listener, *self._connections):
            with contextlib.suppress(OSError):  # one that the other side has closed
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        os.unlink(self.path)
        self._connections.clear()

    def close(self) -> None:
        self._stop()
        os.rmdir(os.path.dirname(self.path))
