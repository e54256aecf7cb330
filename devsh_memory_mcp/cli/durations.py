"""Spans of time as people type and read them: `90s`, `5m`, `1h30m`, `300` (seconds); `0:07`, `1:02:03`."""

import re
from datetime import datetime, timedelta

import click

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|[smhd])")
LONGEST = timedelta(days=30)


def parse_duration(text: str) -> timedelta:
    """The span that `text` means; ValueError with a sentence where it means none."""
    plain = text.strip().lower()
    if plain.startswith("-"):
        raise ValueError(f"{text!r} is negative.")
    if re.fullmatch(r"\d+(\.\d+)?", plain):
        seconds = float(plain)
    elif plain and not _PART.sub("", plain).strip():
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(plain))
    else:
        raise ValueError(f"{text!r} is not a duration: write 90s, 5m, 1h30m, or a number of seconds.")
    if seconds > LONGEST.total_seconds():
        raise ValueError(f"{text!r} is longer than {LONGEST.days} days.")
    return timedelta(seconds=seconds)


class Milliseconds(click.ParamType[int]):
    """A duration on the command line, as the milliseconds that requests want."""

    name = "duration"

    def __init__(self, *, may_be_zero: bool = True) -> None:
        self._may_be_zero = may_be_zero

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Raises a usage error."""
        if isinstance(value, int):
            return value
        try:
            found = round(parse_duration(str(value)) / timedelta(milliseconds=1))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not found and not self._may_be_zero:
            self.fail("it has to be more than nothing.", param, ctx)
        return found


def clock(span: timedelta) -> str:
    """`0:07`, `12:30`, `1:02:03`; never negative."""
    seconds = max(0, int(span.total_seconds()))
    hours, minutes = seconds // 3600, seconds // 60 % 60
    return f"{hours}:{minutes:02d}:{seconds % 60:02d}" if hours else f"{minutes}:{seconds % 60:02d}"


def elapsed(started: datetime | None, ended: datetime | None, now: datetime) -> str:
    """How long something has run, or ran; empty where it has not begun."""
    return clock((ended or now) - started) if started else ""
