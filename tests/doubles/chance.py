"""Chance that is the same each time: `choose` as `domain.names` wants it."""

from collections.abc import Callable
from itertools import count

from devsh_memory_mcp.domain.names import ALPHABET


def counting() -> Callable[[int], str]:
    numbers = count(1)

    def choose(length: int) -> str:
        number, text = next(numbers), ""
        while number:
            number, digit = divmod(number, len(ALPHABET))
            text = ALPHABET[digit] + text
        return text.rjust(length, "0")

    return choose
