"""The real credential of a request, read when it is needed: a CLI's own login changes while an agent works.

It is never written anywhere and never refreshed: whoever refreshes it logs its user out elsewhere.
"""

import base64
import json
import os
import stat
import time
import types
import typing

from devsh_memory_mcp.shim.broker.plan import Source

Headers = tuple[tuple[str, str], ...]
_LARGEST = 1 << 20
_ACCOUNT = "chatgpt-account-id"


class NoCredential(Exception):
    """There is none to show; the text says what to do."""


class Login(typing.NamedTuple):
    """What a CLI keeps; `expires_at` in epoch seconds, `account` where the provider wants to be told whose it is."""

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
    account = _shown(_ACCOUNT, login.account) if login.account is not None else ()
    return *_shown(source.header, login.token), *account


def find_expiry(source: Source) -> float | None:
    """When a CLI's own login is over, in epoch seconds; None where it does not say so, or is none."""
    try:
        return _read(source).expires_at
    except NoCredential:
        return None


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
        with open(source.login_file or "", "rb", opener=_open_quickly) as file:
            document = json.loads(file.read(_LARGEST) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b"")
    except (OSError, ValueError):
        raise NoCredential(advice) from None
    login = _READERS[source.login](document) if isinstance(document, dict) and source.login in _READERS else None
    if login is None:
        raise NoCredential(advice)
    return login


def _open_quickly(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe there would be waited for


def _of_claude(document: dict[str, typing.Any]) -> Login | None:
    found = document.get("claudeAiOauth")
    token, expires = (found.get("accessToken"), found.get("expiresAt")) if isinstance(found, dict) else (None, None)
    return Login(token, expires / 1000 if isinstance(expires, int | float) else None) if isinstance(token, str) else None


def _of_codex(document: dict[str, typing.Any]) -> Login | None:
    """Of a ChatGPT login; a key that lies there instead is for another API."""
    found = document.get("tokens")
    token, account = (found.get("access_token"), found.get("account_id")) if isinstance(found, dict) else (None, None)
    if not isinstance(token, str):
        return None
    claims = _claims(token)
    expires, named = claims.get("exp"), claims.get("https://api.openai.com/auth")
    account = account or (named.get("chatgpt_account_id") if isinstance(named, dict) else None)
    return Login(token, expires if isinstance(expires, int | float) else None, account if isinstance(account, str) else None)


def _claims(token: str) -> dict[str, typing.Any]:
    """What a token says of itself, which nobody has checked; nothing where it is of another kind."""
    part = token.split(".")[1:2]
    try:
        found = json.loads(base64.urlsafe_b64decode(f"{part[0]}==")) if part else None
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


# Of no other program the login is shown by a broker.
_READERS: typing.Mapping[str, typing.Callable[[dict[str, typing.Any]], Login | None]] = types.MappingProxyType(
    {"claude": _of_claude, "codex": _of_codex}
)
