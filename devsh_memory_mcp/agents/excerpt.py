"""What agents do and print, cut to what a person looks at: paths as seen from the checkout, a few lines, narrow ones. Pure."""

import re

from devsh_memory_mcp.agents.plain import plain, shortened

MOST = 80  # characters of an activity
WIDE = 200  # characters of a line
LINES = 4  # of a tool's answer
MESSAGE_LINES = 12
_PATH = 48

# Checkouts lie deep; what a person wants to see is the path inside.
_WORKSPACE = re.compile(r"[^\s'\"`=:]*/runs/[^/\s]+/\d+/workspace(?:/|\b)")


def near(path: str) -> str:
    """A path as seen from the checkout, and the end of one that is long."""
    inside = near_all(path)
    if len(inside) <= _PATH:
        return inside
    tail = inside[-_PATH + 2 :]
    return f"…/{tail.partition('/')[2] or tail}"


def near_all(text: str) -> str:
    """A text with all its paths as seen from the checkout."""
    return _WORKSPACE.sub(lambda found: "" if found[0].endswith("/") else ".", text)


def command(text: str) -> str:
    """A command on one line."""
    lines = [line.strip() for line in near_all(text).splitlines() if line.strip()]
    if not lines:
        return "…"
    return shortened(lines[0].removeprefix("cd . && ") + (" …" if len(lines) > 1 else ""), MOST - len("runs ``"))


def some(text: str, most: int) -> list[str]:
    """The first lines, and how many more there are."""
    lines = [plain(line).rstrip()[:WIDE] for line in near_all(text).strip("\n").splitlines() if line.strip()]
    return lines if len(lines) <= most else [*lines[: most - 1], f"… {len(lines) - most + 1} more lines"]


def sentences(text: str, mark: str = "") -> list[str]:
    """All lines of what an agent says."""
    return [f"{mark}{plain(line).rstrip()}" for line in text.strip().splitlines()]


def told(text: str) -> list[str]:
    """What an agent was told: its task, or a message while it works."""
    return [f"< {line}" for line in some(text, MESSAGE_LINES)]
