"""Spans of time as people type them: `90s`, `5m`, `1h30m`, `300` (seconds)."""

import re
from datetime import timedelta

LONGEST = timedelta(days=30)

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|[smhd])")


def parse_duration(text: str) -> timedelta:
    """The span that `text` means; ValueError with a sentence where it means none."""
    plain = text.strip().lower()
    if plain.startswith("-"):
        raise ValueError(f"{text!r} is negative")
    if re.fullmatch(r"\d+(\.\d+)?", plain):
        seconds = float(plain)
    elif plain and not _PART.sub("", plain).strip():
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(plain))
    else:
        raise ValueError(f"{text!r} is not a duration: write 90s, 5m, 1h30m, or a number of seconds")
    if seconds > LONGEST.total_seconds():
        raise ValueError(f"{text!r} is longer than {LONGEST.days} days")
    return timedelta(seconds=seconds)


def duration_text(span: timedelta) -> str:
    """The span as it could have been typed: `1h30m`, `90s` only where no larger unit fits, `250ms`."""
    left = round(span / timedelta(milliseconds=1))
    parts = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, size)
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts) or "0s"
