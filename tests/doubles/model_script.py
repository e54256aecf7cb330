"""What the scripted model says: turns, and which of its callers gets which.

The turn's number is the number of the model's turns in the request, so retries, resumed sessions and many agents at one
server need no bookkeeping. A text may hold `{{result}}` (what the last tools answered), `{{result:RE}}` (a match in it),
`{{all:RE}}` (a match in the whole conversation), `{{each:RE}}` (all different matches there) and `{{these:RE}}` (all in what the
last tools answered); the latter two are a list where the text is nothing else. A match is its first group, if it has one.
"""

import re
from typing import Any, NamedTuple

from tests.doubles.model_request import Request

_MANY = ("each", "these")
_SLOT = re.compile(r"\{\{(result|all|each|these)(?::(.+?))?\}\}(?!\})")


class Unscripted(Exception):
    """The script has no answer to this request; the text says why."""


class Tool(NamedTuple):
    name: str
    input: dict[str, Any]


class Error(NamedTuple):
    status: int
    type: str = "api_error"
    message: str = "scripted"
    headers: dict[str, str] = {}


class Turn(NamedTuple):
    """An answer of the model, perhaps with a mishap before it, which happens `times` times to this turn (None: always).

    `hold` names a gate: nothing is sent before the test opens it. `expect` is a pattern that the request must hold.
    """

    text: str = ""
    tools: list[Tool] = []
    usage: dict[str, int] = {}
    headers: dict[str, str] = {}
    stop_reason: str = ""
    expect: str = ""
    hold: str = ""
    error: Error | None = None
    hang: bool = False
    drop: bool = False
    times: int | None = None


class Route(NamedTuple):
    """Whoever's first words (or system prompt) match `pattern` gets these turns."""

    pattern: str
    turns: tuple[Turn, ...]

    def turn(self, request: Request) -> Turn:
        """Its turn for the request, filled in; Unscripted where there is none or where the request is not as expected."""
        if request.turn >= len(self.turns):
            raise Unscripted(f"{self.pattern!r} has {len(self.turns)} turns; number {request.turn + 1} was asked for.")
        turn = self.turns[request.turn]
        if turn.expect and not request.has(turn.expect):
            raise Unscripted(f"{self.pattern!r}, turn {request.turn + 1}: {turn.expect!r} is not in the request.")
        return turn._replace(text=_filled(turn.text, request), tools=[Tool(t.name, _filled(t.input, request)) for t in turn.tools])


def _filled(value: Any, request: Request) -> Any:
    if isinstance(value, dict):
        return {name: _filled(each, request) for name, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, request) for each in value]
    if not isinstance(value, str):
        return value
    whole = _SLOT.fullmatch(value)
    if whole and whole[1] in _MANY:
        return _matches(whole, request)
    return _SLOT.sub(lambda slot: " ".join(_matches(slot, request)[: None if slot[1] in _MANY else 1]), value)


def _matches(slot: re.Match[str], request: Request) -> list[str]:
    results = "\n".join(request.results)
    if not slot[2]:
        return [results]
    found = re.finditer(slot[2], results if slot[1] in ("result", "these") else request.conversation)
    if different := list(dict.fromkeys(match[1] if match.re.groups else match[0] for match in found)):
        return different
    raise Unscripted(f"{slot[0]} finds nothing in {results[:400]!r}.")
