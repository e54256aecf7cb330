"""Following an orchestration at a server: its live events, resumed where they broke off, and the waits that ride on them.

A stream that broke is opened again behind the last event that came, with back-off, until the server was away for too long.
"""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass

import anyio
import httpx2

from devsh_memory_mcp.domain.answers import TaskRow, WaitAnswer
from devsh_memory_mcp.domain.instants import parse_instant
from devsh_memory_mcp.domain.names import EVERYONE, HEAD
from devsh_memory_mcp.domain.requests import WaitRequest
from devsh_memory_mcp.errors import Unreachable
from devsh_memory_mcp.faces.http_wire import Wire, raised
from devsh_memory_mcp.ports import Change, Progress

EVENTS = "/api/orchestrate/events/{id}"
AWAY = 120.0  # seconds without the server, after which nobody waits for it any more
PROGRESS_EVERY = 5.0
MAIL = "A message for you has come: read it, then wait again."
_LARGEST = 8 * 1024 * 1024  # bytes of one event
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
_NEWS = frozenset({"message_sent", "agent_needs_input", "task_held"})  # what a wait may end for, beside an end

Data = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Heard:
    """One event as a server tells it; `to` and `sender` are those of a message."""

    change: Change
    to: str | None = None
    sender: str | None = None

    def is_mail_for(self, reader: str) -> bool:
        """Whether it is a message to `reader`."""
        return self.to == reader or (self.to == EVERYONE and self.sender != reader)


async def listen(wire: Wire, orchestration_id: str, after: int, *, away: float = AWAY) -> AsyncIterator[Heard]:
    """Every event behind `after`, once, in order. Unreachable where the server was gone for `away` seconds; what it refuses."""
    seq, pause, lost_at = after, _FIRST_PAUSE, anyio.current_time()
    while True:
        try:
            async with aclosing(_stream(wire, orchestration_id, seq)) as stream:  # type: ignore[type-var]
                async for event in stream:
                    pause, lost_at = _FIRST_PAUSE, anyio.current_time()
                    if event.event == "change" and (heard := _heard(event.json())) is not None and heard.change.seq > seq:
                        seq = heard.change.seq
                        yield heard
                    lost_at = anyio.current_time()
        except Unreachable:
            if anyio.current_time() - lost_at > away:
                raise
        await anyio.sleep(random.uniform(pause / 2, pause))  # everybody lost it at the same instant
        pause = min(pause * 2, _LONGEST_PAUSE)


async def _stream(wire: Wire, orchestration_id: str, seq: int) -> AsyncIterator[httpx2.ServerSentEvent]:
    """One connection's events, until it ends. Unreachable where it breaks."""
    async with wire.opened(EVENTS, orchestration_id, {"view": "changes", "since": str(seq)}) as response:
        async for event in httpx2.EventSource(response, max_event_size=_LARGEST):
            if event.event == "error":
                told = event.json()
                raise raised(told if isinstance(told, dict) else {}, 503, wire.address)
            yield event


def _heard(data: object) -> Heard | None:
    """None for what is no event of ours."""
    if not isinstance(data, dict) or not isinstance(data.get("seq"), int):
        return None
    row, at = data.get("task"), parse_instant(str(data.get("at")))
    change = Change(data["seq"], str(data.get("event")), TaskRow.model_validate(row) if row else None, None, at)
    to, sender = data.get("to"), data.get("from")
    return Heard(change, to if isinstance(to, str) else None, sender if isinstance(sender, str) else None)


Ask = Callable[[int], Awaitable[WaitAnswer]]  # the server's answer to the wait, within so many ms


class Waiting:
    """One wait at a server: asked once, and again when the stream tells of something that may end it.

    `reader` is whose mail ends it too, None where the server itself remembers what he was told.
    """

    def __init__(self, request: WaitRequest, ask: Ask, reader: str | None) -> None:
        self._request = request
        self._ask = ask
        self._reader = reader
        self._began = anyio.current_time()
        self._has_mail = False
        self._news = anyio.Event()
        self._failure: Exception | None = None

    async def run(self, heard: AsyncIterator[Heard], progress: Progress | None = None) -> WaitAnswer:
        """The answer. `heard` begins before the first question, so that nothing falls between."""
        answer: WaitAnswer | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._listen, heard)
            try:
                answer = await self._until_over(progress)
            except Exception as error:  # noqa: BLE001  raised below, not out of a group
                self._failure = error
            tasks.cancel_scope.cancel()
        if answer is None:
            raise self._failure or Unreachable()
        return answer.model_copy(update={"wait_duration": self._spent()})

    async def _until_over(self, progress: Progress | None) -> WaitAnswer:
        told_at = -PROGRESS_EVERY
        while True:
            left = max(0, self._request.timeout - self._spent())
            self._news = anyio.Event()
            answer = await self._ask(min(left, 1))
            if self._failure is not None:
                raise self._failure
            if answer.finished or not answer.timed_out or not left:
                return answer
            if self._has_mail:
                return answer.model_copy(update={"timed_out": False, "next": MAIL})
            if progress is not None and self._spent() / 1000 - told_at >= PROGRESS_EVERY:
                told_at = self._spent() / 1000
                await progress(told_at, self._request.timeout / 1000, _line(answer, told_at))
            with anyio.move_on_after(min(left / 1000, PROGRESS_EVERY if progress else left / 1000)):
                await self._news.wait()

    async def _listen(self, heard: AsyncIterator[Heard]) -> None:
        try:
            async with aclosing(heard) as stream:  # type: ignore[type-var]
                async for each in stream:
                    if self._concerns(each):
                        self._news.set()
        except Exception as error:  # noqa: BLE001  raised by who waits, not out of a group
            self._failure = error
            self._news.set()

    def _concerns(self, heard: Heard) -> bool:
        if self._reader is not None and heard.is_mail_for(self._reader):
            self._has_mail = True
        row = heard.change.task
        names = {row.id, row.orchestration_task_id, row.task_run_id} if row else set()
        return heard.change.event in _NEWS or (bool(names & set(self._request.ids)) and row is not None and row.completed_at is not None)

    def _spent(self) -> int:
        return int((anyio.current_time() - self._began) * 1000)


def _line(answer: WaitAnswer, seconds: float) -> str:
    ended = sum(1 for row in answer.tasks if row.completed_at is not None)
    busy = ", ".join(row.id for row in answer.tasks if row.status == "running")
    return f"{ended}/{len(answer.tasks)} done after {seconds:.0f} s{f', running: {busy}' if busy else ''}"[:200]


def reader_of(*, is_shell: bool) -> str | None:
    """Whose mail ends a wait: at a shell, where each command is a new caller to the server, the head's that comes meanwhile."""
    return HEAD if is_shell else None
