"""What a broker tells its shim: a line of JSON each, without any value of a header and without a query.

refused: host, why (once for each) · auth: provider, status, why · rate_limit: provider, status, retryAfter (seconds or None) ·
counts: requests, bytesUp, bytesDown, refused (how often by host), the last one
"""

import collections
import json
import os

from devsh_memory_mcp.shim.broker.head import Response

_MOST = 200  # different hosts, and lines of other kinds; an agent that tries thousands is not told of thousands of times
_FRACTION = 1000


class Facts:
    """Counts, and lines on a pipe."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._standing: dict[str, str] = {}
        self.requests = self.bytes_up = self.bytes_down = 0
        self._refused: collections.Counter[str] = collections.Counter()

    def up(self, count: int) -> None:
        """Bytes that an agent has sent."""
        self.bytes_up += count

    def down(self, count: int) -> None:
        """Bytes that it has got."""
        self.bytes_down += count

    def refuse(self, host: str, why: str) -> None:
        """It wanted to go where it may not."""
        known = host if host in self._refused or len(self._refused) < _MOST else "others"
        self._refused[known] += 1
        if self._refused[known] == 1:
            self._tell("refused", host=host[:260], why=why)

    def answer(self, provider: str, response: Response) -> None:
        """What a provider's answer says of the login and its limits; each state once."""
        if response.status == 401:
            self.no_login(provider, "the provider refused the credential", 401)
        elif response.status == 429:
            self._stand(provider, "rate_limit", status=429, retryAfter=retry_after(response))
        elif response.status < 400:
            self._standing.pop(provider, None)

    def no_login(self, provider: str, why: str, status: int | None = None) -> None:
        """There is no credential that the provider takes."""
        self._stand(provider, "auth", status=status, why=why)

    def counts(self) -> None:
        """All numbers, as the last line: what has been told before may have left too little room for it, so the shim is waited for."""
        os.set_blocking(self._descriptor, True)
        self._tell("counts", requests=self.requests, bytesUp=self.bytes_up, bytesDown=self.bytes_down, refused=dict(self._refused))

    def _stand(self, provider: str, kind: str, **values: object) -> None:
        standing = json.dumps([kind, values])
        if self._standing.get(provider) != standing:
            self._standing[provider] = standing
            self._tell(kind, provider=provider, **values)

    def _tell(self, kind: str, **values: object) -> None:
        line = json.dumps({"kind": kind, **values}).encode() + b"\n"
        try:
            while line:
                line = line[os.write(self._descriptor, line) :]
        except (BlockingIOError, BrokenPipeError):  # the shim is busy or gone; the counts come at the end
            return


def retry_after(response: Response) -> float | None:
    """Seconds until the provider wants to be asked again; None where it does not say it in seconds."""
    for name, unit in (("retry-after-ms", _FRACTION), ("retry-after", 1)):
        value = response.find(name)
        if value is not None and value.replace(".", "", 1).isdecimal():
            return min(float(value) / unit, 30 * 86400.0)
    return None
