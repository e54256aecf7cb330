"""What a thread of Codex has used, as differences: it tells sums over its whole life, an earlier attempt's included. Pure."""

from devsh_memory_mcp.agents.document import Document, amount, mapping

_FULL = 100.0  # percent of a limit


class Usage:
    """One attempt's. Codex tells no cost."""

    def __init__(self) -> None:
        self._before: dict[str, int] | None = None
        self._now: dict[str, int] = {}
        self.turns = 0
        self.resets_at: float | None = None  # when the limit that is used up is over, in epoch seconds

    def hear(self, told: Document) -> None:
        """A `tokenUsage`: the sum, and the last request's share of it."""
        total, last = _tokens(mapping(told.get("total"))), _tokens(mapping(told.get("last")))
        if self._before is None:
            self._before = {name: max(0, total[name] - last[name]) for name in total}
        self._now = total
        self.turns += 1

    def hear_limits(self, told: Document) -> None:
        """The `rateLimits` of the account."""
        windows = [mapping(window) for window in (told.get("primary"), told.get("secondary"))]
        ends = [amount(window.get("resetsAt")) for window in windows if (amount(window.get("usedPercent")) or 0) >= _FULL]
        self.resets_at = max(filter(None, ends), default=None)

    def figures(self) -> dict[str, int]:
        """By our names; tokens out of a cache are not counted as input once more."""
        before = self._before or {}
        return {name: max(0, value - before.get(name, 0)) for name, value in self._now.items()} | {"turns": self.turns}


def _tokens(told: Document) -> dict[str, int]:
    given, read, written, made = (
        int(amount(told.get(name)) or 0) for name in ("inputTokens", "cachedInputTokens", "cacheWriteInputTokens", "outputTokens")
    )
    fresh = max(0, given - read - written)
    return {"inputTokens": fresh, "outputTokens": made, "cacheReadTokens": read, "cacheWriteTokens": written}
