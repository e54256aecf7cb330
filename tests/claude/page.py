"""A page whose commands somebody types: its blocks, and whether what it shows is what came.

A block ```` ```sh ```` is typed; a block ```` ```text ```` after it is what is seen then, up to ids, times, paths and the like. A line `…`
in it stands for any lines.
"""

import re
from typing import NamedTuple

from tests.doubles.glass import Glass

_BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LIKE = (
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "UUID"),
    (re.compile(r"\b(ns[a-z0-9]{10}|(orch|tr)_[a-z0-9]{12})\b"), "ID"),
    (re.compile(r"\b(dev/[a-z0-9-]+)-[a-z0-9]{5}\b"), r"\1-ID"),
    (re.compile(r"(?<![\w.:/-])~?/[^\s'\",;:)]+"), "PATH"),
    (re.compile(r"\b[0-9a-f]{7,40}\b"), "COMMIT"),
    (re.compile(r"\b\d+:\d\d(:\d\d)?\b"), "TIME"),
    (re.compile(r"\b\d+(\.\d+)? ?(ms|s|kB|MB|GB)\b"), "AMOUNT"),
    (re.compile(r"\$\d+\.\d+"), "COST"),
    (re.compile(r"\b\d+\.\d+\.\d+\b"), "VERSION"),
    (re.compile(r"\b(Message|replyTo) \d+\b"), r"\1 NUMBER"),
    (re.compile(r"[ \t]+"), " "),
)


class Step(NamedTuple):
    """What is typed, and what the page shows of what follows; None where it shows nothing."""

    typed: str
    shown: str | None


def steps(page: str) -> list[Step]:
    """The page's steps, in order."""
    found: list[Step] = []
    for kind, text in _BLOCK.findall(page):
        if kind == "sh":
            found.append(Step(text, None))
        else:
            found[-1] = found[-1]._replace(shown=text)
    return found


def difference(shown: str, seen: str) -> str | None:
    """The first line that was to be seen and was not, or the other way round; None where there is none."""
    lines, may_skip = _lines(_settled(seen)), False
    for line in _lines(shown):
        if line == "…":
            may_skip = True
            continue
        while may_skip and lines and lines[0] != line:
            lines.pop(0)
        if not lines or lines[0] != line:
            return f"shown, and not seen: {line}"
        lines.pop(0)
        may_skip = False
    return None if may_skip or not lines else f"seen, and not shown: {lines[0]}"


def _settled(seen: str) -> str:
    """What stays on the screen: a long one, and so wide that nothing is wrapped."""
    glass = Glass(1000, 300)
    glass.feed(seen)
    return "\n".join(glass.shown)


def _lines(text: str) -> list[str]:
    for pattern, same in _LIKE:
        text = pattern.sub(same, text)
    return [line.strip() for line in text.splitlines() if line.strip()]
