"""The runner's one loop: it reads on, decides, and acts; each attempt's launch and end run beside it and wake it again.

Nothing polls. What wakes the loop is a ring (a face committed, a shim reported), an attempt that began or ended, or the one instant
at which time alone changes what is due.
"""

import os
import random
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from devsh_memory_mcp.domain.schedule import LOW_DISK, Queue, assess, choose, has_work, live_count
from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.engine import endings
from devsh_memory_mcp.engine.briefing import make_run
from devsh_memory_mcp.engine.desk import Attempt, Desk, start_attempts, tell_started
from devsh_memory_mcp.engine.garbage import forget_base
from devsh_memory_mcp.engine.limits import Limits
from devsh_memory_mcp.errors import CommitUnknown, Unavailable
from devsh_memory_mcp.ports import Backend, Clock, Decision, Start
from devsh_memory_mcp.shim import rundir
from devsh_memory_mcp.shim.rundir import Letter, Outcome, Run

LAUNCHING = 4  # checkouts that are made at the same time
_BREATH = 0.001  # seconds between two turns, so that a burst of commits is one turn and not one for each
_LOOK_AGAIN = 10.0  # seconds, while there is too little room on the disk


class Dispatcher:
    """Starts what is due on the desks that have work, and commits how it ended."""

    def __init__(
        self,
        tasks: TaskGroup,
        root: Path,
        backend: Backend,
        clock: Clock,
        *,
        socket: str,
        command: tuple[str, ...],
        changed: Callable[[str], Awaitable[None]],
        limits: Limits,
    ) -> None:
        self._root = root
        self._backend = backend
        self._clock = clock
        self._socket = socket
        self._command = command
        self._changed = changed
        self._limits = limits
        self._tasks = tasks
        self._launching = anyio.Semaphore(LAUNCHING)
        self._woken = anyio.Event()
        self._dirty: set[str] = set()
        self.desks: dict[str, Desk] = {}
        self.attempts: dict[tuple[str, int], Attempt] = {}

    def log(self, text: str) -> None:
        """A line into the runner's log, for what nobody waits to be told."""
        print(f"{self._clock.now():%Y-%m-%dT%H:%M:%SZ} {text}", file=sys.stderr, flush=True)  # noqa: T201

    def wake(self, orchestration_id: str) -> None:
        """Something has changed there."""
        self._dirty.add(orchestration_id)
        self._woken.set()

    async def serve(self) -> None:
        """Works until nothing has been to do for a while."""
        while True:
            self._woken = anyio.Event()
            dirty, self._dirty = self._dirty, set()
            wake_at = await self._act(dirty)
            await anyio.sleep(_BREATH)
            with anyio.move_on_after(self._patience(wake_at)) as quiet:
                await self._woken.wait()
            if quiet.cancelled_caught and wake_at is None and not await self.has_work():
                return

    def _patience(self, wake_at: datetime | None) -> float:
        return self._limits.linger if wake_at is None else max(0.0, (wake_at - self._clock.now()).total_seconds())

    async def has_work(self) -> bool:
        """Whether anything can still happen by itself."""
        for desk in self.desks.values():
            state = await desk.journal.read()
            if has_work(state, self._clock.now()) or desk.views_seq != state.seq:
                return True
        return False

    async def _act(self, dirty: set[str]) -> datetime | None:
        """One turn: letters to running attempts, failures that follow, starts; the instant when to look again."""
        now = self._clock.now()
        for orchestration_id in dirty & self.desks.keys():
            await self._tend(self.desks[orchestration_id])
            self.desks[orchestration_id].views_due.set()
            await self._changed(orchestration_id)
        queues: list[Queue] = []
        instants: list[datetime | None] = []
        for desk in self.desks.values():
            state = await desk.journal.read()
            found = assess(state, now)
            instants.append(found.wake_at)
            if found.doomed and not await self._try(desk, self._settle(desk)):
                instants.append(now + timedelta(seconds=self._limits.again))
            if found.ready:
                queues.append(Queue(state.orchestration_id, found.ready, live_count(state), state.max_concurrent))
        if queues and self._limits.free(self._root) < LOW_DISK:
            instants.append(now + timedelta(seconds=_LOOK_AGAIN))
        elif not await self._start(queues, now):
            instants.append(now + timedelta(seconds=self._limits.again))
        return min(filter(None, instants), default=None)

    async def _try(self, desk: Desk, work: Awaitable[None]) -> bool:
        """Whether the work on one orchestration could be done; a disk that is full, or a damaged journal, holds up no other one."""
        try:
            await work
        except Unavailable as error:
            if desk.trouble != str(error):
                self.log(f"{desk.orchestration_id}: {error}")
            desk.trouble = str(error)
            return False
        desk.trouble = ""
        return True

    async def _settle(self, desk: Desk) -> None:
        """Fails what stands behind a failure; normally the failure's own commit did."""
        await desk.transact(lambda state, now: Decision(tuple(endings.doom(state, assess(state, now).doomed)), None))
        self.wake(desk.orchestration_id)

    async def _start(self, queues: list[Queue], now: datetime) -> bool:
        taken = sum(len(desk.attempts) for desk in self.desks.values())
        places = max((queue.limit for queue in queues), default=0) - taken
        done = True
        for orchestration_id, tasks in choose(queues, now, places).items():
            desk = self.desks[orchestration_id]
            if tasks and not await self._try(desk, self._begin(desk, [task.orchestration_task_id for task in tasks])):
                done = False
        return done

    async def _begin(self, desk: Desk, task_ids: list[str]) -> None:
        def decide(state: State, now: datetime) -> Decision[list[str]]:
            ready = {task.orchestration_task_id for task in assess(state, now).ready}
            return start_attempts(state, task_ids, lambda task: task.orchestration_task_id in ready)

        committed = await desk.transact(decide)
        state = await desk.journal.read()
        for task_id in committed.value:
            self._tasks.start_soon(self._launch, desk, self.attach(desk, state, state.tasks[task_id]))
        self.wake(state.orchestration_id)

    def attach(self, desk: Desk, state: State, task: Task) -> Attempt:
        """Takes note of the task's current attempt; its place is held until its end is committed."""
        directory = desk.attempt_directory(task)
        run = rundir.read_json(f"{directory}/{rundir.RUN_FILE}", Run) or make_run(
            state, task, root=self._root, socket=self._socket, runner_command=self._command
        )
        attempt = Attempt(
            task.orchestration_task_id, task.attempt, directory, run, last_report=task.last_report, has_agent=task.agent_started
        )
        desk.attempts[task.orchestration_task_id] = attempt
        desk.pinned.add(task.orchestration_task_id)
        self.attempts[attempt.key] = attempt
        return attempt

    async def _launch(self, desk: Desk, attempt: Attempt) -> None:
        if attempt.run.checkout is not None:
            await self._launching.acquire()
            attempt.is_launching = True
        try:
            started = await self._backend.start(attempt.directory, attempt.run)
        except OSError as error:
            self._release(attempt)
            message = f"The attempt could not be started: {error.strerror or error}."
            await self._commit_end(desk, attempt, _ended(attempt, self._clock.now(), "spawn", message))
            return
        self.wake(attempt.run.orchestration_id)  # a cancel may have come before there was an inbox
        if started is Start.STARTED:
            return
        self._release(attempt)  # nothing is being made any more
        if started is Start.OVER:
            await self.finish(desk, attempt)
            return
        self._tasks.start_soon(self._expect, desk, attempt)
        if attempt.has_agent:
            await self._heed_deadline(attempt)

    async def adopt(self, desk: Desk, state: State) -> None:
        """Takes up the attempts of an earlier runner: those never launched, those whose shims live, those that are over."""
        desk.pinned.update(task.orchestration_task_id for task in state.unfinished.values() if task.checkouts)
        for task in state.unfinished.values():
            if task.live_attempt:
                self._tasks.start_soon(self._launch, desk, self.attach(desk, state, task))

    async def _expect(self, desk: Desk, attempt: Attempt) -> None:
        """A living shim says hello by itself; one that does not is waited for by its lock."""
        await anyio.sleep(self._limits.hello)
        if attempt.ring is None:
            await self.finish(desk, attempt)

    def _release(self, attempt: Attempt) -> None:
        if attempt.is_launching:
            attempt.is_launching = False
            self._launching.release()

    async def read_reports(self, desk: Desk, attempt: Attempt) -> None:
        """Commits what the shim has reported since the last time."""
        reports = await self._backend.reports(attempt.directory, attempt.last_report)
        if not reports:
            return
        if any(report.type == "agent_started" for report in reports):
            self._release(attempt)
            self._tasks.start_soon(self._heed_deadline, attempt)
            try:
                await desk.transact(lambda state, _now: tell_started(state, attempt, reports))
            except Unavailable as error:
                self.log(f"the start of {attempt.task_id} is not recorded: {error}")
            self.wake(attempt.run.orchestration_id)
        attempt.last_report = reports[-1].n

    def hear_end(self, attempt: Attempt) -> None:
        """Its shim's connection has ended, so the shim has, or is about to."""
        self._tasks.start_soon(self.finish, self.desks[attempt.run.orchestration_id], attempt)

    def hear_exit(self, directory: str) -> None:
        """The shim of that directory, a child of this process, has ended."""
        for attempt in self.attempts.values():
            if attempt.directory == directory:
                self.hear_end(attempt)
                return

    async def finish(self, desk: Desk, attempt: Attempt) -> None:
        """The attempt's end: its outcome, read under its lock, becomes one commit; only then is its place free."""
        if attempt.is_ending:
            return
        attempt.is_ending = True
        self._release(attempt)
        outcome = await self._outcome_of(attempt)
        await self._commit_end(desk, attempt, outcome, rebooted=await self._backend.has_rebooted(attempt.directory))

    async def _outcome_of(self, attempt: Attempt) -> Outcome:
        while True:
            try:
                return await self._backend.finish(attempt.directory, attempt.run)
            except FileNotFoundError as error:
                return _ended(attempt, self._clock.now(), "lost", f"The attempt's directory is gone: {error.filename}.")
            except OSError as error:  # no room for another process, or for its log
                self.log(f"the end of {attempt.directory} cannot be read: {error}")
                await anyio.sleep(self._limits.again)

    async def _commit_end(self, desk: Desk, attempt: Attempt, outcome: Outcome, *, rebooted: bool = False) -> None:
        jitter = random.random()

        def decide(state: State, now: datetime) -> Decision[None]:
            return endings.end_attempt(state, now, attempt.task_id, outcome, jitter=jitter, rebooted=rebooted)

        while True:
            try:
                await desk.transact(decide)
                break
            except (Unavailable, CommitUnknown):  # a full or failing disk; the outcome stays in its file meanwhile
                await anyio.sleep(self._limits.again)
        for escalation in attempt.escalations:
            escalation.cancel()
        desk.attempts.pop(attempt.task_id, None)
        self.attempts.pop(attempt.key, None)
        self.wake(attempt.run.orchestration_id)

    async def _tend(self, desk: Desk) -> None:
        """Letters to the running attempts; what pinned the base of a task that is over goes."""
        state = await desk.journal.read()
        for task_id in [name for name in desk.pinned if state.tasks[name].is_terminal]:
            desk.pinned.discard(task_id)
            self._tasks.start_soon(to_thread.run_sync, forget_base, state.tasks[task_id])
        for attempt in list(desk.attempts.values()):
            task = state.tasks[attempt.task_id]
            if task.cancel_requested and task.cancel_requested not in attempt.sent:
                attempt.sent.add(task.cancel_requested)
                self._tasks.start_soon(self._cancel, attempt, task.cancel_requested)

    async def _cancel(self, attempt: Attempt, seq: int) -> None:
        if not os.path.isdir(attempt.directory):  # not launched yet: run.json will say it
            attempt.sent.discard(seq)
            return
        try:
            await self._backend.send(attempt.directory, Letter(seq, "cancel"))
        except OSError as error:  # a full disk; a shim that cannot be told is ended below, and its recovery reads the journal's wish
            self.log(f"{attempt.task_id} cannot be told of its cancellation: {error}")
        if attempt.ring is not None:
            attempt.ring()
        await self._escalate(attempt, attempt.run.cancel_grace)

    async def _heed_deadline(self, attempt: Attempt) -> None:
        """The shim keeps the deadline; this is for one that does not."""
        if attempt.run.timeout is not None:
            await self._escalate(attempt, attempt.run.timeout + attempt.run.timeout_grace)

    async def _escalate(self, attempt: Attempt, grace: float) -> None:
        """A shim that does not act in time is killed; its attempt is then recovered like any other.

        One whose agent is gone has acted, and is given the time to save the work.
        """
        with anyio.CancelScope() as scope:
            attempt.escalations.append(scope)
            await anyio.sleep(grace + self._limits.escalation)
            if await self._backend.is_saving(attempt.directory):
                await anyio.sleep(self._limits.saving)
            await self._backend.kill(attempt.directory)


def _ended(attempt: Attempt, now: datetime, cause: str, message: str) -> Outcome:
    at = now.isoformat()
    return Outcome(rundir.FORMAT, attempt.run.task_run_id, attempt.number, cause, False, at, at, 0, 0, error_message=message)
