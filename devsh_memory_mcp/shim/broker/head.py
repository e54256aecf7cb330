"""The heads of HTTP/1.1 messages, read strictly: what two readers could take for two different things is refused. Pure."""

import re
import typing

from devsh_memory_mcp.shim.broker.body import Body, Chunked, Length, Rest

Headers = tuple[tuple[str, str], ...]
_MOST_HEADERS = 128
_REQUEST = re.compile(rb"([A-Z]{1,20}) ([\x21-\x7e]+) HTTP/1\.([01])")
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-9]\d\d)(?: [\t\x20-\x7e\x80-\xff]*)?")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
_LENGTH = re.compile(r"\d{1,15}")
# Dots, slashes, backslashes and percents that only a second reader would see: what a provider takes a path for has to be what was judged.
_VEILED = re.compile(r"/\.{1,2}(?:[/?;]|$)|\\|%(?:2e|2f|5c|25)", re.IGNORECASE)
# Of one connection and not of what is said over it, or nobody's business beyond us.
_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "proxy-authorization", "proxy-authenticate", "te", "trailer", "upgrade", "host"}
)
CREDENTIALS = frozenset({"authorization", "x-api-key", "x-goog-api-key", "chatgpt-account-id"})
_OTHER_METHODS = frozenset({"x-http-method-override", "x-http-method", "x-method-override"})  # Google heeds it
_FRAMING = frozenset({"content-length", "transfer-encoding"})  # nobody talks these away


class BadHead(Exception):
    """What came is no head that is passed on; `status` is the answer to it."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Request(typing.NamedTuple):
    """What an agent asks for; names of headers are in lower case."""

    method: str
    target: str
    headers: Headers

    def find(self, name: str) -> str | None:
        """The value of a header that is there once."""
        return next((value for each, value in self.headers if each == name), None)

    @property
    def path(self) -> str:
        """Without the query, which is nobody's to see."""
        return self.target.partition("?")[0]

    @property
    def body(self) -> Body:
        """What follows."""
        return _body(self.headers, strict=True) or Length(0)

    @property
    def is_upgrade(self) -> bool:
        """Whether it wants to speak websocket from here on; to other protocols nobody is led."""
        tokens = {word.strip().lower() for name, value in self.headers if name == "connection" for word in value.split(",")}
        return self.method == "GET" and "upgrade" in tokens and (self.find("upgrade") or "").lower() == "websocket"

    @property
    def is_last(self) -> bool:
        """Whether the connection ends with the answer."""
        return any(name == "connection" and "close" in value.lower() for name, value in self.headers)


class Response(typing.NamedTuple):
    """The beginning of an answer."""

    status: int
    headers: Headers

    def find(self, name: str) -> str | None:
        """The value of a header."""
        return next((value for each, value in self.headers if each == name), None)

    def body(self, method: str) -> Body:
        """What follows where `method` was asked for."""
        if method == "HEAD" or self.status < 200 or self.status in (204, 304):
            return Length(0)
        return _body(self.headers, strict=False) or Rest()

    @property
    def is_last(self) -> bool:
        """Whether its sender says no more on this connection."""
        return any(name == "connection" and "close" in value.lower() for name, value in self.headers)


def parse_request(head: bytes) -> Request:
    """A head with its empty line; BadHead."""
    line, headers = _parse(head, 400)
    found = _REQUEST.fullmatch(line)
    if found is None:
        raise BadHead(400, "this is no request line")
    request = Request(found[1].decode(), found[2].decode(), headers)
    is_old = found[3] == b"0" and request.method == "CONNECT"  # as Python's http.client says it before 3.12, and so pip: without a Host
    if found[3] != b"1" and not is_old:
        raise BadHead(505, "only HTTP/1.1 is spoken here")
    if sum(name == "host" for name, _ in headers) not in ((0, 1) if is_old else (1,)):
        raise BadHead(400, "a request has one Host")
    if any(name in _OTHER_METHODS for name, _ in headers):
        raise BadHead(400, "a request has one method")
    if request.method != "CONNECT" and not request.target.startswith("/"):
        raise BadHead(403, "plain http:// is not passed on by the broker; use https://, to a host that is allowed")
    if "#" in request.target or _VEILED.search(request.path):
        raise BadHead(400, "the path is not a plain one")
    _ = request.body  # or its framing is bad
    return request


def parse_response(head: bytes) -> Response:
    """The same for an answer; BadHead."""
    line, headers = _parse(head, 502)
    found = _STATUS.fullmatch(line)
    if found is None:
        raise BadHead(502, "the provider's answer has no status line")
    response = Response(int(found[1]), headers)
    _ = response.body("GET")
    return response


def forwarded(request: Request, target: str, host: str, credential: Headers) -> bytes:
    """The head as the provider gets it."""
    named = {word.strip().lower() for name, value in request.headers if name == "connection" for word in value.split(",")} - _FRAMING
    kept = [(name, value) for name, value in request.headers if name not in _HOP | CREDENTIALS and name not in named]
    upgrade = [("connection", "Upgrade"), ("upgrade", "websocket")] if request.is_upgrade else []
    lines = [("host", host), *kept, *credential, *upgrade]
    return _written(f"{request.method} {target} HTTP/1.1", lines)


def _written(first: str, headers: typing.Iterable[tuple[str, str]]) -> bytes:
    return "".join((first, "\r\n", *(f"{name}: {value}\r\n" for name, value in headers), "\r\n")).encode("latin-1")


def _parse(head: bytes, status: int) -> tuple[bytes, Headers]:
    line, *rest = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    if len(rest) > _MOST_HEADERS:
        raise BadHead(431 if status == 400 else status, f"a head has at most {_MOST_HEADERS} headers")
    headers = []
    for each in rest:
        found = _HEADER.fullmatch(each)  # neither a folded line nor a bare CR or LF fits
        if found is None:
            raise BadHead(status, "a header is not a plain one")
        headers.append((found[1].decode().lower(), found[2].decode("latin-1")))
    return line, tuple(headers)


def _body(headers: Headers, *, strict: bool) -> Body | None:
    status = 400 if strict else 502
    lengths = [value for name, value in headers if name == "content-length"]
    codings = [value.lower() for name, value in headers if name == "transfer-encoding"]
    if codings and lengths:
        raise BadHead(status, "Content-Length and Transfer-Encoding do not go together")
    if codings:
        if codings != ["chunked"]:
            raise BadHead(status, "the only Transfer-Encoding is chunked")
        return Chunked(strict=strict)
    if not lengths:
        return None
    if len(lengths) != 1 or not _LENGTH.fullmatch(lengths[0]):
        raise BadHead(status, "Content-Length is one number")
    return Length(int(lengths[0]))
