"""Lines of a log that come again and again: trouble that lasts is told when it begins, and then less and less often. Pure."""

from dataclasses import dataclass

_FIRST, _LONGEST = 60.0, 3600.0  # seconds for which a line is not told again
_FORGOTTEN = 600.0  # seconds without it, after which it is a new one
_MOST = 200  # lines that are remembered


@dataclass(slots=True)
class _Line:
    told: float
    last: float
    pause: float = _FIRST
    unsaid: int = 0


class Repeats:
    """What a log was told before."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}

    def words(self, text: str, now: float) -> str | None:
        """What is to be written of a line at the instant `now`, in seconds; None where that is nothing."""
        line = self._lines.pop(text, None)
        if line is None or now - line.last > max(_FORGOTTEN, 2 * line.pause):
            line = _Line(now, now)
            said: str | None = text
        elif now - line.told < line.pause:
            line.unsaid, line.last, said = line.unsaid + 1, now, None
        else:
            said = f"{text} (and {line.unsaid} times since it was told last)" if line.unsaid else text
            line = _Line(now, now, min(2 * line.pause, _LONGEST))
        self._lines[text] = line
        if len(self._lines) > _MOST:
            del self._lines[next(iter(self._lines))]
        return said
