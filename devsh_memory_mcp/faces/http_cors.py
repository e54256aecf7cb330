"""What pages of other sites may do: everything for which they have a token, as with the existing implementation; nothing without.

No cookie opens anything here, so there is nothing that a page could use without its user's knowing.
"""

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "GET, POST, OPTIONS",
    "access-control-allow-headers": "Content-Type, Authorization, X-Task-Run-JWT, x-cmux-token, Last-Event-ID, Idempotency-Key",
    "access-control-max-age": "600",
}


class Cors:
    """Answers a browser's question beforehand, and lets its page read what is answered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or "origin" not in (headers := Headers(scope=scope)):
            await self._app(scope, receive, send)
        elif scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            raw = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            await send({"type": "http.response.start", "status": 204, "headers": raw})
            await send({"type": "http.response.body", "body": b""})
        else:
            await self._app(scope, receive, _opened(send))


def _opened(send: Send) -> Send:
    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)["access-control-allow-origin"] = "*"
        await send(message)

    return told
