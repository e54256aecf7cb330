"""Sizes as people type them, `4G`, `512M`, and numbers of processors."""

import re
from typing import Annotated

from pydantic import BeforeValidator, Field

SMALLEST = 16 << 20  # below that not even a shell and git have room
LARGEST = 1 << 50
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_size(text: str) -> int:
    """The bytes that `text` means; ValueError with a sentence where it means none."""
    found = re.fullmatch(r"(\d{1,18}(?:\.\d{1,9})?)\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    if found is None:
        raise ValueError(f"{text[:40]!r} is no size: write 512M, 4G, 1.5G")
    size = int(float(found[1]) * _UNITS[found[2]])
    if not SMALLEST <= size <= LARGEST:
        raise ValueError(f"{text[:40]!r} is {'more than any machine has' if size > LARGEST else 'less than 16M, and nothing would run'}")
    return size


def size_text(size: int) -> str:
    """The size as it could have been typed: `4G`, `1536M`."""
    for unit in "tgmk":
        if size % _UNITS[unit] == 0:
            return f"{size // _UNITS[unit]}{unit.upper()}"
    return str(size)


def _size(value: object) -> object:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return parse_size(str(value)) if isinstance(value, str) or is_number else value


def _number(value: object) -> object:
    if not isinstance(value, str):
        return value
    if not re.fullmatch(r"\d{1,4}(\.\d{1,9})?", value.strip()):
        raise ValueError(f"{value[:40]!r} is no number of processors: write 2, or 0.5 for half of one")
    return float(value)


Bytes = Annotated[int, Field(strict=True), BeforeValidator(_size)]
Cpus = Annotated[float, Field(ge=0.01, le=1024, allow_inf_nan=False), BeforeValidator(_number)]
