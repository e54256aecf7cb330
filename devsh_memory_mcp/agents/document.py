"""JSON that another program wrote, read without trust: what has another shape than expected is empty. Pure, and it never fails."""

import json
import typing

Document = dict[str, typing.Any]
_MOST = 1e15
_MOST_AMOUNT = 1e12  # tokens, dollars, seconds since 1970: a figure above is none


def parsed(line: str | bytes, otherwise: object = None) -> object:
    """What a line holds; `otherwise` where it is no JSON."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return otherwise


def text(given: Document, name: str) -> str:
    """The string under that name."""
    value = given.get(name)
    return value if isinstance(value, str) else ""


def first(given: Document, *names: str) -> str:
    """The first string that is there and not empty."""
    return next((value for name in names if isinstance(value := given.get(name), str) and value), "")


def mapping(value: object) -> Document:
    """It, where it is an object."""
    return value if isinstance(value, dict) else {}


def listing(value: object) -> list[typing.Any]:
    """It, where it is an array."""
    return value if isinstance(value, list) else []


def number(value: object) -> float:
    """A figure that is not absurd."""
    return float(value) if isinstance(value, int | float) and abs(value) < _MOST else 0.0


def whole(value: object) -> int:
    """The same without a fraction."""
    return int(number(value))


def amount(value: object) -> float | None:
    """A figure that can be reckoned with and written down; JSON as Python reads it has NaN and Infinity too."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if 0 <= value <= _MOST_AMOUNT else None
