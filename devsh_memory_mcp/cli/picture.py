"""The board as a picture: tasks, a size and an instant in, lines out. Pure, so that it can be looked at without a terminal."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import click

from devsh_memory_mcp.agents.figures import counted
from devsh_memory_mcp.agents.plain import plain
from devsh_memory_mcp.cli.board import (
    COLOURS,
    DEPENDENCIES,
    ENDED,
    MARK,
    ORDER,
    PLAIN_SYMBOLS,
    SYMBOLS,
    Line,
    cost,
    counts,
    news,
    one_line,
    title,
    total_cost,
)
from devsh_memory_mcp.cli.cells import clipped, fit, width
from devsh_memory_mcp.cli.durations import clock, elapsed
from devsh_memory_mcp.cli.tree import PLAIN_STEMS, STEMS, Branch, forest

MARGIN, GAP = 2, 2
FEW = 14  # lines of a screen on which nothing is spared for air
WORDS = 44  # cells from which on a task's title and its news stand side by side
WIDEST = 60  # cells of either: what stands far apart is hard to read together
ASCII = str.maketrans({"·": "-", "…": "~"})
AGENT_FROM = 110  # columns from which on each task's agent has a column

Piece = tuple[str, Callable[[str], str]]


@dataclass(frozen=True, slots=True)
class Glass:
    """What is drawn on: cells, and lines where they are bounded."""

    columns: int
    lines: int | None = None
    unicode: bool = True


@dataclass(frozen=True, slots=True)
class _Columns:
    """The cells of each column; 0 where it is left out."""

    name: int
    title: int
    news: int
    agent: int
    cost: int
    time: int


def picture(heading: str, lines: Sequence[Line], now: datetime, glass: Glass, *, hints: Sequence[str] = ()) -> list[str]:
    """The board, at most as high and as wide as the glass: what is unfinished goes first, then failures, then the newest ends."""
    agents = sorted({plain(line.agent_name) for line in lines})
    air = [""] if glass.lines is None or glass.lines > FEW else []
    top = [_joined([(heading, _bold), (agents[0] if len(agents) == 1 else "", _dim)], glass.columns - 1, "  "), *air]
    bottom = [*air, *_footer(lines, now, glass, hints)]
    room = None if glass.lines is None else max(1, glass.lines - 1 - len(top) - len(bottom))
    shown = lines if room is None else _chosen(lines, room)
    branches = forest(shown, STEMS if glass.unicode else PLAIN_STEMS)
    columns = _columns(branches, now, glass, len(agents))
    rows = [row for branch in branches for row in _rows(branch, columns, now, glass)]
    drawn = [*top, *rows, *_more(lines, shown, glass), *bottom]
    return drawn if glass.unicode else [line.translate(ASCII) for line in drawn]


def _chosen(lines: Sequence[Line], room: int) -> list[Line]:
    """The most important tasks that there is room for, in their order."""
    if sum(map(_height, lines)) <= room:
        return list(lines)
    room -= 1  # the line that says how many there are more
    kept = set()
    for place in sorted(range(len(lines)), key=lambda place: _rank(lines[place], place)):
        room -= _height(lines[place])
        if room < 0:
            break
        kept.add(place)
    return [line for place, line in enumerate(lines) if place in kept]


def _height(line: Line) -> int:
    return 2 if line.needs_input else 1


def _rank(line: Line, place: int) -> tuple[int, int]:
    if not line.has_ended:
        return (0 if line.needs_input else 1 if line.status == "running" else 2), place
    return (4 if line.status == "completed" else 3), -place


def _more(lines: Sequence[Line], shown: Sequence[Line], glass: Glass) -> list[str]:
    hidden = Counter(line.status for line in lines)
    hidden.subtract(line.status for line in shown)
    said = ", ".join(f"{hidden[status]} more {status}" for status in reversed(ORDER) if hidden[status])
    return [_dim(" " * MARGIN + fit(f"… and {said}", glass.columns - 1 - MARGIN))] if said else []


def _columns(branches: Sequence[Branch], now: datetime, glass: Glass, agents: int) -> _Columns:
    lines = [branch.line for branch in branches]
    name = min(max((width(branch.stem + plain(branch.line.id)) for branch in branches), default=0), max(14, glass.columns // 4))
    time = max((len(elapsed(line.started_at, line.completed_at, now)) for line in lines), default=0)
    price = max((len(cost(line)) for line in lines), default=0)
    agent = 0
    if agents > 1 and glass.columns >= AGENT_FROM:
        agent = min(24, max(width(plain(line.agent_name)) for line in lines))
    fixed = MARGIN + MARK + GAP + name + GAP
    words = glass.columns - 1 - fixed - sum(GAP + taken for taken in (agent, price, time) if taken)
    if price and words < WORDS // 2:  # the sum is in the footer
        words, price = words + GAP + price, 0
    said = min(max((width(title(line.prompt)) for line in lines), default=0), words * 2 // 5, WIDEST) if words >= WORDS else 0
    news_ = min(words - said - GAP, WIDEST) if said else words
    return _Columns(name, said, max(8, news_), agent, price, time)


def _rows(branch: Branch, columns: _Columns, now: datetime, glass: Glass) -> list[str]:
    line = branch.line
    symbol = (SYMBOLS if glass.unicode else PLAIN_SYMBOLS)[line.status]
    name = fit(branch.stem + plain(line.id), columns.name)
    stem, own = name[: len(branch.stem)], name[len(branch.stem) :]
    cells = [
        " " * MARGIN + _cell(f"{symbol} {line.status}", MARK, _coloured(COLOURS[line.status])),
        _dim(stem) + _cell(own, columns.name - width(stem), _plain),
        _words(branch, columns),
        _cell(plain(line.agent_name), columns.agent, _dim),
        _cell(cost(line), columns.cost, _dim, right=True),
        _cell(elapsed(line.started_at, line.completed_at, now), columns.time, _plain, right=True),
    ]
    rows = [(" " * GAP).join(filter(None, cells)).rstrip()]
    if line.needs_input:
        indent = " " * (MARGIN + MARK + GAP)
        rows.append(indent + click.style(fit(f"! {one_line(line.needs_input)}", glass.columns - 1 - len(indent)), fg="yellow", bold=True))
    return rows


def _words(branch: Branch, columns: _Columns) -> str:
    """What the task is and what there is to say of it, side by side; each has all the room where the other has nothing."""
    said, told = title(branch.line.prompt), _news(branch)
    style = _dim if branch.line.has_ended else _plain
    if not told:
        return _cell(said, columns.title + (GAP if columns.title else 0) + columns.news, style)
    shown = _joined(told, columns.news, " · ", fill=True)
    return f"{_cell(said, columns.title, style)}{' ' * GAP}{shown}" if columns.title else shown


def _cell(text: str, room: int, style: Callable[[str], str], *, right: bool = False) -> str:
    """The text in exactly `room` cells, nothing where there are none; only it is styled, and not the space beside it."""
    shown = fit(text, room) if room else ""
    space = " " * (room - width(shown))
    return f"{space}{style(shown)}" if right else f"{style(shown)}{space}"


def _news(branch: Branch) -> list[Piece]:
    line = branch.line
    pieces: list[Piece] = []
    if line.attempt > 1 and not line.has_ended:
        pieces.append((f"try {line.attempt}", _coloured("yellow")))
    if line.changed is not None and line.status == "completed":
        pieces.append((_change_text(line.changed), _coloured("green")))
    text = news(line)
    if line.status == "pending" and text:
        text = f"waits for {text.removeprefix(DEPENDENCIES)}" if text.startswith((DEPENDENCIES, "a free place")) else text
    pieces.append((text, _plain if line.status in ("running", "failed") else _dim))
    if branch.others and not text.startswith("waits for"):
        also = "also after" if branch.stem else "after"
        pieces.append((f"{also} {', '.join(map(plain, branch.others))}", _dim))
    return [piece for piece in pieces if piece[0]]


def _change_text(changed: tuple[int, int, int]) -> str:
    files, added, removed = changed
    return f"+{added} -{removed} in {counted(files, 'file')}"


def _footer(lines: Sequence[Line], now: datetime, glass: Glass, hints: Sequence[str]) -> list[str]:
    """How many there are of each, for how long and for how much; then what to type."""
    begun = [line.started_at for line in lines if line.started_at]
    ended = [line.completed_at for line in lines if line.completed_at]
    is_over = all(line.status in ENDED for line in lines)
    span = clock((max(ended) if is_over and ended else now) - min(begun)) if begun else ""
    room = glass.columns - 1 - MARGIN
    facts = _those_that_fit([counts(line.status for line in lines), _total(lines), span], room)
    return [" " * MARGIN + facts, *([" " * MARGIN + _dim(_those_that_fit(hints, room))] if hints else [])]


def _those_that_fit(sayings: Sequence[str], room: int) -> str:
    """The first of them whole or cut, and each further one that there is room for."""
    shown = clipped(sayings[0], room)
    for said in filter(None, sayings[1:]):
        longer = f"{shown} · {said}"
        shown = longer if width(click.unstyle(longer)) <= room else shown
    return shown


def _total(lines: Sequence[Line]) -> str:
    said = total_cost(lines)
    return f"{said} at list price" if said.startswith("~") else said


def _joined(pieces: Sequence[Piece], room: int, between: str, *, fill: bool = False) -> str:
    """The pieces in `room` cells, the last ones cut."""
    shown: list[str] = []
    left = room
    for text, style in pieces:
        gap = between if shown else ""
        cut = fit(text, left - width(gap))
        if not cut or (shown and cut == "…"):
            break
        shown.append(_dim(gap) + style(cut) if gap else style(cut))
        left -= width(gap) + width(cut)
    return "".join(shown) + " " * (left if fill else 0)


def _plain(text: str) -> str:
    return text


def _dim(text: str) -> str:
    return click.style(text, dim=True) if text else ""


def _bold(text: str) -> str:
    return click.style(text, bold=True)


def _coloured(colour: str) -> Callable[[str], str]:
    return lambda text: click.style(text, fg=colour)
