"""What a broker tells its shim: a line of JSON each, without any value of a header and without a query.

refused: host, why (once for each) · counts: requests, bytesUp, bytesDown, refused (how often by host), limit (status, resetsAt:
with what its provider refused it to the last, None where it did not), the last one

What a provider says of the login is not told here: its answer, as ours in its place, reaches the agent's CLI, whose adapter classes
the failure. Limits are, since most CLIs keep to themselves until when they hold; what one tells itself comes first.
"""

import collections
import json
import os
import time

from devsh_memory_mcp.shim.broker.head import Headers
from devsh_memory_mcp.shim.broker.limit import Limit
from devsh_memory_mcp.shim.broker.reset import limit_told

_MOST_PATHS = 20  # of an API that are limited each by itself, as those of different models
_MOST = 200  # different hosts; an agent that tries thousands is not told of thousands of times


class Facts:
    """Counts, and lines on a pipe."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.requests = self.bytes_up = self.bytes_down = 0
        self._refused: collections.Counter[str] = collections.Counter()
        self._limits: dict[str, Limit] = {}  # by path, until it answers again

    def up(self, count: int) -> None:
        """Bytes that an agent has sent."""
        self.bytes_up += count

    def down(self, count: int) -> None:
        """Bytes that it has got."""
        self.bytes_down += count

    def answered(self, path: str, status: int, headers: Headers) -> None:
        """What a provider has said to a request."""
        limit = limit_told(status, headers, time.time())
        if limit is not None and (path in self._limits or len(self._limits) < _MOST_PATHS):
            self._limits[path] = limit
        elif 200 <= status < 300:
            self._limits.pop(path, None)

    def refuse(self, host: str, why: str) -> None:
        """It wanted to go where it may not."""
        known = host if host in self._refused or len(self._refused) < _MOST else "others"
        self._refused[known] += 1
        if self._refused[known] == 1:
            self._tell("refused", host=host[:260], why=why)

    def counts(self) -> None:
        """All numbers, as the last line: what has been told before may have left too little room for it, so the shim is waited for."""
        os.set_blocking(self._descriptor, True)
        last = max(self._limits.values(), key=lambda limit: limit.resets_at or 0.0, default=None)
        limit = {"status": last.status, "resetsAt": last.resets_at} if last is not None else None
        counts = {"requests": self.requests, "bytesUp": self.bytes_up, "bytesDown": self.bytes_down, "refused": dict(self._refused)}
        self._tell("counts", **counts, limit=limit)

    def _tell(self, kind: str, **values: object) -> None:
        line = json.dumps({"kind": kind, **values}).encode() + b"\n"
        try:
            while line:
                line = line[os.write(self._descriptor, line) :]
        except (BlockingIOError, BrokenPipeError):  # the shim is busy or gone; the counts come at the end
            return
