"""The attempts of a runner, from the place that each takes to the commit that frees it: launch, letters, reports, end."""

import errno
import os
import random
import time
from contextlib import suppress
from datetime import datetime

import anyio
from anyio import to_thread

from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.engine import endings
from devsh_memory_mcp.engine.briefing import Setting, make_run
from devsh_memory_mcp.engine.desk import TOLD, Attempt, Desk, hold, tell_reports
from devsh_memory_mcp.engine.desks import Desks
from devsh_memory_mcp.engine.heads import Heads
from devsh_memory_mcp.engine.leading import created_by
from devsh_memory_mcp.engine.limits import Limits
from devsh_memory_mcp.engine.refusals import Refusals
from devsh_memory_mcp.engine.vault import Vault
from devsh_memory_mcp.errors import CommitUnknown, JournalDamaged, Unavailable
from devsh_memory_mcp.ports import Backend, Clock, Decide, Decision, Start
from devsh_memory_mcp.shim import rundir
from devsh_memory_mcp.shim.rundir import Letter, Outcome, Run

_TRIES = 60  # at what is refused and may pass, though nothing says so
_PASSES = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
_LAUNCHES = 3  # tries to get a shim as far as its first report


class Attempts:
    """What is done with each attempt; `wake` turns the runner's loop, which decides."""

    def __init__(
        self,
        desks: Desks,
        backend: Backend,
        clock: Clock,
        setting: Setting,
        *,
        vault: Vault,
        refusals: Refusals,
        limits: Limits,
        heads: Heads | None = None,
    ) -> None:
        self._heads = heads
        self._desks = desks
        self._backend = backend
        self._clock = clock
        self._setting = setting
        self._vault = vault
        self._refusals = refusals
        self._limits = limits

    def begin(self, desk: Desk, state: State, task: Task, *, is_inherited: bool = False) -> None:
        """Takes note of the task's current attempt and launches it, or takes up what an earlier runner may have launched.

        OSError where it cannot be said what that one had written.
        """
        if task.orchestration_task_id in desk.attempts:
            return
        directory = desk.attempt_directory(task)
        known = self._known_run(directory)
        attempt = Attempt(
            task.orchestration_task_id,
            task.attempt,
            directory,
            known or make_run(state, task, self._setting),
            last_report=task.last_report,
            has_agent=task.agent_started,
            is_launched=known is not None,
            is_inherited=is_inherited,
            credential=task.spec.credential,
            leads=created_by(task),
            token=self._heads.secrets(state, task) if self._heads else {},
        )
        if self._heads is not None:
            self._heads.begin(attempt)
        desk.pinned.add(task.orchestration_task_id)
        self._desks.add(desk, attempt)
        self._desks.begin(desk, self._launch, desk, attempt)

    def _known_run(self, directory: str) -> Run | None:
        """run.json as it was written before the launch; one that somebody has spoilt is kept aside, and made again."""
        path = f"{directory}/{rundir.RUN_FILE}"
        try:
            return rundir.read_json(path, Run)
        except ValueError as error:
            aside = f"{path}.damaged-{time.time_ns()}"
            os.rename(path, aside)
            self._desks.log(f"{path} cannot be used ({error}); it is kept as {aside}")
            return None

    async def _launch(self, desk: Desk, attempt: Attempt) -> None:
        attempt.is_starting = True
        try:
            started = await self._launched(desk, attempt)
        finally:
            attempt.is_starting = False
        if attempt.is_ending or started is None:
            return
        desk.wake()  # a cancel may have come before there was an inbox
        if started is not Start.STARTED:
            self._desks.release(attempt)
            await self._take_up(desk, attempt, started)
        elif attempt.has_gone:  # quicker than the word that it was there
            await self.finish(desk, attempt)

    async def _launched(self, desk: Desk, attempt: Attempt) -> Start | None:
        is_reported = os.path.exists(f"{attempt.directory}/{rundir.REPORT_FILE}")
        if attempt.has_begun and not is_reported:
            return Start.ALIVE  # its agent has removed the report, and maybe the lock: it must not be started twice
        if not self._vault.has(attempt.credential) and not is_reported:
            await self._hold(desk, attempt)
        if attempt.leads is not None and self._heads is not None and not attempt.is_ending:
            await self._heads.prepare(attempt.leads, again=self._limits.again)
        if attempt.run.checkout is not None and not attempt.is_ending:
            await self._desks.await_turn(attempt)
        if attempt.is_ending:  # cancelled while it stood in line
            self._desks.release(attempt)
            return None
        attempt.is_launched = True
        attempt.launches += 1
        return await self._start(desk, attempt)

    async def _start(self, desk: Desk, attempt: Attempt) -> Start | None:
        """None where it could not be started, which is its end, but for one that an earlier runner may have started."""
        tries = 0
        while True:
            try:
                return await self._backend.start(attempt.directory, attempt.run, {**self._vault.of(attempt.credential), **attempt.token})
            except OSError as error:
                message = f"The attempt could not be started: {error.strerror or error}."
                tries += error.errno not in _PASSES
                if not attempt.is_inherited or (tries >= _TRIES and await self._is_forestalled(attempt)):
                    await self._end_without_shim(desk, attempt, "spawn", message)
                    return None
                if attempt.is_unwanted and await self._is_forestalled(attempt):
                    await self._end_without_shim(desk, attempt, "cancelled", "Cancelled before it began.")
                    return None
                self._desks.log(f"{attempt.directory}: {message}")
                await anyio.sleep(self._limits.again)

    async def _is_forestalled(self, attempt: Attempt) -> bool:
        """Whether nobody has begun it, nor can any more: an earlier runner may have started its shim."""
        try:
            return await self._backend.forestall(attempt.directory)
        except OSError as error:
            self._desks.log(f"{attempt.directory} cannot be closed: {error}")
            return False

    async def _hold(self, desk: Desk, attempt: Attempt) -> None:
        """An earlier runner gave it a place and had not started it: until its credential is lent again it can only be cancelled."""
        attempt.is_launched = False
        while not self._vault.has(attempt.credential) and not await self._tell(desk, attempt, lambda state, _now: hold(state, attempt)):
            await anyio.sleep(self._limits.again)
        await self._vault.arrival(attempt.credential)

    async def _take_up(self, desk: Desk, attempt: Attempt, started: Start) -> None:
        if started is Start.OVER:
            await self.finish(desk, attempt)
            return
        self._desks.begin(desk, self._expect, desk, attempt)
        if attempt.has_agent:
            await self._heed_deadline(attempt)

    async def _expect(self, desk: Desk, attempt: Attempt) -> None:
        """A living shim says hello by itself; one that does not is waited for by its lock."""
        await anyio.sleep(self._limits.hello)
        if attempt.ring is None:
            await self.finish(desk, attempt)

    async def read_reports(self, desk: Desk, attempt: Attempt) -> bool:
        """Commits what the shim has reported since the last time; False where that cannot be done now."""
        try:
            reports = await self._backend.reports(attempt.directory, attempt.last_report)
        except OSError as error:  # which may pass; the orchestration is not given up for it, nor its end held up for ever
            self._desks.log(f"the reports of {attempt.task_id} cannot be read yet: {error}")
            attempt.unreadable += error.errno not in _PASSES
            return attempt.unreadable >= _TRIES
        attempt.unreadable = 0
        if not reports:
            return True
        kinds = {report.type for report in reports}
        if kinds & {"workspace", "agent_started"}:
            self._desks.release(attempt)
        if "agent_started" in kinds and not attempt.is_ending and not attempt.has_agent:
            attempt.has_agent = True
            self._desks.begin(desk, self._heed_deadline, attempt)
        if kinds & TOLD and not await self._tell(desk, attempt, lambda state, _now: tell_reports(state, attempt, reports)):
            return False  # they are read again with the next ring, or at the end
        attempt.last_report = reports[-1].n
        return True

    async def _tell(self, desk: Desk, attempt: Attempt, decide: Decide[None]) -> bool:
        """Commits what is known of the attempt; False where that cannot be done now."""
        try:
            await desk.transact(decide)
        except JournalDamaged:
            raise
        except Unavailable as error:  # a full disk; it runs all the same
            self._desks.log(f"what is known of {attempt.task_id} is not recorded yet: {error}")
            return False
        desk.wake()
        return True

    async def deliver(self, desk: Desk, attempt: Attempt, letters: list[Letter]) -> None:
        """Messages for a running agent; its receipts come as reports."""
        left = []
        for letter in letters:
            try:
                await self._backend.send(attempt.directory, letter)
            except OSError as error:  # a full disk, or an inbox that is being made
                left.append(letter.id)
                self._desks.log(f"message {letter.id} does not reach {attempt.task_id} yet: {error}")
        if attempt.ring is not None:
            attempt.ring()
        if left:
            await anyio.sleep(self._limits.again)
            attempt.sent.difference_update(left)
            desk.wake()

    def hear_end(self, attempt: Attempt) -> None:
        """Its shim has ended, or is about to."""
        desk = self._desks.of(attempt)
        if desk is not None:
            self._desks.begin(desk, self.finish, desk, attempt)

    def hear_exit(self, directory: str) -> None:
        """The shim of that directory has ended."""
        for attempt in self._desks.attempts.values():
            if attempt.directory == directory:
                self.hear_end(attempt)
                return

    async def finish(self, desk: Desk, attempt: Attempt) -> None:
        """The attempt's end: its outcome, read under its lock, becomes one commit; only then is its place free."""
        attempt.has_gone = True
        if attempt.is_busy:
            return
        attempt.is_awaited = True
        try:
            outcome = await self._outcome_of(attempt)
        finally:
            attempt.is_awaited = False
        if attempt.is_ending:
            return
        if outcome is None:  # who was to become its shim died before it was one
            attempt.has_gone = False
            self._desks.release(attempt)
            await self._launch(desk, attempt)
            return
        attempt.is_ending = True
        while not await self.read_reports(desk, attempt):  # what no runner heard: a message it had is none that failed
            await anyio.sleep(self._limits.again)
        self._desks.release(attempt)
        await self._commit_end(desk, attempt, outcome, rebooted=await self._backend.has_rebooted(attempt.directory))

    async def _outcome_of(self, attempt: Attempt) -> Outcome | None:
        tries = 0
        while True:
            try:
                is_given_up = attempt.has_begun or attempt.launches >= _LAUNCHES
                return await self._backend.finish(attempt.directory, attempt.run, recover_unbegun=is_given_up)
            except FileNotFoundError as error:
                return ended(attempt, self._clock.now(), "lost", f"The attempt's directory is gone: {error.filename}.")
            except OSError as error:  # no room for another process, or for its log
                self._desks.log(f"the end of {attempt.directory} cannot be read: {error}")
                tries += error.errno not in _PASSES
                if tries >= _TRIES:
                    await self._backend.kill(attempt.directory)
                    return ended(attempt, self._clock.now(), "lost", f"Its end cannot be read: {error}.")
                await anyio.sleep(self._limits.again)

    async def _end_without_shim(self, desk: Desk, attempt: Attempt, cause: str, message: str) -> None:
        attempt.is_ending = True
        self._desks.release(attempt)
        with suppress(FileNotFoundError):  # or an earlier runner was killed over it
            await to_thread.run_sync(rundir.sweep, attempt.directory)
        await self._commit_end(desk, attempt, ended(attempt, self._clock.now(), cause, message))

    async def _commit_end(self, desk: Desk, attempt: Attempt, outcome: Outcome, *, rebooted: bool = False) -> None:
        jitter = random.random()
        await self._learn(desk, attempt, outcome)  # before its place is free for the next one

        def decide(state: State, now: datetime) -> Decision[None]:
            return endings.end_attempt(state, now, attempt.task_id, outcome, jitter=jitter, rebooted=rebooted)

        while True:
            try:
                await desk.transact(decide)
                break
            except JournalDamaged:
                raise  # nothing will mend it but a person; the outcome stays in its file
            except (Unavailable, CommitUnknown):  # a full or failing disk, which may recover
                await anyio.sleep(self._limits.again)
        for escalation in attempt.escalations:
            escalation.cancel()
        self._desks.drop(desk, attempt)
        if self._heads is not None:
            self._heads.end(attempt)
        desk.wake()

    async def _learn(self, desk: Desk, attempt: Attempt, outcome: Outcome) -> None:
        """What its end says of its login; what waits for that somewhere goes on."""
        spec = (await desk.journal.read()).tasks[attempt.task_id].spec
        if outcome.failure == "auth":
            self._refusals.refuse(spec, self._clock.now())
        elif outcome.succeeded and self._refusals.accept(spec):
            for other in self._desks.working:
                other.wake()

    async def cancel(self, desk: Desk, attempt: Attempt, seq: int) -> None:
        """The request of that number: one that was not launched yet is over at once, the others are written to."""
        attempt.is_unwanted = True
        if not attempt.is_launched:
            await self._end_without_shim(desk, attempt, "cancelled", "Cancelled before it began.")
            return
        if not os.path.isdir(attempt.directory):  # it is being launched this very moment, and turns the loop when it is
            attempt.sent.discard(seq)
            return
        letter = Letter(seq, "cancel")
        is_told = await self._ask_to_end(attempt, letter)
        if attempt.ring is not None:
            attempt.ring()
        await self._escalate(attempt, attempt.run.cancel_grace, None if is_told else letter)

    async def _ask_to_end(self, attempt: Attempt, letter: Letter) -> bool:
        try:
            await self._backend.send(attempt.directory, letter)
        except OSError as error:  # a full disk
            self._desks.log(f"{attempt.task_id} cannot be told of its cancellation: {error}")
            return False
        return True

    async def _heed_deadline(self, attempt: Attempt) -> None:
        """The shim keeps the deadline; this is for one that does not. It counts from the agent's start, whose runner that ever was."""
        if attempt.run.timeout is not None:
            left = max(0.0, attempt.run.timeout - await self._worked(attempt))
            await self._escalate(attempt, left + attempt.run.timeout_grace)

    async def _worked(self, attempt: Attempt) -> float:
        """How many seconds ago its agent started, by the clock that neither steps nor runs while a machine sleeps; 0 of another boot."""
        reports = await self._backend.reports(attempt.directory, 0)
        started = next((report for report in reports if report.type == "agent_started"), None)
        began = started.facts.get("monotonic") if started else None
        if not isinstance(began, float) or await self._backend.has_rebooted(attempt.directory):
            return 0.0
        return max(0.0, self._clock.monotonic() - began)

    async def _escalate(self, attempt: Attempt, grace: float, untold: Letter | None = None) -> None:
        """A shim that does not act in time is killed; its attempt is then recovered like any other.

        One whose agent is gone has acted, and is given the time to save the work. Where it could not be told why, its recovery is.
        """
        with anyio.CancelScope() as scope:
            attempt.escalations.append(scope)
            await anyio.sleep(grace + self._limits.escalation)
            if await self._backend.is_saving(attempt.directory):
                await anyio.sleep(self._limits.saving)
            if untold is not None:
                await self._ask_to_end(attempt, untold)
            await self._backend.kill(attempt.directory)


def ended(attempt: Attempt, now: datetime, cause: str, message: str) -> Outcome:
    """The outcome of an attempt that has no shim to write one."""
    at = now.isoformat()
    numbers = (0, attempt.last_report)  # milliseconds, reports
    return Outcome(rundir.FORMAT, attempt.run.task_run_id, attempt.number, cause, False, at, at, *numbers, error_message=message)
