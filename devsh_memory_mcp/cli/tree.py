"""Tasks as a tree of what depends on what: each under the last of its dependencies that is shown."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from devsh_memory_mcp.cli.board import Line

DEEPEST = 5  # levels that are drawn; what lies deeper is drawn there

STEMS = ("├─ ", "└─ ", "│  ", "   ")
PLAIN_STEMS = ("|- ", "`- ", "|  ", "   ")


@dataclass(frozen=True, slots=True)
class Branch:
    """A task with the lines that lead to it; `others` are the dependencies that it does not stand under."""

    line: Line
    stem: str
    others: tuple[str, ...]


def forest(lines: Sequence[Line], stems: tuple[str, str, str, str] = STEMS) -> list[Branch]:
    """All the tasks, each once: those that depend on nothing shown in their order, the others below what they come after."""
    places = {name: place for place, line in enumerate(lines) for name in (line.orchestration_task_id, line.id)}
    parents = [max((places[name] for name in line.depends_on if name in places), default=None) for line in lines]
    children: dict[int | None, list[int]] = defaultdict(list)
    for place, parent in enumerate(parents):
        children[parent].append(place)
    drawn: dict[int, Branch] = {}
    # A plan that was written by hand may go round in a circle, which no root leads to.
    for root in (*children[None], *range(len(lines))):
        for place, stem in _below(root, children, stems, drawn):
            parent = parents[place] if stem else None
            others = tuple(name for name in lines[place].depends_on if parent is None or places.get(name) != parent)
            drawn[place] = Branch(lines[place], stem, others)
    return list(drawn.values())


def _below(
    root: int, children: dict[int | None, list[int]], stems: tuple[str, str, str, str], drawn: dict[int, Branch]
) -> Iterator[tuple[int, str]]:
    """The task and all below it, with their stems; a loop and no recursion, since chains may be long."""
    through, last, bar, gap = stems
    waiting = [(root, "", "")]
    while waiting:
        place, stem, margin = waiting.pop()
        if place in drawn:
            continue
        yield place, stem
        below = [child for child in children.get(place, ()) if child not in drawn]
        for child in reversed(below):
            is_last = child == below[-1]
            levels = (margin + (gap if is_last else bar))[-len(bar) * (DEEPEST - 1) :]
            waiting.append((child, margin + (last if is_last else through), levels))
