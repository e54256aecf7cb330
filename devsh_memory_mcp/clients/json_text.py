"""One member of a JSON document put in or taken out, with every other byte of the text as it was.

A member goes in as the first of its object, so that nobody else's line changes; taking it out again gives the same text.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from json import JSONDecodeError, JSONDecoder
from typing import Any

from devsh_memory_mcp.clients.text import Splice

Keys = Sequence[str]
Json = Any
_DECODER = JSONDecoder(strict=False)
_SPACE = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True, slots=True)
class Part:
    """A member of an object, from its name's quote on, or an element of an array; `value` is where its value begins."""

    start: int
    value: int
    end: int
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Put:
    """How a member or an element comes in; `made` is how many of the containers above it were not there."""

    splice: Splice
    made: int


def parse(text: str) -> dict[str, Json]:
    """The document, which has to be an object; ValueError with a sentence. Nothing at all counts as an empty one."""
    if not text.strip():
        return {}
    try:
        document = json.loads(text)
    except JSONDecodeError as error:
        raise ValueError(f"it is not JSON (line {error.lineno}: {error.msg})") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(document, dict):
        raise ValueError("it is not an object")
    return document


def find(document: Json, keys: Keys) -> Json:
    """The value at the end of the keys, None where there is none."""
    for key in keys:
        if not isinstance(document, dict) or key not in document:
            return None
        document = document[key]
    return document


def has(document: Json, keys: Keys) -> bool:
    """Whether there is a value at the end of the keys, be it null."""
    container = find(document, keys[:-1])
    return isinstance(container, dict) and keys[-1] in container


def put_member(text: str, keys: Keys, value: Json) -> Put:
    """`value` as a member that is not there yet, with the objects above it where they are missing."""
    depth, position = _deepest(text, keys[:-1])
    for key in reversed(keys[depth + 1 :]):
        value = {key: value}
    return Put(_inserted(text, position, depth, f"{_quoted(keys[depth])}: ", value), len(keys) - 1 - depth)


def put_element(text: str, keys: Keys, item: Json) -> Put:
    """`item` as the first element of the array at the end of the keys, which is made where it is missing."""
    depth, position = _deepest(text, keys)
    if depth == len(keys):
        return Put(_inserted(text, position, depth, "", item), 0)
    value: Json = [item]
    for key in reversed(keys[depth + 1 :]):
        value = {key: value}
    return Put(_inserted(text, position, depth, f"{_quoted(keys[depth])}: ", value), len(keys) - depth)


def replaced(text: str, keys: Keys, value: Json) -> Splice:
    """Another value for a member that is there."""
    part = _part(text, keys)
    return Splice(part.value, part.end, _formatted(value, _unit(text), _indent_at(text, part.start)))


def taken_member(text: str, keys: Keys, made: int) -> Splice:
    """Without the member, and without as many containers above it, as far as nothing else is in them."""
    for up in range(min(made, len(keys) - 1)):
        if len(find(parse(text), keys[: len(keys) - 1 - up])) > 1:
            return _taken(text, keys[: len(keys) - up])
    return _taken(text, keys[: len(keys) - min(made, len(keys) - 1)])


def taken_element(text: str, keys: Keys, item: Json, made: int) -> Splice:
    """Without the element, and without as many containers above it, as far as nothing else is in them."""
    elements = find(parse(text), keys)
    if made and len(elements) == 1:
        return taken_member(text, keys, made - 1)
    position = _part(text, keys).value
    return _without(text, position, _parts(text, position), elements.index(item))


def _taken(text: str, keys: Keys) -> Splice:
    position = _part(text, keys[:-1]).value if len(keys) > 1 else _start(text)
    parts = _parts(text, position)
    return _without(text, position, parts, _last(parts, keys[-1]))


def _without(text: str, container: int, parts: list[Part], index: int) -> Splice:
    if index > 0:
        return Splice(parts[index - 1].end, parts[index].end, "")
    if len(parts) > 1:
        return Splice(container + 1, text.index(",", parts[0].end) + 1, "")
    return Splice(container + 1, _skip(text, parts[0].end), "")


def _deepest(text: str, keys: Keys) -> tuple[int, int]:
    """How many of the keys are there already, and where the container begins that the last of them names."""
    position = _start(text)
    for depth, key in enumerate(keys):
        parts = _parts(text, position)
        if not any(part.key == key for part in parts):
            return depth, position
        position = parts[_last(parts, key)].value
    return len(keys), position


def _part(text: str, keys: Keys) -> Part:
    part = Part(_start(text), _start(text), len(text))
    for key in keys:
        parts = _parts(text, part.value)
        part = parts[_last(parts, key)]
    return part


def _last(parts: list[Part], key: str) -> int:
    """Of members with the same name the last one counts."""
    return max(index for index, part in enumerate(parts) if part.key == key)


def _parts(text: str, position: int) -> list[Part]:
    """What stands in the object or array that begins at `position`."""
    closing = "}" if text[position] == "{" else "]"
    parts: list[Part] = []
    at = _skip(text, position + 1)
    while text[at] != closing:
        key, value = None, at
        if closing == "}":
            key, value = _DECODER.raw_decode(text, at)
            value = _skip(text, _skip(text, value) + 1)
        _, end = _DECODER.raw_decode(text, value)
        parts.append(Part(at, value, end, key))
        at = _skip(text, end)
        at = _skip(text, at + 1) if text[at] == "," else at
    return parts


def _inserted(text: str, container: int, depth: int, label: str, value: Json) -> Splice:
    unit = _unit(text)
    parts = _parts(text, container)
    here = _indent_at(text, container) if depth else ""
    indent = _indent_at(text, parts[0].start) if parts and _is_first_on_line(text, parts[0].start) else here + unit
    new = f"\n{indent}{label}{_formatted(value, unit, indent)}"
    if parts:
        return Splice(container + 1, container + 1, f"{new},")
    return Splice(container + 1, _skip(text, container + 1), f"{new}\n{here}")


def _formatted(value: Json, unit: str, indent: str) -> str:
    return json.dumps(value, indent=unit, ensure_ascii=False).replace("\n", f"\n{indent}")


def _quoted(key: str) -> str:
    return json.dumps(key, ensure_ascii=False)


def _unit(text: str) -> str:
    found = re.match(r"\s*\{[ \t]*\r?\n([ \t]+)", text)
    return found[1] if found else "  "


def _indent_at(text: str, position: int) -> str:
    line = text.rfind("\n", 0, position) + 1
    found = re.compile(r"[ \t]*").match(text, line)
    return found[0] if found else ""


def _is_first_on_line(text: str, position: int) -> bool:
    return not text[text.rfind("\n", 0, position) + 1 : position].strip()


def _start(text: str) -> int:
    return _skip(text, 0)


def _skip(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position
