"""Tasks as lines for people. Plain values and strings only: `list` draws it without asyncio, pydantic or rich."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import click

from devsh_memory_mcp.cli import terminal
from devsh_memory_mcp.cli.durations import elapsed

COLOURS = {"pending": "bright_black", "running": "cyan", "completed": "green", "failed": "red", "cancelled": "yellow"}
SYMBOLS = {"pending": "○", "running": "●", "completed": "✓", "failed": "✗", "cancelled": "⊘"}
PLAIN_SYMBOLS = {"pending": ".", "running": ">", "completed": "+", "failed": "x", "cancelled": "-"}
ORDER = ("running", "pending", "completed", "failed", "cancelled")
ENDED = frozenset({"completed", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class Line:
    """One task, as much of it as a line shows."""

    orchestration_task_id: str
    id: str
    status: str
    agent_name: str
    prompt: str
    orchestration_id: str
    result: str | None = None
    error_message: str | None = None
    waiting_for: str | None = None
    branch: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in ENDED


def title(prompt: str) -> str:
    """The first line of a prompt that says something; a script's first comment is its title."""
    lines = [line.strip() for line in prompt.splitlines()]
    said = [line for line in lines if line and not line.startswith("#!")]
    return said[0].lstrip("# ") if said else ""


def mark(status: str) -> str:
    """The status with its symbol, coloured."""
    symbols = SYMBOLS if terminal.speaks_unicode() else PLAIN_SYMBOLS
    return click.style(f"{symbols[status]} {status}", fg=COLOURS[status])


def counts(statuses: Iterable[str]) -> str:
    """`2 running, 1 pending`."""
    found = Counter(statuses)
    return ", ".join(click.style(f"{found[status]} {status}", fg=COLOURS[status]) for status in ORDER if found[status]) or "no tasks"


def table(lines: Sequence[Line], now: datetime, width: int) -> list[str]:
    """One row for each task, in columns, cut at `width`."""
    if not lines:
        return []
    agents, times = [line.agent_name for line in lines], [_time(line, now) for line in lines]
    agent_width, time_width = max(map(len, agents)), max(map(len, times))
    id_width = max(len(line.orchestration_task_id) for line in lines)
    rows = []
    for line, agent, time in zip(lines, agents, times, strict=True):
        padding = " " * (len("cancelled") - len(line.status))
        rest = max(20, width - 2 - 11 - 2 - id_width - 2 - agent_width - 2 - time_width - 2 - 1)
        columns = (f"{line.orchestration_task_id:<{id_width}}", f"{agent:<{agent_width}}", f"{time:>{time_width}}", _what(line, rest))
        rows.append(f"  {mark(line.status)}{padding}  {'  '.join(columns)}")
    return rows


def change(line: Line, now: datetime, width: int = 100) -> str:
    """One line about one task that changed, beginning with its id."""
    time = _time(line, now)
    return f"{line.orchestration_task_id}  {mark(line.status)}{f' after {time}' if line.has_ended and time else ''}  {_what(line, width)}"


def _time(line: Line, now: datetime) -> str:
    return elapsed(line.started_at, line.completed_at, now) if line.started_at else ""


def _what(line: Line, width: int) -> str:
    name = f"{line.id}: " if line.id != line.orchestration_task_id else ""
    said = name + title(line.prompt)
    news = _news(line)
    if not news:
        return shorten(said, width)
    share = max(12, min(len(said), width // 2))
    shown = shorten(said, share)
    return f"{shown}  {click.style(shorten(news, max(12, width - len(shown) - 2)), dim=True)}"


def _news(line: Line) -> str:
    if line.status == "pending":
        return line.waiting_for or ""
    if line.status in ("failed", "cancelled"):
        return title(line.error_message or "")
    return (line.result or "").strip().rpartition("\n")[2] if line.status == "completed" else ""


def shorten(text: str, width: int) -> str:
    """One line of at most `width` characters, without control characters."""
    plain = "".join(character if character.isprintable() else " " for character in text)
    return plain if len(plain) <= width else plain[: width - 1] + "…"
