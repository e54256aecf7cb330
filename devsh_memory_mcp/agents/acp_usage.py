"""What a session of an ACP agent has used and cost, as this attempt's share: its cost is told as a sum over the session's life. Pure."""

from devsh_memory_mcp.agents.document import Document, amount, mapping, text

_CURRENCY = "USD"


class Usage:
    """One attempt's. `before` is what the session had cost when it was gone on with."""

    def __init__(self, before: float) -> None:
        self._before = before
        self._total: float | None = None
        self._has_used = False
        self._tokens: dict[str, int] = {}

    def hear(self, update: Document) -> None:
        """A `usage_update`: how full its context is, and the sum of what the session has cost."""
        cost = mapping(update.get("cost"))
        self._has_used = self._has_used or bool(amount(update.get("used")))
        if text(cost, "currency") == _CURRENCY:
            self._total = amount(cost.get("amount"))

    def add(self, tokens: dict[str, int]) -> None:
        """A turn's tokens."""
        for name, value in tokens.items():
            self._tokens[name] = self._tokens.get(name, 0) + value

    @property
    def session_cost_usd(self) -> float | None:
        """The whole session's; not known where it is told to be nothing, since that is also said of models without a price."""
        return None if not self._total and self._has_used else self._total

    @property
    def cost_usd(self) -> float | None:
        """This attempt's."""
        total = self.session_cost_usd
        return None if total is None else round(max(0.0, total - self._before), 6)

    def tokens(self) -> dict[str, int] | None:
        """By our names; None where it told of none."""
        return dict(self._tokens) or None
