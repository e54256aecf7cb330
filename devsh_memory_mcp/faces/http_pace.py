"""How often one token may ask: so many requests at once, and then so many a second. What waits or follows counts once."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from devsh_memory_mcp.errors import TooManyRequests

PER_SECOND = 200.0
AT_ONCE = 1000.0
_MOST_KNOWN = 10_000


@dataclass(slots=True)
class _Bucket:
    level: float
    at: float


class Pace:
    """Token buckets, one for each who asks; `clock` says seconds that never step. Of those longest silent nothing is kept."""

    def __init__(self, clock: Callable[[], float], per_second: float = PER_SECOND, at_once: float = AT_ONCE) -> None:
        self._clock = clock
        self._per_second = per_second
        self._at_once = at_once
        self._buckets: OrderedDict[Hashable, _Bucket] = OrderedDict()

    def count(self, who: Hashable) -> None:
        """One request of his; TooManyRequests where he has to wait first."""
        now = self._clock()
        bucket = self._buckets.pop(who, None) or _Bucket(self._at_once, now)
        self._buckets[who] = bucket
        while len(self._buckets) > _MOST_KNOWN:
            self._buckets.popitem(last=False)
        bucket.level = min(self._at_once, bucket.level + (now - bucket.at) * self._per_second)
        bucket.at = now
        if bucket.level < 1:
            raise TooManyRequests(f"This token has asked more than {self._per_second:.0f} times a second.")
        bucket.level -= 1
