"""What the agent of a live attempt has said of itself, read from the end of its reports.

Standard library only: a `list` that reads nothing but the views wants it too. An agent without a sandbox can write into its
reports, so every value is checked and text is made harmless.
"""

import os
import typing

from devsh_memory_mcp.agents.plain import session_word, shortened
from devsh_memory_mcp.shim.rundir import REPORT_FILE, Report, last_lines

_MOST = 200  # characters of an activity


class Vitals(typing.NamedTuple):
    """What it does now in words, its session, and what it has used and cost so far."""

    activity: str | None = None
    session_id: str | None = None
    usage: dict[str, int] | None = None
    cost_usd: float | None = None


def vitals(directory: str) -> Vitals:
    """The vitals of the attempt in this run directory; all None where its agent has said nothing yet."""
    facts = {report.type: report.facts for report in last_lines(os.path.join(directory, REPORT_FILE), Report)}
    used = facts.get("usage", {})
    usage = {name: number for name, number in used.items() if isinstance(number, int) and not isinstance(number, bool)}
    usage.pop("costUsd", None)
    return Vitals(
        activity=_text(facts.get("activity", {}).get("words")),
        session_id=session_word(facts.get("session", {}).get("sessionId")),
        usage=usage or None,
        cost_usd=_amount(used.get("costUsd")),
    )


def _text(value: object) -> str | None:
    return (shortened(value, _MOST) or None) if isinstance(value, str) else None


def _amount(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < 1e9 else None
