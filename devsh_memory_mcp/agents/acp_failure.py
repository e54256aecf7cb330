"""Why a run of an ACP agent is no success: its class, from facts, and the sentence that people get. Pure.

The protocol has one code for "log in first" and none for what a provider answers: that stands in words, or in the error's own number.
"""

import re
import typing

from devsh_memory_mcp.agents.acp_words import STOPS, words_of
from devsh_memory_mcp.agents.adapter import Ending
from devsh_memory_mcp.agents.document import Document

AUTH_REQUIRED = -32000
_BY_CODE = {
    AUTH_REQUIRED: "auth",
    401: "auth",
    403: "auth",
    429: "rate_limit",
    500: "overload",
    502: "overload",
    503: "overload",
    529: "overload",
}
_BY_STOP = {"max_tokens": "context", "max_turn_requests": "turns", "refusal": "refusal", "cancelled": "crash"}
_BY_WORDS = (
    (r"\b401\b|\b403\b|api[ _-]?key|unauthori[sz]ed|authenticat|not logged in|credential|x-api-key", "auth"),
    (r"\b429\b|rate.?limit|quota|too many requests|resource.?exhausted|usage limit", "rate_limit"),
    (
        r"\b5(00|02|03|29)\b|overload|unavailable|internal server error|fetch failed|econn|timed? ?out|socket|network|^terminated$",
        "overload",
    ),
    (r"context (window|length)|too long|maximum.{0,20}tokens", "context"),
    (r"content.?filter|safety|refus|policy", "refusal"),
)
_SHOWN = 5


class Course(typing.NamedTuple):
    """What a conversation came to. `error` is what a request failed with, `stop_reason` how the last turn ended where one did.

    `spent` is how often its model has answered, where it was ended for that.
    """

    program: str
    error: Document | None
    stop_reason: str | None
    has_spoken: bool
    denied: typing.Sequence[str]
    worked: int  # tool calls that were not refused
    spent: int | None = None


def classify(course: Course, ending: Ending) -> tuple[str | None, str | None]:
    """The class of the failure and why in words; two None for a success. How its process ended counts only where it gave no answer."""
    if course.spent is not None:
        return "turns", f"{course.program}: its model has answered {course.spent} times, as often as it may."
    if course.error is not None:
        said = words_of(course.error)
        return _class(course.error, said), f"{course.program}: {said[:2000] or 'it refused a request'}"
    if course.stop_reason is None:
        return "crash", f"{course.program} ended without a result ({_how(ending)}){_last_words(ending)}"
    if course.stop_reason != "end_turn":
        why = STOPS.get(course.stop_reason, f"its turn ended otherwise than agreed ({course.stop_reason[:60]})")
        return _BY_STOP.get(course.stop_reason, "crash"), f"{course.program}: {why}"
    if course.denied and not course.worked:
        return "permission", f"Nothing that it tried was allowed. {describe_denials(course.denied)}"
    if not course.has_spoken and not course.worked:
        return "crash", f"{course.program} ended its turn without a word, and without having done anything."
    return None, None


def _class(error: Document, said: str) -> str:
    code = error.get("code")
    if isinstance(code, int) and code in _BY_CODE:
        return _BY_CODE[code]
    return next((kind for pattern, kind in _BY_WORDS if re.search(pattern, said, re.IGNORECASE)), "api")


def describe_denials(denied: typing.Sequence[str]) -> str:
    """What it was refused, and how it can be allowed."""
    more = f" and {len(denied) - _SHOWN} more" if len(denied) > _SHOWN else ""
    return f"It was not allowed what it wanted: {'; '.join(denied[:_SHOWN])}{more}. Spawn it with permissions bypass to allow it."


def login_advice(program: str, login: str) -> str:
    """What a person has to type."""
    return f"{program} is not logged in, or its login is refused: {login}."


def _how(ending: Ending) -> str:
    return f"signal {ending.signal}" if ending.signal else f"exit code {ending.exit_code}"


def _last_words(ending: Ending) -> str:
    last = ending.stderr_tail.strip()[-500:]
    return f": {last}" if last else "."
