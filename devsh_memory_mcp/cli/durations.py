"""Spans of time on the command line, and as people read them: `0:07`, `1:02:03`."""

from datetime import datetime, timedelta

import click

from devsh_memory_mcp.domain.durations import parse_duration


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
