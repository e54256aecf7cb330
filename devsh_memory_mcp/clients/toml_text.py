"""TOML as text: values written, one line or one table of a file changed, and the rest of it left as it is."""

import json
import re
import tomllib
from typing import Any

from devsh_memory_mcp.clients.text import Splice

Value = str | int | bool | list[str]


def written(value: Value) -> str:
    """The value as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(written(each) for each in value)}]"
    return str(value) if isinstance(value, int) else json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def with_value(text: str, key: str, value: Value) -> Splice:
    """A key of the top level set, in its own line where it has one, its comment kept; ValueError where that cannot be done safely."""
    splice = _in_its_line(text, key, value) or _at_the_end(text, key, value)
    try:
        after = tomllib.loads(text[: splice.start] + splice.new + text[splice.end :])
    except tomllib.TOMLDecodeError:
        after = {}
    if after != {**tomllib.loads(text), key: value}:
        raise ValueError(f"{key} cannot be set without touching more than its line")
    return splice


def _in_its_line(text: str, key: str, value: Value) -> Splice | None:
    found = re.search(rf"""^[ \t]*(?:{key}|"{key}"|'{key}')[ \t]*=[ \t]*""", text, re.MULTILINE)
    if found is None:
        return None
    line_end = text.find("\n", found.end())
    rest = text[found.end() : line_end if line_end >= 0 else len(text)]
    ends = [place for place, sign in enumerate(rest) if sign == "#"] + [len(rest)]
    end = next((len(rest[:place].rstrip()) for place in ends if _is_value(rest[:place])), None)
    if end is None:
        raise ValueError(f"{key} is written over several lines")
    return Splice(found.end(), found.end() + end, written(value))


def _is_value(text: str) -> bool:
    try:
        return bool(tomllib.loads(f"x = {text}"))
    except tomllib.TOMLDecodeError:
        return False


def _at_the_end(text: str, key: str, value: Value) -> Splice:
    return Splice(len(text), len(text), f"{'' if text.endswith(chr(10)) or not text else chr(10)}{key} = {written(value)}\n")


def find_table(text: str, name: str) -> Splice | None:
    """The lines of the table `[name]` with the tables below it, as what would take them out; None where no line begins it."""
    header = re.compile(rf"^[ \t]*\[[ \t]*{re.escape(name)}[ \t]*\][^\n]*\n?", re.MULTILINE)
    below = re.compile(rf"[ \t]*\[\[?[ \t]*{re.escape(name)}[ \t]*\.")
    begin = header.search(text)
    if begin is None:
        return None
    end = len(text)
    for line in re.compile(r"^[ \t]*\[", re.MULTILINE).finditer(text, begin.end()):
        if not below.match(text, line.start()):
            end = line.start()
            break
    lines = text[begin.start() : end].splitlines(keepends=True)
    while len(lines) > 1 and (not lines[-1].strip() or lines[-1].lstrip().startswith("#")):
        lines.pop()  # it belongs to what follows
    return Splice(begin.start(), begin.start() + len("".join(lines)), "")


def loads(text: str) -> dict[str, Any]:
    """The document; ValueError with a sentence."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"it is not TOML: {error}") from error
