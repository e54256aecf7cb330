"""What claude calls the directory in which it keeps the sessions of a project; as 2.1.330 does."""

import re

_LONGEST = 200  # characters, beyond which a number stands for the rest
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def project_name(directory: str) -> str:
    """Of the project in that directory: its path, with a hyphen for every UTF-16 unit that is no ASCII letter or digit."""
    units = directory.encode("utf-16-be", errors="surrogatepass")
    codes = [int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2)]
    name = re.sub("[^a-zA-Z0-9]", "-", "".join(map(chr, codes)))
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}-{_number(codes)}"


def _number(codes: list[int]) -> str:
    """Each unit added to 31 times what was before it, in 32 bits with a sign; without that sign to the base of 36."""
    number = 0
    for code in codes:
        number = (31 * number + code) & 0xFFFFFFFF
    number, digits = min(number, (1 << 32) - number), ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits or "0"
