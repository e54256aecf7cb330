"""Text measured in the cells of a terminal: East Asian characters take two, combining marks none. ANSI styles take no room."""

import re
import unicodedata
from collections.abc import Iterator

_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_RESET = "\x1b[0m"
_WIDE = ("W", "F")


def width(text: str) -> int:
    """How many cells plain text takes."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in _WIDE else 1


def fit(text: str, room: int, *, ellipsis: str = "…") -> str:
    """Plain text in at most `room` cells; the ellipsis stands for what is cut."""
    if width(text) <= room:
        return text
    if room <= 0:
        return ""
    kept, left = [], room - 1
    for character in text:
        left -= _cells(character)
        if left < 0:
            break
        kept.append(character)
    return "".join(kept).rstrip() + ellipsis


def padded(text: str, room: int) -> str:
    """Plain text in exactly `room` cells, where it does not take more."""
    return text + " " * (room - width(text))


def clipped(styled: str, room: int) -> str:
    """Text with styles, cut to `room` cells; a style that was open is closed."""
    if width(_STYLE.sub("", styled)) <= room:
        return styled
    kept, left = [], room
    for piece, is_style in _pieces(styled):
        if is_style:
            kept.append(piece)
            continue
        for character in piece:
            left -= _cells(character)
            if left < 0:
                return "".join(kept) + (_RESET if _STYLE.search(styled) else "")
            kept.append(character)
    return "".join(kept)


def _pieces(styled: str) -> Iterator[tuple[str, bool]]:
    place = 0
    for found in _STYLE.finditer(styled):
        yield styled[place : found.start()], False
        yield found[0], True
        place = found.end()
    yield styled[place:], False
