"""Everything that is watched in a world: its journal by the checker, its shims, and those who wait."""

from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any

import anyio

from devsh_memory_mcp.domain.answers import WaitAnswer
from devsh_memory_mcp.domain.requests import MessageRequest, WaitRequest
from devsh_memory_mcp.errors import Conflict
from tests.simulation.backend import RECOVERY
from tests.simulation.checker import TURN, Checker, hold
from tests.simulation.world import CALLS_WITHIN, LIMITS, World

WEEK = 7 * 24 * 3600.0


@dataclass(eq=False)
class Waiting:
    """Somebody's wait, and its answer once it came."""

    request: WaitRequest
    began: float
    answer: WaitAnswer | None = None
    ended: float = inf


class Watch:
    """`look` takes in what is new and raises Broken where a rule does not hold."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.checker = Checker()
        self.waits: list[Waiting] = []
        self._must_end: set[str] = set()

    def look(self) -> None:
        for event in self.world.news():
            self.checker.take(event)
        now = anyio.current_time()
        self.checker.rest(now)
        for name in self._must_end:
            hold("cancel", self.checker.is_asked_to_end(name), f"{name} was to be cancelled, and nothing says so")
        self._must_end.clear()
        self._look_at_shims(now)
        for wait in list(self.waits):
            self._look_at_wait(wait, now)

    async def wait(self, tasks: anyio.abc.TaskGroup, request: WaitRequest, **caller: Any) -> Waiting:
        """Begins a wait beside everything else."""
        waiting = Waiting(request, anyio.current_time())
        self.waits.append(waiting)
        tasks.start_soon(self._wait, waiting, partial(self.world.face, **caller))
        return waiting

    async def _wait(self, waiting: Waiting, face: Any) -> None:
        waiting.answer = await face().wait(waiting.request)
        waiting.ended = anyio.current_time()

    async def cancel(self, name: str, *, cascade: bool) -> None:
        """Asks for it. What is to end then is told from the lines before; what ends at the same instant is over as well."""
        self.look()
        if not self.checker.tasks[name].is_over:
            self._must_end = {name, *(self.checker.descendants(name) if cascade else ())}
        await self.world.face().cancel(name, cascade=cascade)

    async def message(self, name: str) -> None:
        try:
            await self.world.face().message(MessageRequest(to=name, message="How far are you?"))
        except Conflict:
            self.look()
            task = self.checker.tasks[name]
            hold("message", task.is_over or task.is_script, f"a message to {name} is refused")

    async def write_to_head(self, name: str) -> None:
        """A message of its agent's."""
        task = self.checker.tasks[name]
        await self.world.face(task.run_id).message(MessageRequest(to="head", message="Which of them?"))

    async def read_mail(self) -> None:
        """As a head does: what an answer showed counts as read with the next call."""
        face = self.world.face()
        await face.messages()
        await face.messages()

    async def come_to_an_end(self) -> None:
        """Two weeks go by, and whatever would go on for ever is cancelled."""
        self.look()
        await anyio.sleep(WEEK)
        self.look()
        for name in [name for name, task in self.checker.tasks.items() if not task.is_over]:
            await self.cancel(name, cascade=False)
        await anyio.sleep(WEEK)
        self.look()
        hold("end", all(task.is_over for task in self.checker.tasks.values()), "a task has not ended")
        hold("end", not self.waits, "somebody waits still")

    def _look_at_shims(self, now: float) -> None:
        for task in self.checker.live.values():
            shim = self.world.shim_of(task.run_id, task.live)
            if shim is None:
                continue
            if shim.over_at is not None:
                gone = max(shim.over_at, self.world.replaced_at + LIMITS.hello)
                late = now - gone - RECOVERY - 2 * TURN
                hold("stuck", late <= 0, f"{task.id} lives in the journal {now - shim.over_at} s after its shim has gone")
            since = shim.listens_since
            if since is not None and task.cancel_at == inf:
                since = max(since, self.world.replaced_at + CALLS_WITHIN)
                for number, sent in task.unread.items():
                    hold("message", now - max(since, sent) <= 2 * TURN, f"message {number} does not reach {task.id}")

    def _look_at_wait(self, wait: Waiting, now: float) -> None:
        names, over = wait.request.ids, wait.began + wait.request.timeout / 1000
        ends = [self.checker.tasks[name].ended_at for name in names]
        holds_at = max(wait.began, (min if wait.request.mode == "any" else max)(ends))
        hold("wait", min(now, wait.ended) <= over + 0.01, f"a wait of {wait.request.timeout} ms lasts for {now - wait.began} s")
        hold("wait", min(now, wait.ended) <= holds_at + TURN, f"nobody tells who waits for {names} since {holds_at}")
        if wait.answer is None:
            return
        self.waits.remove(wait)
        answer = wait.answer
        if answer.finished:
            hold("wait", holds_at <= wait.ended and not answer.timed_out, f"{names} are not over, and it is said that they are")
        elif answer.timed_out:
            hold("wait", wait.ended >= over - 0.01, f"a wait was called over {over - wait.ended} s before it was")
        else:
            hold("wait", answer.unread_messages > 0, f"a wait for {names} ended for nothing")
