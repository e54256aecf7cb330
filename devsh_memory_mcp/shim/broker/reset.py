"""From a provider's answer to the limit that it tells of, and when that is over. Pure, and it never fails."""

import math
import re
import typing
from datetime import UTC, datetime

from devsh_memory_mcp.shim.broker.head import Headers
from devsh_memory_mcp.shim.broker.limit import Limit

_LONGEST = 8 * 86400.0  # seconds; a week's limit is the longest that there is, and what lies beyond is absurd
_EPOCH = 1e9  # a number above is an instant, one below so many seconds
_MILLISECONDS = 1e11  # an instant above is told in them
_BUSY = (503, 529)  # these are limits only where it is said until when
_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,9})?", re.ASCII)
_SPAN = re.compile(r"(?:\d{1,9}(?:\.\d{1,9})?(?:ms|d|h|m|s))+", re.ASCII)
_PART = re.compile(r"([\d.]+)(ms|d|h|m|s)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_WINDOW = re.compile(r"anthropic-ratelimit-(.{1,60})-reset|x-ratelimit-reset(?:-(.{1,60}))?")
_HTTP_DATE = "%a, %d %b %Y %H:%M:%S GMT"


def limit_told(status: int, headers: Headers, now: float) -> Limit | None:
    """The limit that an answer tells of, `now` being its instant in epoch seconds; None where it is no such refusal."""
    if status != 429 and status not in _BUSY:
        return None
    told = dict(headers)
    waits = (_after(told.get("retry-after-ms"), now, 0.001), _after(told.get("retry-after"), now, 1.0))
    resets_at = next((wait for wait in waits if wait is not None), None)
    if resets_at is None and status == 429:
        resets_at = _reset(told, now)
    return Limit(status, resets_at) if status == 429 or resets_at is not None else None


def _after(value: str | None, now: float, unit: float) -> float | None:
    if value is not None and _NUMBER.fullmatch(value):
        return _bounded(now + float(value) * unit, now)
    return None if value is None else _instant(value, now)


def _reset(told: typing.Mapping[str, str], now: float) -> float | None:
    """When the last of the windows that are used up begins anew; the next of all of them where none is said to be."""
    ends: list[float] = []
    used_up: list[float] = []
    for name, value in told.items():
        found = _WINDOW.fullmatch(name)
        end = _instant(value, now) if found else None
        if found is None or end is None:
            continue
        ends.append(end)
        if _is_used_up(told, found[1], found[2]):
            used_up.append(end)
    return max(used_up, default=min(ends, default=None))


def _is_used_up(told: typing.Mapping[str, str], theirs: str | None, others: str | None) -> bool:
    if theirs is not None:
        return told.get(f"anthropic-ratelimit-{theirs}-remaining") == "0" or told.get(f"anthropic-ratelimit-{theirs}-status") == "rejected"
    return told.get(f"x-ratelimit-remaining-{others}" if others else "x-ratelimit-remaining") == "0"


def _instant(value: str, now: float) -> float | None:
    """`2026-01-02T03:04:05Z`, `Fri, 02 Jan 2026 03:04:05 GMT`, `6m0s`, `20ms`, `59`, `1767323045`, `1767323045000`."""
    said = value.strip()[:64]
    if _NUMBER.fullmatch(said):
        number = float(said)
        return _bounded(number / 1000 if number > _MILLISECONDS else number if number > _EPOCH else now + number, now)
    if _SPAN.fullmatch(said):
        return _bounded(now + sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(said)), now)
    return _moment(said, now)


def _moment(said: str, now: float) -> float | None:
    for read in (datetime.fromisoformat, _http_date):
        try:
            found = read(said)
            return _bounded((found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp(), now)
        except (ValueError, OverflowError):
            continue
    return None


def _http_date(said: str) -> datetime:
    return datetime.strptime(said, _HTTP_DATE)


def _bounded(instant: float, now: float) -> float | None:
    return max(instant, now) if math.isfinite(instant) and instant - now <= _LONGEST else None
