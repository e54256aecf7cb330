"""The runner's one loop: it reads on, decides, and acts; each attempt's launch and end run beside it and wake it again.

Nothing polls. What wakes the loop is a ring (a face committed, a shim reported), an attempt that began or ended, or the one instant
at which time alone changes what is due.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import anyio
from anyio import to_thread

from devsh_memory_mcp.domain import quota
from devsh_memory_mcp.domain.records import TaskSpec
from devsh_memory_mcp.domain.schedule import LOW_DISK, assess, choose, has_work, waits_for_login
from devsh_memory_mcp.domain.state import State
from devsh_memory_mcp.engine import endings
from devsh_memory_mcp.engine.attempts import Attempts
from devsh_memory_mcp.engine.desk import Desk, hold_back, letters_due, start_attempts
from devsh_memory_mcp.engine.desks import Desks
from devsh_memory_mcp.engine.garbage import forget_base
from devsh_memory_mcp.engine.heads import Heads
from devsh_memory_mcp.engine.limits import Limits
from devsh_memory_mcp.engine.pull_request import open_pull_request
from devsh_memory_mcp.engine.refusals import Refusals
from devsh_memory_mcp.engine.vault import Vault
from devsh_memory_mcp.errors import CommitUnknown, JournalDamaged, Unavailable
from devsh_memory_mcp.ports import Clock, Decision

_BREATH = 0.005  # seconds between two turns, so that a burst of commits is one turn and not one for each
_LOOK_AGAIN = timedelta(seconds=10)  # while there is too little room on the disk, or a login was refused: of neither anybody tells


class Dispatcher:
    """Starts what is due on the desks that have work. `changed` is told of each orchestration that has news."""

    def __init__(
        self,
        root: Path,
        desks: Desks,
        attempts: Attempts,
        clock: Clock,
        *,
        vault: Vault,
        refusals: Refusals,
        limits: Limits,
        changed: Callable[[str], Awaitable[None]],
        heads: Heads | None = None,
    ) -> None:
        self._heads = heads
        self._root = root
        self._desks = desks
        self._attempts = attempts
        self._clock = clock
        self._vault = vault
        self._refusals = refusals
        self._limits = limits
        self._changed = changed
        self._woken = anyio.Event()
        self._dirty: set[str] = set()
        self._limits_of_accounts: dict[str, quota.Limited] = {}  # which any orchestration has run into

    def log(self, text: str) -> None:
        """A line into the runner's log."""
        self._desks.log(text)

    def show(self, orchestration_id: str) -> None:
        """Its views are new: a head that leads it is shown them."""
        if self._heads is not None:
            self._heads.ring(orchestration_id)

    def wake(self, orchestration_id: str) -> None:
        """Something has changed there."""
        self._dirty.add(orchestration_id)
        self._woken.set()

    async def serve(self, is_reachable: Callable[[], bool]) -> None:
        """Works until nothing has been to do for a while, or nobody can reach it any more."""
        while is_reachable():
            self._woken = anyio.Event()
            self._turn()
            await anyio.sleep(_BREATH)
            wake_at = min(filter(None, (desk.look_at for desk in self._desks.working if not desk.is_tended)), default=None)
            with anyio.move_on_after(self._patience(wake_at)) as quiet:
                await self._woken.wait()
            if quiet.cancelled_caught and wake_at is None and not await self._has_work():
                return

    def _patience(self, wake_at: datetime | None) -> float:
        return self._limits.linger if wake_at is None else max(0.0, (wake_at - self._clock.now()).total_seconds())

    async def _has_work(self) -> bool:
        """Whether anything can still happen by itself."""
        if not self._desks.are_settled:
            return True
        working: list[Desk] = []

        async def look(desk: Desk) -> None:
            state = await desk.journal.read()
            if desk.is_tended or has_work(state, self._clock.now()) or desk.views_seq != state.seq:
                working.append(desk)

        for desk in list(self._desks.open.values()):
            if not await self._desks.alone(desk, partial(look, desk)):
                return True
        return bool(working)

    def _turn(self) -> None:
        """Has a look at each desk that has news or whose time has come; one whose disk or lock is slow holds up no other one."""
        now = self._clock.now()
        for desk in self._desks.working:
            has_news = desk.orchestration_id in self._dirty
            if not desk.is_tended and (has_news or (desk.look_at is not None and desk.look_at <= now)):
                self._dirty.discard(desk.orchestration_id)
                desk.is_tended = True
                self._desks.begin(desk, partial(self._tend, desk, has_news=has_news))

    async def _tend(self, desk: Desk, *, has_news: bool) -> None:
        try:
            if has_news:
                await self._tell(desk)
            desk.look_at = await self._act(desk, self._clock.now())
        finally:
            desk.is_tended = False
            self._woken.set()

    async def _tell(self, desk: Desk) -> None:
        """News go to the views, to followers, and as letters to running attempts; what pinned the base of an ended task goes."""
        state = await desk.journal.read()
        for attempt in list(desk.attempts.values()):
            seq = state.tasks[attempt.task_id].cancel_requested
            if seq and seq not in attempt.sent:
                attempt.sent.add(seq)
                self._desks.begin(desk, self._attempts.cancel, desk, attempt, seq)
            letters = letters_due(state, attempt) if attempt.is_launched and not attempt.is_ending else []
            if letters:
                attempt.sent.update(letter.id for letter in letters)
                self._desks.begin(desk, self._attempts.deliver, desk, attempt, letters)
        for task_id in [name for name in desk.pinned if state.tasks[name].is_terminal]:
            desk.pinned.discard(task_id)
            self._desks.begin(desk, to_thread.run_sync, forget_base, state.tasks[task_id])
        for task_id in state.unopened.keys() - desk.opening:
            desk.opening.add(task_id)
            opening = partial(open_pull_request, desk, task_id, seconds=self._limits.pull_request, again=self._limits.again)
            self._desks.begin(desk, opening)
        if self._heads is not None:
            for task_id in state.leaving.keys() - desk.opening:
                desk.opening.add(task_id)
                self._desks.begin(desk, partial(self._heads.settle, desk, task_id, again=self._limits.again))
        desk.views_due.set()
        await self._changed(desk.orchestration_id)

    async def _act(self, desk: Desk, now: datetime) -> datetime | None:
        """Failures that follow, and starts; the instant when there is more to do."""
        state = await desk.journal.read()
        self._limits_of_accounts = quota.merged(self._limits_of_accounts, state.limits)
        found = assess(state, now)
        chosen, again = choose(state, found.ready, now), None
        specs = [task.spec for task in chosen]
        if chosen and self._limits.free(self._root) < LOW_DISK:
            return now + _LOOK_AGAIN
        try:
            if found.doomed:
                await self._settle(desk)
            if quota.unheard(self._limits_of_accounts, state.limits, specs, now):
                await self._tell_limits(desk, specs)
                return now  # with these it is another choice
            lacking = [task for task in chosen if not self._vault.has(task.spec.credential)]
            if lacking and (seconds := self._vault.settles_in):
                chosen = [task for task in chosen if task not in lacking]
                again = now + timedelta(seconds=seconds)
            if chosen or any(task.waiting_for for task in state.unfinished.values()):
                await self._start(desk, [task.orchestration_task_id for task in chosen])
        except (JournalDamaged, CommitUnknown):
            raise  # a start that may be in the journal has to be taken up from there
        except Unavailable as error:  # a full disk, which may recover
            if desk.trouble != str(error):
                self.log(f"{desk.orchestration_id}: {error}")
            desk.trouble = str(error)
            return now + timedelta(seconds=self._limits.again)
        desk.trouble = ""
        of_login = now + _LOOK_AGAIN if waits_for_login(await desk.journal.read()) else None
        return min(filter(None, (again, of_login, found.wake_at)), default=None)

    async def _settle(self, desk: Desk) -> None:
        """Fails what stands behind a failure; normally the failure's own commit did."""
        await desk.transact(lambda state, now: Decision(tuple(endings.doom(state, assess(state, now).doomed)), None))
        self.wake(desk.orchestration_id)

    async def _tell_limits(self, desk: Desk, specs: list[TaskSpec]) -> None:
        """What other orchestrations have run into holds here as well, and is seen here."""
        known = self._limits_of_accounts
        await desk.transact(lambda state, now: Decision(tuple(quota.unheard(known, state.limits, specs, now)), None))
        self.wake(desk.orchestration_id)

    async def _start(self, desk: Desk, task_ids: list[str]) -> None:
        """Starts them, but for those whose credential is not there or no good; what was held for one that came goes on in the next turn."""
        if hold_back(await desk.journal.read(), task_ids, self._clock.now(), self._vault, self._refusals).events:
            held = await desk.transact(lambda state, now: hold_back(state, task_ids, now, self._vault, self._refusals))
            task_ids = held.value
            self.wake(desk.orchestration_id)
        if task_ids:
            await self._begin(desk, task_ids)

    async def _begin(self, desk: Desk, task_ids: list[str]) -> None:
        def decide(state: State, now: datetime) -> Decision[list[str]]:
            # Chosen once more: somebody may have lowered the number of places since.
            chosen = {task.orchestration_task_id for task in choose(state, assess(state, now).ready, now)}
            return start_attempts(state, task_ids, lambda task: task.orchestration_task_id in chosen)

        committed = await desk.transact(decide)
        state = await desk.journal.read()
        for task_id in committed.value:
            self._attempts.begin(desk, state, state.tasks[task_id])
        self.wake(desk.orchestration_id)
