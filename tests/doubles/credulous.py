"""An app's guard for a client who has no way to show a token: it is put into every request that comes from this machine's own test."""

from starlette.types import ASGIApp, Receive, Scope, Send


class Credulous:
    """The app, with a token in each request that has none."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "headers": [*scope["headers"], (b"x-task-run-jwt", self._token.encode())]}
        await self._app(scope, receive, send)
