"""Codex's models by rule: a name goes to the API as it is typed, and only what looks like a slip of the keyboard is refused.

There is no list of models to be outdated; of one that the CLI does not know it says so itself (see `codex_talk`).
"""

import difflib
import re

_KNOWN = re.compile(r"gpt-\d+(\.\d+)?[a-z]?(-[a-z0-9][a-z0-9.]*)*")
_DASHED = re.compile(r"gpt-(\d+)-(\d)(?=-[a-z]|$)")
_GLUED = re.compile(r"([a-z]{2,5})[-_ ]?(\d+(?:\.\d+)?(?:-[a-z]+)*)")


def near_miss(given: str) -> str | None:
    """What was probably meant: `gpt-5.1-codex` for `gpt-5-1-codex`, `gpt5.1-codex` and `gtp-5.1-codex`; None where the name passes."""
    lower = given.lower()
    dotted = _DASHED.sub(r"gpt-\1.\2", lower)
    if _KNOWN.fullmatch(given):
        return None if dotted == given else dotted
    found = _GLUED.fullmatch(dotted)
    if found is None or not difflib.get_close_matches(found[1], ["gpt"], n=1, cutoff=0.6):
        return dotted if _KNOWN.fullmatch(dotted) else None
    return f"gpt-{found[2]}"
