"""The real credential of a request, read when it is needed: a CLI's own login changes while an agent works.

It is never written anywhere and never refreshed: whoever refreshes it logs its user out elsewhere.
"""

import json
import time
import typing

from devsh_memory_mcp.shim.broker.plan import Source

Headers = tuple[tuple[str, str], ...]
_LARGEST = 1 << 20


class NoCredential(Exception):
    """There is none to show; the text says what to do."""


class Login(typing.NamedTuple):
    """What a CLI keeps; `expires_at` in epoch seconds."""

    token: str
    expires_at: float | None = None


def real_headers(source: Source, now: typing.Callable[[], float] = time.time) -> Headers:
    """What the provider is shown; NoCredential."""
    if source.value is not None:
        return _shown(source.header, source.value)
    login = _read(source)
    if login.expires_at is not None and login.expires_at <= now():
        raise NoCredential(f"the login of {source.login} has expired: use {source.login} once yourself, which renews it")
    return _shown(source.header, login.token)


def carried(headers: Headers) -> typing.Iterator[str]:
    """The values that a request shows as its credential."""
    for name, value in headers:
        if name == "authorization" and value.lower().startswith("bearer "):
            yield value[7:].strip()
        elif name in ("x-api-key", "x-goog-api-key"):
            yield value


def _shown(header: str, value: str) -> Headers:
    if not value.isascii() or not value.isprintable():
        raise NoCredential("the credential has characters that no header can carry")
    return (("authorization", f"Bearer {value}"),) if header == "bearer" else ((header, value),)


def _read(source: Source) -> Login:
    advice = f"{source.login} is not logged in: log in with it yourself, or run `devsh auth {source.login}`"
    try:
        with open(source.login_file or "", "rb") as file:
            document = json.loads(file.read(_LARGEST))
    except (OSError, ValueError):
        raise NoCredential(advice) from None
    login = _login(document) if isinstance(document, dict) else None
    if login is None:
        raise NoCredential(advice)
    return login


def _login(document: dict[str, typing.Any]) -> Login | None:
    """Of claude's file; no other program's login is shown by a broker."""
    found = document.get("claudeAiOauth")
    token, expires = (found.get("accessToken"), found.get("expiresAt")) if isinstance(found, dict) else (None, None)
    return Login(token, expires / 1000 if isinstance(expires, int | float) else None) if isinstance(token, str) else None
