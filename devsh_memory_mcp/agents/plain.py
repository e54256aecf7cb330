"""Text of agents made harmless: whatever they print, nothing in it moves a cursor, colours a terminal or hides what is there."""

import re

_SEQUENCE = re.compile(
    r"\x1b(?:"
    r"\[[0-?]*[ -/]*[@-~]?"  # colours, cursor
    r"|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # titles, links and other strings, to their end
    r"|[ -/]*[0-~]?"  # character sets, reset
    r")"
)
_TAB = 4
_SELECTORS = "\ufe0e\ufe0f"  # they say how wide a symbol is, and every terminal reads them in its own way


def plain(text: str) -> str:
    """One line of printable characters; the breaks and control characters of `text` are spaces in it."""
    if text.isascii() and text.isprintable():
        return text
    bare = _SEQUENCE.sub("", text).expandtabs(_TAB)
    return "".join(_harmless(character) for character in bare)


def _harmless(character: str) -> str:
    if character in _SELECTORS or _is_invisible(character):
        return ""
    return character if character.isprintable() else " "


def _is_invisible(character: str) -> bool:
    """Joiners, and what turns the direction of the text around it."""
    return (
        character == "\u00ad" or "\u200b" <= character <= "\u200f" or "\u202a" <= character <= "\u202e" or "\u2060" <= character <= "\u206f"
    )


def shortened(text: str, most: int) -> str:
    """One line of at most `most` characters; `…` stands for what is cut."""
    line = " ".join(plain(text).split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"
