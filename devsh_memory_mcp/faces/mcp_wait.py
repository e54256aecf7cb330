"""Waiting as a client can bear it: in slices, with progress; a slice's end is an answer, never an error, and cancels no agent."""

import time
from collections.abc import Callable

import anyio
from mcp.server.mcpserver import Context

from devsh_memory_mcp.domain.answers import WaitAnswer
from devsh_memory_mcp.domain.requests import WaitRequest
from devsh_memory_mcp.ports import Orchestration, Progress

# How long a call may take, by the beginning of the client's name for itself; None is without bound, since progress keeps it alive.
SLICES: dict[str, int | None] = {"claude-code": None, "codex": 280_000, "": 50_000}

PROGRESS_SECONDS = 5.0
AGAIN = "Not ended yet: call wait_for_agent again with the same arguments."


def slice_of(client: str, timeout: int) -> int:
    """How many ms of `timeout` one call of this client may take."""
    bound = next(bound for prefix, bound in SLICES.items() if client.lower().startswith(prefix))
    return timeout if bound is None else min(timeout, bound)


async def wait_in_slice(orchestration: Orchestration, request: WaitRequest, client: str, context: Context) -> WaitAnswer:
    """One slice of the wait; `timedOut` only where the caller's whole timeout is over."""
    slice_ms = slice_of(client, request.timeout)
    sliced = request if slice_ms == request.timeout else request.model_copy(update={"timeout": slice_ms})
    answer = await _watched(orchestration, sliced, context)
    if answer.finished:
        return answer
    if sliced is not request and answer.timed_out:
        answer = answer.model_copy(update={"timed_out": False})
    return answer if answer.next else answer.model_copy(update={"next": AGAIN})


async def _watched(orchestration: Orchestration, request: WaitRequest, context: Context) -> WaitAnswer:
    """The wait itself, reported on; the SDK drops the reports of a client that did not ask for progress."""
    if request.timeout == 0:
        return await orchestration.wait(request)
    reporter = Reporter(context.report_progress, len(request.ids))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reporter.tick)
        answer = await orchestration.wait(request, reporter.report)
        tasks.cancel_scope.cancel()
    return answer


class Reporter:
    """Progress as MCP wants it: always growing, on entry, at each change and after five silent seconds."""

    def __init__(self, send: Progress, total: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._send = send
        self._total = total
        self._monotonic = monotonic
        self._begun = self._last_sent = monotonic()
        self._value = -1.0
        self._done = 0.0
        self._line = ""

    async def report(self, done: float, total: float, line: str) -> None:
        """What the engine says; passed on where it is news."""
        is_news = done != self._done or not self._line or self._silent_for() >= PROGRESS_SECONDS
        self._done, self._total, self._line = done, total, line
        if is_news:
            await self._pass_on(line)

    async def tick(self) -> None:
        """Says something on entry, and whenever nothing was said for five seconds; without end."""
        await self._pass_on(self._line or f"0/{self._total:g} done")
        while True:
            await anyio.sleep(max(0.05, PROGRESS_SECONDS - self._silent_for()))
            if self._silent_for() >= PROGRESS_SECONDS:
                await self._pass_on(f"{self._line or f'0/{self._total:g} done'} (waiting {self._monotonic() - self._begun:.0f} s)")

    def _silent_for(self) -> float:
        return self._monotonic() - self._last_sent

    async def _pass_on(self, line: str) -> None:
        self._last_sent = self._monotonic()
        self._value = max(self._done, self._value + 1e-6)
        await self._send(self._value, self._total, line[:200])
