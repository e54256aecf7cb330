"""Addresses of repositories: which of them hold a secret, and how any text with one in it may be shown.

Standard library only: the shim shows them too.
"""

import re

_SSH = frozenset({"ssh", "git+ssh", "ssh+git"})
_HOST = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(:\d*)?")
_USERINFO = re.compile(r"(://)[^/\s'\"]*@")
_BARE_USERINFO = re.compile(r"(?<![\w./-])[^\s/@:'\"]+:[^\s/@'\"]+@")
_QUERY = re.compile(r"(://[^\s?'\"]+\?)[^\s'\"]+")


_GITHUB = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9_.-]+")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://|[^/\s]+@[^/\s]+:", re.IGNORECASE)
_OF_PATHS = (".", "/", "~")
_OF_LOGIN = re.compile(r"(https?://)[^/?#]*@", re.IGNORECASE)


def is_elsewhere(repository: str) -> bool:
    """Whether it is called as owner/repo or by a URL, so that it is somewhere else too."""
    return not repository.startswith(_OF_PATHS) and bool(_URL.match(repository) or _GITHUB.fullmatch(repository))


def without_login(address: str) -> str:
    """The URL of http or https without who is to be let in there."""
    return _OF_LOGIN.sub(r"\1", address, count=1)


def without_secrets(text: str) -> str:
    """`text` with `…` in place of whatever stands before an `@` or behind a `?` in its URLs."""
    return _QUERY.sub(r"\1…", _BARE_USERINFO.sub("…@", _USERINFO.sub(r"\1…@", text)))


def has_secret(address: str) -> bool:
    """Whether a URL, or `user@host:path`, holds more than the plain user of an ssh address; also where it cannot be told."""
    scheme, is_url, rest = address.partition("://")
    if not is_url:
        user, is_user, _ = address.partition("/")[0].partition("@")
        return bool(is_user) and ":" in user
    user, is_user, host = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")
    is_plain = not is_user or (scheme.lower() in _SSH and ":" not in user)
    has_query = scheme.lower() in ("http", "https") and "?" in rest
    return not is_plain or has_query or _HOST.fullmatch(host) is None
