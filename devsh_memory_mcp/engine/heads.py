"""The heads among a runner's agents: what is there before one starts, what it is told of its orchestration, and what its end settles."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import anyio
from anyio import to_thread

from devsh_memory_mcp.domain.events import LeadershipEnded, OrchestrationCreated
from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.engine import leading
from devsh_memory_mcp.engine.desk import Attempt, Desk
from devsh_memory_mcp.engine.desks import Desks
from devsh_memory_mcp.engine.instructions import open_led
from devsh_memory_mcp.errors import DevshError, NotFound
from devsh_memory_mcp.ports import Clock, Decision
from devsh_memory_mcp.shim.rundir import TOKEN_VARIABLE
from devsh_memory_mcp.store.journal import FileJournal
from devsh_memory_mcp.store.root import MemoryRoot

LONGEST = timedelta(days=7)  # of an agent without a time limit
_BEFORE = timedelta(minutes=30)  # for the checkout and the setup, before its time counts
_VIEWS_WITHIN = 5.0  # seconds
Mint = Callable[[State, Task, timedelta], str]  # a token for a task's current attempt, good for so long


class Heads:
    """What a runner does for them. `hear_of` opens an orchestration, or tells its desk that it has news."""

    def __init__(self, root: MemoryRoot, desks: Desks, clock: Clock, hear_of: Callable[[str], Awaitable[None]], mint: Mint | None) -> None:
        self._root = root
        self._desks = desks
        self._clock = clock
        self._hear_of = hear_of
        self._mint = mint
        self._live: set[tuple[str, int]] = set()
        self.wanted = anyio.Event()  # as long as there are some
        self.unwanted = anyio.Event()

    def begin(self, attempt: Attempt) -> None:
        """Takes note of an attempt; most are no heads."""
        if attempt.run.head is not None:
            self._live.add(attempt.key)
            self.unwanted = anyio.Event() if self.unwanted.is_set() else self.unwanted
            self.wanted.set()

    def end(self, attempt: Attempt) -> None:
        """It has ended."""
        self._live.discard(attempt.key)
        if not self._live and self.wanted.is_set():
            self.wanted = anyio.Event()
            self.unwanted.set()

    async def prepare(self, created: OrchestrationCreated, *, again: float) -> None:
        """What a head leads is there, and shown, before the head is: whoever spawned it may have been killed over that."""
        while True:
            try:
                await to_thread.run_sync(open_led, self._root, created)
                break
            except (DevshError, OSError) as error:
                self._desks.log(f"{created.orchestration_id}, for which a head is to start, cannot be made yet: {error}")
                await anyio.sleep(again)
        await self._hear_of(created.orchestration_id)
        desk = self._desks.open.get(created.orchestration_id)
        if desk is not None:
            with anyio.move_on_after(_VIEWS_WITHIN):
                await desk.has_views.wait()

    def ring(self, orchestration_id: str) -> None:
        """Its files are newer: whoever leads it is shown them."""
        for attempt in self._desks.attempts.values():
            if attempt.run.head is not None and attempt.run.head.orchestration_id == orchestration_id and attempt.ring is not None:
                attempt.ring()

    def secrets(self, state: State, task: Task) -> dict[str, str]:
        """The variables of an attempt that stand in no file: its token, good until it has ended, at most for its time."""
        if self._mint is None:
            return {}
        limit = task.spec.timeout_ms
        try:
            return {TOKEN_VARIABLE: self._mint(state, task, timedelta(milliseconds=limit) + _BEFORE if limit else LONGEST)}
        except (DevshError, OSError, ValueError) as error:  # of the user's own configuration; agents work without one
            self._desks.log(f"an agent goes without a token: {error}")
            return {}

    async def settle(self, desk: Desk, task_id: str, *, again: float) -> None:
        """A head has ended: what it led is told so, and what is to end with it is cancelled. A repeat does it once."""
        while True:
            try:
                task = (await desk.journal.read()).tasks[task_id]
                await self._tell(task)
                break
            except (DevshError, OSError) as error:
                self._desks.log(f"the end of {task_id}, which was a head, is not told yet: {error}")
                await anyio.sleep(again)
        led = task.spec.leads
        ended = LeadershipEnded(orchestration_task_id=task_id, orchestration_id=led.orchestration_id if led else "")
        await desk.transact(lambda state, _now: Decision((ended,) if task_id in state.leaving else (), None))
        desk.wake()

    async def _tell(self, task: Task) -> None:
        led = task.spec.leads
        if led is None:
            return
        try:
            found = await to_thread.run_sync(self._root.get, led.orchestration_id)
        except NotFound:  # it ended before it led anything
            return
        journal = FileJournal(found.directory, self._clock)
        try:
            await journal.transact(lambda state, _now: leading.leave(state, task))
        finally:
            with anyio.CancelScope(shield=True):
                await journal.aclose()
        await self._hear_of(led.orchestration_id)
