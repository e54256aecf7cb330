"""The scripted model's HTTP: a thread per connection, and chunked answers, so that one that breaks off is seen to."""

import http.server
import json
import socket
import threading
from contextlib import suppress
from typing import Any, Protocol

from tests.doubles.model_answer import error_body, frames, message
from tests.doubles.model_request import Request
from tests.doubles.model_script import Turn


class Model(Protocol):
    def heard(self, request: Request) -> None: ...
    def answer(self, request: Request) -> Turn: ...
    def complain(self, of: str) -> None: ...


class Line(http.server.ThreadingHTTPServer):
    """Listens from its making on and serves until its end, which hangs up on everybody."""

    daemon_threads, request_queue_size = True, 128

    def __init__(self, model: Model) -> None:
        super().__init__(("127.0.0.1", 0), _Exchange)
        self.model, self.ended = model, threading.Event()
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:  # serve_forever looks twice a second
        with suppress(OSError):  # it has ended
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
        """Nothing: who hangs up breaks off the exchange, and whatever else went wrong has been complained of."""


class _Exchange(http.server.BaseHTTPRequestHandler):
    protocol_version, disable_nagle_algorithm = "HTTP/1.1", True
    server: Line

    def do_POST(self) -> None:
        try:
            self._answer()
        except OSError:
            self.close_connection = True
        except Exception as error:
            self.server.model.complain(f"{self.command} {self.path}: {error!r}")
            raise

    do_GET = do_HEAD = do_CONNECT = do_POST

    def _answer(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        content = self.rfile.read(int(headers.get("content-length", 0)))
        body = json.loads(content) if "json" in headers.get("content-type", "") and content else {}
        request = Request(self.command, self.path, headers, body)
        self.server.model.heard(request)
        if request.is_turn:
            self._send_turn(self.server.model.answer(request), request)
        elif self.path.startswith("/v1/messages/count_tokens"):
            self._send(200, {"input_tokens": len(content) // 4})
        elif self.path == "/api/hello":
            self._send(200, {})
        else:
            self._send(404, {"type": "error", "error": {"type": "not_found_error", "message": "Not scripted"}})

    def _send_turn(self, turn: Turn, request: Request) -> None:
        if turn.hang:
            self.server.ended.wait()
            self.close_connection = True
        elif turn.error:
            self._send(turn.error.status, error_body(turn.error), turn.error.headers)
        elif request.body.get("stream"):
            self._stream(list(frames(message(turn, request))), turn)
        else:
            self._send(200, message(turn, request), turn.headers)

    def _send(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self._begin(status, {"content-type": "application/json", "content-length": str(len(content)), **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(content)

    def _stream(self, events: list[bytes], turn: Turn) -> None:
        self._begin(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked", **turn.headers})
        for event in events[: len(events) // 2] if turn.drop else events:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
        if turn.drop:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")

    def _begin(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the requests are kept by the model."""
