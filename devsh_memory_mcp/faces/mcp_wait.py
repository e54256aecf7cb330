"""Waiting as a client can bear it: in slices, with progress; a slice's end is an answer, never an error, and cancels no agent."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from mcp.server.mcpserver import Context

from devsh_memory_mcp.domain.answers import WaitAnswer
from devsh_memory_mcp.domain.requests import WaitRequest
from devsh_memory_mcp.ports import Orchestration, Progress


@dataclass(frozen=True, slots=True)
class Patience:
    """How many ms of a call a client bears, None without bound: where it is sent progress, where it is not, and over HTTP."""

    told: int | None
    silent: int
    over_http: int


# By the beginning of the client's name for itself.
PATIENCE: dict[str, Patience] = {
    # It cuts after 30 minutes as `devsh setup` sets it up, else after 27.8 hours, or MCP_TOOL_TIMEOUT; after 30 minutes of silence, over
    # HTTP 5; and HTTP calls were seen cut at 350 s.
    "claude-code": Patience(told=1_790_000, silent=280_000, over_http=280_000),
    "codex": Patience(told=280_000, silent=280_000, over_http=280_000),  # cuts at 300 s, whatever it is told
    "": Patience(told=50_000, silent=50_000, over_http=50_000),  # 60 s are common
}
_MARGIN = 5_000  # ms before a limit that a client was given by its user

AGAIN = "Not ended yet: call wait_for_agent again with the same arguments."
OVER = "Your timeout is over, the agents work on: call wait_for_agent again, or do something else first."
FORGOTTEN_AFTER = 600.0  # seconds between two calls that are one wait
_REMEMBERED = 100


def bearable(client: str, environment: Mapping[str, str], *, is_told: bool, is_http: bool) -> int | None:
    """How many ms one call of this client may take; None where there is no bound."""
    patience = next(patience for prefix, patience in PATIENCE.items() if client.lower().startswith(prefix))
    if is_http:
        return patience.over_http
    bound = patience.told if is_told else patience.silent
    own = environment.get("MCP_TOOL_TIMEOUT", "") if client.lower().startswith("claude-code") else ""
    if own.isdecimal() and int(own) > 0:
        limit = max(1, int(own) - _MARGIN, int(own) // 2)
        bound = limit if bound is None else min(bound, limit)
    return bound


@dataclass(slots=True)
class Spent:
    """How long one wait has taken so far, over all its calls; those that overlap count once."""

    seconds: float = 0.0
    running: int = 0
    since: float = 0.0
    until: float = 0.0


@dataclass(slots=True)
class Waits:
    """A session's unfinished waits, so that `timeout` is the caller's, however many calls it takes him."""

    _spent: dict[WaitRequest, Spent] = field(default_factory=dict)

    @asynccontextmanager
    async def going_on(self, request: WaitRequest) -> AsyncIterator[int]:
        """Counts what is spent in the block; gives the ms that were spent before it."""
        now = anyio.current_time()
        spent = self._spent.pop(request, None)
        if spent is None or (not spent.running and now - spent.until > FORGOTTEN_AFTER):
            spent = Spent()
        self._spent[request] = spent
        for oldest in [known for known, other in self._spent.items() if not other.running][:-_REMEMBERED]:
            del self._spent[oldest]
        if not spent.running:
            spent.since = now
        spent.running += 1
        try:
            yield round((spent.seconds + now - spent.since) * 1000)
        finally:
            spent.until = anyio.current_time()
            spent.running -= 1
            if not spent.running:
                spent.seconds += spent.until - spent.since

    def forget(self, request: WaitRequest) -> None:
        """The next wait for the same is a new one."""
        self._spent.pop(request, None)


async def wait_in_slices(
    orchestration: Orchestration, request: WaitRequest, waits: Waits, bound: int | None, progress: Progress
) -> WaitAnswer:
    """One call's slice of the wait; `timedOut` only where the caller's whole timeout is over."""
    async with waits.going_on(request) as before:
        left = max(0, request.timeout - before)
        slice_ms = left if bound is None else min(left, bound)
        sliced = request if slice_ms == request.timeout else request.model_copy(update={"timeout": slice_ms})
        answer = await orchestration.wait(sliced, Reporter(progress).report)
    answer = answer.model_copy(update={"wait_duration": before + answer.wait_duration})
    if answer.timed_out and slice_ms < left:
        return answer.model_copy(update={"timed_out": False, "next": AGAIN})
    waits.forget(request)
    return answer.model_copy(update={"next": OVER}) if answer.timed_out else answer


def bound_of(client: str, environment: Mapping[str, str], context: Context) -> int | None:
    """`bearable` for the client and the way over which this call came."""
    request = context.request_context
    return bearable(client, environment, is_told="progress_token" in (request.meta or {}), is_http=request.request is not None)


class Reporter:
    """Progress as MCP wants it, always growing, in one line; a client that did not ask for it gets none."""

    def __init__(self, send: Progress) -> None:
        self._send = send
        self._last = -1.0

    async def report(self, done: float, total: float, line: str) -> None:
        """What the engine says, on entry and every few seconds."""
        self._last = max(done, self._last + 1e-6)
        await self._send(self._last, max(total, self._last), line.partition("\n")[0][:200])
