"""Waiting as a client can bear it: in slices, with progress; a slice's end is an answer, never an error, and cancels no agent."""

from mcp.server.mcpserver import Context

from devsh_memory_mcp.domain.answers import WaitAnswer
from devsh_memory_mcp.domain.requests import WaitRequest
from devsh_memory_mcp.ports import Orchestration, Progress

# How long a call may take, by the beginning of the client's name for itself; None is without bound, since progress keeps it alive.
SLICES: dict[str, int | None] = {"claude-code": None, "codex": 280_000, "": 50_000}

AGAIN = "Not ended yet: call wait_for_agent again with the same arguments."


def slice_of(client: str, timeout: int) -> int:
    """How many ms of `timeout` one call of this client may take."""
    bound = next(bound for prefix, bound in SLICES.items() if client.lower().startswith(prefix))
    return timeout if bound is None else min(timeout, bound)


async def wait_in_slice(orchestration: Orchestration, request: WaitRequest, client: str, context: Context) -> WaitAnswer:
    """One slice of the wait; `timedOut` only where the caller's whole timeout is over."""
    slice_ms = slice_of(client, request.timeout)
    sliced = request if slice_ms == request.timeout else request.model_copy(update={"timeout": slice_ms})
    reporter = Reporter(context.report_progress)
    answer = await orchestration.wait(sliced, reporter.report)
    if answer.finished or not answer.timed_out:
        return answer  # ended, or a message came: the engine has said what to do
    return answer.model_copy(update={"timed_out": sliced is request, "next": AGAIN})


class Reporter:
    """Progress as MCP wants it, always growing, in one line; a client that did not ask for it gets none."""

    def __init__(self, send: Progress) -> None:
        self._send = send
        self._last = -1.0

    async def report(self, done: float, total: float, line: str) -> None:
        """What the engine says, on entry and every few seconds."""
        self._last = max(done, self._last + 1e-6)
        await self._send(self._last, max(total, self._last), line.partition("\n")[0][:200])
