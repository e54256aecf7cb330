"""The scripted model's HTTP. Streams are chunked, so that the client sees when one breaks off."""

import http.server
import json
import socket
from typing import Any, Protocol

from tests.doubles.model_dialect import Dialect
from tests.doubles.model_request import Request
from tests.doubles.model_script import Turn


class Model(Protocol):
    dialect: Dialect

    def heard(self, request: Request) -> None: ...
    def answer(self, request: Request) -> Turn: ...
    def complain(self, of: str) -> None: ...


class Exchange(http.server.BaseHTTPRequestHandler):
    """One connection. Its server has a `model` and an event `ended`."""

    protocol_version, disable_nagle_algorithm = "HTTP/1.1", True
    server: Any

    def do_POST(self) -> None:
        try:
            self._answer()
        except OSError:  # the client has gone
            self.close_connection = True
        except Exception as error:
            self.server.model.complain(f"{self.command} {self.path}: {error!r}")
            raise

    @property
    def _dialect(self) -> Dialect:
        model: Model = self.server.model
        return model.dialect

    do_GET = do_HEAD = do_CONNECT = do_POST

    def _answer(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        content = self.rfile.read(int(headers.get("content-length", 0)))
        body = json.loads(content) if content and "json" in headers.get("content-type", "") else {}
        request = self._dialect.request(self.command, self.path, headers, body)
        self.server.model.heard(request)
        if request.is_turn:
            self._send_turn(self.server.model.answer(request), request)
        else:
            self._send(*self._dialect.beside(request))

    def _send_turn(self, turn: Turn, request: Request) -> None:
        if turn.hang:
            self.server.ended.wait()
            self.close_connection = True
        elif turn.error:
            self._send(turn.error.status, self._dialect.error_body(turn.error), turn.error.headers)
        elif request.is_streamed:
            self._stream(list(self._dialect.frames(self._dialect.message(turn, request))), turn)
        else:
            self._send(200, self._dialect.message(turn, request), turn.headers)

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
        """Nothing: the model keeps the requests."""
