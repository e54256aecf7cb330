"""From a request's headers to who makes it: the token that is shown, in any of the ways that clients show it."""

from collections.abc import Callable
from datetime import datetime
from urllib.parse import unquote

from starlette.datastructures import Headers

from devsh_memory_mcp.errors import InvalidRequest, Unauthenticated
from devsh_memory_mcp.faces.http_rooms import Visitor
from devsh_memory_mcp.faces.http_words import AGENT, CLIENT, PROJECT, SESSION, SHELL
from devsh_memory_mcp.faces.tokens import Claims, verify

LONGEST = 1000

_BEARER = "bearer "


def token_of(headers: Headers) -> str | None:
    """The token: of `X-Task-Run-JWT`, `x-cmux-token` or `Authorization: Bearer`, in this order; None where there is none."""
    for name in ("x-task-run-jwt", "x-cmux-token"):
        if value := headers.get(name, "").strip():
            return value
    shown = headers.get("authorization", "")
    return shown[len(_BEARER) :].strip() or None if shown[: len(_BEARER)].lower() == _BEARER else None


def claims_of(headers: Headers, key: bytes, now: Callable[[], datetime]) -> Claims:
    """Who shows the token; Unauthenticated."""
    token = token_of(headers)
    if token is None:
        raise Unauthenticated("This needs a token.")
    return verify(key, token, now())


def visitor_of(headers: Headers, claims: Claims) -> Visitor:
    """The same with what the client says of itself; InvalidRequest where a header is too long."""
    return Visitor(
        claims,
        client=_said(headers, CLIENT) or "",
        session=_said(headers, SESSION),
        project=_said(headers, PROJECT) or "",
        head_agent=_said(headers, AGENT) or "http",
        is_shell=headers.get(SHELL) == "1",
    )


def _said(headers: Headers, name: str) -> str | None:
    value = unquote(headers.get(name, ""))
    if len(value) > LONGEST or any(ord(character) < 32 for character in value):
        raise InvalidRequest(f"The header {name} is too long, or no text.")
    return value or None
