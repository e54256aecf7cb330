"""Instants as text: ISO 8601, as all files and answers have them."""

from datetime import datetime


def parse_instant(text: str) -> datetime | None:
    """An ISO 8601 instant with its zone, None where it is not one."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    return instant if instant.tzinfo is not None else None


def instant_text(at: datetime) -> str:
    """ISO 8601 in UTC with milliseconds and `Z`."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"
