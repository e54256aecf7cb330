"""The real credential of a request, read when it is needed: a CLI's own login changes while an agent works.

It is never written anywhere and never refreshed: whoever refreshes it logs its user out elsewhere.
"""

import base64
import json
import time
import typing

from devsh_memory_mcp.shim.broker.plan import Source

Headers = tuple[tuple[str, str], ...]
_LARGEST = 1 << 20


class NoCredential(Exception):
    """There is none to show; the text says what to do."""


class Login(typing.NamedTuple):
    """What a CLI keeps; `expires_at` in epoch seconds. An `account` is ChatGPT's, `key` says that it is no token but an API key."""

    token: str
    expires_at: float | None = None
    account: str | None = None


def real_headers(source: Source, now: typing.Callable[[], float] = time.time) -> Headers:
    """What the provider is shown; NoCredential."""
    if source.value is not None:
        return _shown(source.header, source.value)
    login = _read(source)
    if login.expires_at is not None and login.expires_at <= now():
        raise NoCredential(f"the login of {source.login} has expired: use {source.login} once yourself, which renews it")
    account = (("chatgpt-account-id", login.account),) if login.account else ()
    return (*_shown(source.header, login.token), *account)


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
    login = _READERS[source.login](document) if isinstance(document, dict) and source.login in _READERS else None
    if login is None:
        raise NoCredential(advice)
    return login


def _claude(document: dict[str, typing.Any]) -> Login | None:
    found = _inner(document, "claudeAiOauth")
    token, expires = found.get("accessToken"), found.get("expiresAt")
    return Login(token, expires / 1000 if isinstance(expires, int | float) else None) if isinstance(token, str) else None


def _codex(document: dict[str, typing.Any]) -> Login | None:
    tokens = _inner(document, "tokens")
    token, account = tokens.get("access_token"), tokens.get("account_id")
    if isinstance(token, str):
        return Login(token, _expiry(token), account if isinstance(account, str) else None)
    key = document.get("OPENAI_API_KEY")
    return Login(key) if isinstance(key, str) else None


def _gemini(document: dict[str, typing.Any]) -> Login | None:
    token, expires = document.get("access_token"), document.get("expiry_date")
    return Login(token, expires / 1000 if isinstance(expires, int | float) else None) if isinstance(token, str) else None


def _inner(document: dict[str, typing.Any], key: str) -> dict[str, typing.Any]:
    found = document.get(key)
    return found if isinstance(found, dict) else {}


def _expiry(token: str) -> float | None:
    """When a JSON web token ends; None where it is none."""
    part = token.split(".")[1] if token.count(".") == 2 else ""
    try:
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except ValueError:
        return None
    expires = claims.get("exp") if isinstance(claims, dict) else None
    return expires if isinstance(expires, int | float) else None


_READERS: typing.Mapping[str, typing.Callable[[dict[str, typing.Any]], Login | None]] = {
    "claude": _claude,
    "codex": _codex,
    "gemini": _gemini,
}
