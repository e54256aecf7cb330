"""Tasks as lines for people. Plain values and strings only: `list` draws it without asyncio or pydantic.

Whatever agents wrote is made harmless here: no text of theirs moves the cursor or colours the terminal.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import click

from devsh_memory_mcp.agents.figures import money
from devsh_memory_mcp.agents.plain import plain
from devsh_memory_mcp.cli import terminal
from devsh_memory_mcp.cli.cells import fit, padded, width
from devsh_memory_mcp.cli.durations import elapsed

# `damaged` is no status of a task: nobody knows its own, since the journal cannot be read to its end.
COLOURS = {"pending": "bright_black", "running": "cyan", "completed": "green", "failed": "red", "cancelled": "yellow", "damaged": "red"}
SYMBOLS = {"pending": "○", "running": "●", "completed": "✓", "failed": "✗", "cancelled": "⊘", "damaged": "!"}
PLAIN_SYMBOLS = {"pending": ".", "running": ">", "completed": "+", "failed": "x", "cancelled": "-", "damaged": "!"}
ORDER = ("running", "pending", "completed", "failed", "cancelled", "damaged")
ENDED = frozenset({"completed", "failed", "cancelled"})
MARK = 11  # cells of a symbol and the longest status

DEPENDENCIES = "dependencies: "  # how `waitingFor` begins where a task waits for others


@dataclass(frozen=True, slots=True)
class Line:
    """One task, as much of it as a line shows. `changed` are the files, insertions and deletions of its work."""

    orchestration_task_id: str
    id: str
    status: str
    agent_name: str
    prompt: str
    orchestration_id: str
    result: str | None = None
    error_message: str | None = None
    waiting_for: str | None = None
    activity: str | None = None
    needs_input: str | None = None
    cost_usd: float | None = None
    cost_basis: str | None = None
    attempt: int = 0
    changed: tuple[int, int, int] | None = None
    depends_on: tuple[str, ...] = ()
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
    return one_line(said[0].lstrip("# ")) if said else ""


def mark(status: str) -> str:
    """The status with its symbol, coloured."""
    symbols = SYMBOLS if terminal.speaks_unicode() else PLAIN_SYMBOLS
    return click.style(f"{symbols[status]} {status}", fg=COLOURS[status])


def counts(statuses: Iterable[str]) -> str:
    """`2 running, 1 pending`."""
    found = Counter(statuses)
    return ", ".join(click.style(f"{found[status]} {status}", fg=COLOURS[status]) for status in ORDER if found[status]) or "no tasks"


def table(lines: Sequence[Line], now: datetime, columns: int) -> list[str]:
    """One row for each task, in columns, cut at `columns` cells."""
    if not lines:
        return []
    agents, times = [plain(line.agent_name) for line in lines], [_time(line, now) for line in lines]
    agent_width, time_width = max(map(width, agents)), max(map(len, times))
    id_width = max(len(line.orchestration_task_id) for line in lines)
    rows = []
    for line, agent, time in zip(lines, agents, times, strict=True):
        padding = " " * (MARK - 2 - len(line.status))
        rest = max(20, columns - 2 - MARK - 2 - id_width - 2 - agent_width - 2 - time_width - 2 - 1)
        shown = (padded(line.orchestration_task_id, id_width), padded(agent, agent_width), f"{time:>{time_width}}", _what(line, rest))
        rows.append(f"  {mark(line.status)}{padding}  {'  '.join(shown)}")
    return rows


def change(line: Line, now: datetime, columns: int = 100) -> str:
    """One line about one task that changed, beginning with its id."""
    time = _time(line, now)
    after = f" after {time}" if line.has_ended and time else ""
    return f"{line.orchestration_task_id}  {mark(line.status)}{after}  {_what(line, columns)}"


def _time(line: Line, now: datetime) -> str:
    return elapsed(line.started_at, line.completed_at, now) if line.started_at else ""


def _what(line: Line, room: int) -> str:
    name = f"{plain(line.id)}: " if line.id != line.orchestration_task_id else ""
    said, told = name + title(line.prompt), news(line)
    if line.needs_input and not line.has_ended:
        told = f"! {one_line(line.needs_input)}"
    if not told:
        return fit(said, room)
    shown = fit(said, max(12, min(width(said), room // 2)))
    return f"{shown}  {click.style(fit(told, max(12, room - width(shown) - 2)), dim=True)}"


def news(line: Line) -> str:
    """What there is to say of a task now: what it does, what it waits for, what came of it."""
    if line.status == "pending":
        return one_line(line.waiting_for or "")
    if line.status == "running":
        return one_line(line.activity or "")
    if line.status == "completed":
        return one_line((line.result or "").strip().rpartition("\n")[2])
    return title(line.error_message or "")


def one_line(text: str) -> str:
    """The text without breaks and the like, and no two spaces in a row."""
    return " ".join(plain(text).split())


def cost(line: Line) -> str:
    """What it has cost, empty where that is not known."""
    return "" if line.cost_usd is None else money(line.cost_usd, is_billed=line.cost_basis == "api")


def total_cost(lines: Iterable[Line]) -> str:
    """What they have cost together; `~` where part of it is a list price which nobody may be billed."""
    costs = [line for line in lines if line.cost_usd is not None]
    is_billed = all(line.cost_basis == "api" for line in costs)
    return money(sum(line.cost_usd or 0 for line in costs), is_billed=is_billed) if costs else ""
