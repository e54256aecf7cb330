"""What stands before every route: whom a request says it is for, and which page it comes from.

A page of a stranger can have its own name lead to this machine (DNS rebinding), and then its requests come from the user's browser. They
name that host; so a host that this server is not called is refused. An address in figures cannot be made to lead elsewhere. A request that
names another site as its origin gets in only by showing a token, which such a page does not have.
"""

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from devsh_memory_mcp.errors import InvalidRequest, NotAllowed
from devsh_memory_mcp.faces.http_faults import response_of
from devsh_memory_mcp.faces.http_visitors import token_of

MOST_HEADERS = 100
LONGEST_TARGET = 8 * 1024


class Guard:
    """ASGI around an app. `names` are the hosts that the server is called, beside this machine's own."""

    def __init__(self, app: ASGIApp, names: Iterable[str] = ()) -> None:
        self._app = app
        self._names = {"localhost", socket.gethostname().lower(), *(name.lower().rstrip(".") for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets it through, or answers 400 or 403."""
        refused = self._refused(scope) if scope["type"] == "http" else None
        await (response_of(refused) if refused else self._app)(scope, receive, send)

    def _refused(self, scope: Scope) -> InvalidRequest | NotAllowed | None:
        if len(scope["headers"]) > MOST_HEADERS or len(scope.get("raw_path") or b"") + len(scope["query_string"]) > LONGEST_TARGET:
            return InvalidRequest("The request has too many headers, or too long an address.")
        headers = Headers(scope=scope)
        host = _host(f"//{headers.get('host', '')}")
        if not self._is_ours(host) and not _is_local(scope):
            told = f"This server is not called {host[:100]!r}." if host else "The request does not say for which host it is."
            return NotAllowed(told, next_step="Where it is, `devsh serve --allow-host NAME` says that it is called so.")
        origin = headers.get("origin")
        is_preflight = scope["method"] == "OPTIONS" and "access-control-request-method" in headers
        if origin is not None and not is_preflight and token_of(headers) is None:
            from_where = _host(origin)
            if from_where != host and not self._is_ours(from_where, of_figures=False):
                return NotAllowed("A page of another site needs a token.", next_step="Send it as `Authorization: Bearer`.")
        return None

    def _is_ours(self, host: str, *, of_figures: bool = True) -> bool:
        if host in self._names or host.endswith(".localhost"):
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return of_figures or address.is_loopback


def _host(url: str) -> str:
    """The name in it, without port and brackets; empty where there is none."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_local(scope: Scope) -> bool:
    """Whether it came through a unix socket, to which no browser has a way."""
    server = scope.get("server")
    return server is not None and server[1] is None
