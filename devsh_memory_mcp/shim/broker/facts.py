"""What a broker tells its shim: a line of JSON each, without any value of a header and without a query.

refused: host, why (once for each) · counts: requests, bytesUp, bytesDown, refused (how often by host), the last one

What a provider says of the login and its limits is not told here: its answer, as ours in its place, reaches the agent's CLI, whose
adapter classes the failure (auth, rate_limit) and says when to come again. Told twice it would have to agree.
"""

import collections
import json
import os

_MOST = 200  # different hosts; an agent that tries thousands is not told of thousands of times


class Facts:
    """Counts, and lines on a pipe."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
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

    def counts(self) -> None:
        """All numbers, as the last line: what has been told before may have left too little room for it, so the shim is waited for."""
        os.set_blocking(self._descriptor, True)
        self._tell("counts", requests=self.requests, bytesUp=self.bytes_up, bytesDown=self.bytes_down, refused=dict(self._refused))

    def _tell(self, kind: str, **values: object) -> None:
        line = json.dumps({"kind": kind, **values}).encode() + b"\n"
        try:
            while line:
                line = line[os.write(self._descriptor, line) :]
        except (BlockingIOError, BrokenPipeError):  # the shim is busy or gone; the counts come at the end
            return
