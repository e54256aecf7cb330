"""Where the scripted model listens: a thread per connection, and an end that hangs up on everybody."""

import http.server
import socket
import threading
from contextlib import suppress
from typing import Any

from tests.doubles.model_exchange import Exchange, Model


class Line(http.server.ThreadingHTTPServer):
    """Serves from its making on."""

    daemon_threads, request_queue_size = True, 128

    def __init__(self, model: Model) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.model, self.ended = model, threading.Event()
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):  # it has ended; serve_forever would look for that twice a second
            while True:
                connection, address = self.get_request()
                self._connections.append(connection)
                self.process_request(connection, address)

    def end(self) -> None:
        self.ended.set()
        for each in (self.socket, *self._connections):
            with suppress(OSError):  # one that the other side has closed
                each.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: what went wrong has been complained of."""
