"""A runner's control socket that only listens: what shims say to it can be awaited, and they can be rung."""

import contextlib
import json
import os
import queue
import shutil
import socket
import tempfile
import threading

PATIENCE = 20.0  # seconds; far above what anything here takes


class Bell:
    """Accepts connections one after another and puts every line that comes into `heard`."""

    def __init__(self) -> None:
        self._directory = tempfile.mkdtemp(prefix="bell")  # short, since an address is at most 104 bytes
        self.path = f"{self._directory}/s"
        self.heard: queue.Queue[str] = queue.Queue()
        self._connections: list[socket.socket] = []
        self._listener = self._listen()

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(self.path)
        listener.listen()
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._hear, args=(connection,), daemon=True).start()

    def _hear(self, connection: socket.socket) -> None:
        with connection.makefile("r") as lines:
            for line in lines:
                self.heard.put(line.rstrip("\n"))
            self.heard.put("end")

    def await_hello(self) -> dict[str, object]:
        """The next shim's greeting."""
        hello: dict[str, object] = json.loads(self.await_line("{"))
        return hello

    def await_line(self, start: str) -> str:
        """The next line that starts so; those before it are dropped."""
        while not (line := self.heard.get(timeout=PATIENCE)).startswith(start):
            pass
        return line

    def ring(self) -> None:
        """Has every shim that is connected read its inbox."""
        for connection in self._connections:
            with contextlib.suppress(BrokenPipeError):  # one that has ended
                connection.sendall(b"ring x\n")

    def hide(self) -> None:
        """Cannot be found any more."""
        os.rename(self.path, f"{self.path}.hidden")
        self.path += ".hidden"

    def hang_up(self) -> None:
        """Dies and comes back: every connection ends, then new ones are accepted at the same place."""
        self._stop()
        self._listener = self._listen()

    def _stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        os.unlink(self.path)
        for connection in self._connections:
            with contextlib.suppress(OSError):  # one that the other side has closed
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._connections.clear()

    def close(self) -> None:
        """For good."""
        self._stop()
        shutil.rmtree(self._directory)
