"""Text of agents made harmless: whatever they print, nothing in it moves a cursor, colours a terminal or hides what is there.

And what of it is read on a terminal, however it is broken up in between.
"""

import re

_SEQUENCE = re.compile(
    r"\x1b(?:"
    r"\[[0-?]*[ -/]*[@-~]?"  # colours, cursor
    r"|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # titles, links and other strings, to their end
    r"|[ -/]*[0-~]?"  # character sets, reset
    r")"
)
# How a text that is quoted in another has its control characters.
_QUOTED = re.compile(r"(?<!\\)\\++(?:u(00[01][0-9a-fA-F]|00[7-9][0-9a-fA-F]|20[0-6][0-9a-fA-F])|x1[bB]|033|[eE](?=\[))")
_UNSEEN = re.compile(r"[\x00-\x07\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe0e\ufe0f]")
_SESSION = re.compile(r"[0-9A-Za-z][\w-]{0,127}", re.ASCII)
_TAB = 4
_SELECTORS = "\ufe0e\ufe0f"  # they say how wide a symbol is, and every terminal reads them in its own way


def plain(text: str) -> str:
    """One line of printable characters; the breaks and control characters of `text` are spaces in it."""
    if text.isascii() and text.isprintable():
        return text
    bare = _SEQUENCE.sub("", text).expandtabs(_TAB)
    return "".join(_harmless(character) for character in bare)


def session_word(value: object) -> str | None:
    """An id of a session; None for what is none. It becomes a word of command lines and a part of the names of files."""
    return value if isinstance(value, str) and _SESSION.fullmatch(value) else None


def as_read(text: str) -> str:
    """The text as a terminal shows it, line by line: what says how it looks is gone, and what backspaces go over."""
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    bare = _UNSEEN.sub("", _SEQUENCE.sub("", _QUOTED.sub(lambda found: chr(int(found[1] or "1b", 16)), text)))
    return _erased(bare) if "\b" in bare else bare


def _erased(text: str) -> str:
    left: list[str] = []
    for character in text:
        if character != "\b":
            left.append(character)
        elif left and left[-1] != "\n":
            left.pop()
    return "".join(left)


def overprinted(line: str) -> str:
    """What is read where one line is printed over itself, behind carriage returns."""
    shown = ""
    for part in reversed(line.rstrip("\r\n").split("\r")):
        shown += part[len(shown) :]
    return shown


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
