"""Money, sizes and numbers of things in words, the same everywhere. Standard library only, since fast commands use it."""


def money(amount: float, *, is_billed: bool = True) -> str:
    """`$0.42`, `<$0.01`; `~` stands before a list price that nobody may be billed."""
    shown = f"${amount:,.2f}" if amount >= 0.005 or amount <= 0 else "<$0.01"
    return shown if is_billed else f"~{shown}"


def counted(number: int, noun: str) -> str:
    """`1 file`, `2 files`; the noun is given in the singular."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def size_text(number: float) -> str:
    """950 B, 1.2 kB, 34 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            break
        number /= 1000
    return f"{number:.0f} {unit}" if number >= 10 or unit == "B" else f"{number:.1f} {unit}"
