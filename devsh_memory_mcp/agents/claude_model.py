"""Claude's models by rule: a name that people type becomes the name that the API knows.

There is no list of models to be outdated. `haiku-4.5` is `claude-haiku-4-5`, a family alone floats with the CLI, and what the CLI
does not know it says itself (see `claude_talk`). Only what looks like a slip of the keyboard is refused.
"""

import difflib
import re

FAMILIES = ("haiku", "sonnet", "opus", "fable")
_FLOATING = (*FAMILIES, "default", "best")
_VERSIONED = re.compile(rf"(?:claude-)?({'|'.join(FAMILIES)})-(\d+)(?:[.-](\d{{1,2}}))?(-\d{{8}})?")


def model_name(given: str) -> str:
    """What `--model` gets for the model of `claude/<model>`."""
    found = _VERSIONED.fullmatch(given)
    if not found:
        return given
    family, major, minor, date = found.groups()
    return f"claude-{family}-{major}{f'-{minor}' if minor else ''}{date or ''}"


def near_miss(given: str) -> str | None:
    """What was probably meant, where the family is misspelt or the version is glued to it; None where the name passes."""
    if given in _FLOATING or _VERSIONED.fullmatch(given):
        return None
    bare = given.removeprefix("claude-")
    word, digits = re.sub(r"[\d.\-].*", "", bare), "".join(re.findall(r"\d", bare))
    close = difflib.get_close_matches(word, FAMILIES, n=1, cutoff=0.75)
    if not close or "/" in given or len(bare) > len(word) + 5:
        return None
    return close[0] if not digits else f"{close[0]}-{'.'.join(digits[:2])}"
