"""What may be removed: checkouts whose work is proved to be safe, and the output of tasks that ended long ago.

Journals and outcomes stay, and so does every checkout of which anything is in doubt: `evidence` says why.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from anyio import to_thread

from devsh_memory_mcp.domain.events import CheckoutRemoved
from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.engine.evidence import Proof, Unproved, prove, repository_of
from devsh_memory_mcp.engine.removal import GOING, measure, open_run, remove
from devsh_memory_mcp.ports import Clock, Decision
from devsh_memory_mcp.shim import rundir
from devsh_memory_mcp.store.journal import FileJournal
from devsh_memory_mcp.store.lock import alone, is_held

KEEP_CHECKOUT = timedelta(hours=24)

_TREES = (rundir.GIT_DIRECTORY, rundir.WORKSPACE_DIRECTORY)
_BUNDLE = "bundle"  # the agent's commits on their way; while they have not arrived it may be the only copy outside of the checkout
_SCRATCH = (rundir.RESERVE_FILE, rundir.PROMPT_FILE, "bundle.log", rundir.SANDBOX_DIRECTORY)
_OUTPUT = (rundir.STDOUT_FILE, rundir.RESULT_FILE, rundir.STDERR_FILE, rundir.SHIM_LOG_FILE, rundir.SETUP_FILE, rundir.VERIFY_FILE)
_RESTS = tuple(f"{name}{GOING}" for name in (*_TREES, rundir.SANDBOX_DIRECTORY))


@dataclass(frozen=True, slots=True)
class Removed:
    """Something that was removed, or would be: sizes in bytes. `kept_in` is where the work is, `failure` what could not go and why."""

    path: Path
    bytes: int
    reason: str
    orchestration_task_id: str
    attempt: int
    kept_in: str | None = None
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """A checkout that is old enough to go and stays."""

    path: Path
    reason: str
    orchestration_task_id: str
    attempt: int


@dataclass(slots=True)
class Collected:
    """What a collection came to; `failures` are sentences on base refs that could not be taken away."""

    removed: list[Removed] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def __iadd__(self, other: "Collected") -> "Collected":
        self.removed += other.removed
        self.kept += other.kept
        self.failures += other.failures
        return self


async def collect(journal: FileJournal, clock: Clock, *, older_than: timedelta = KEEP_CHECKOUT, dry_run: bool = False) -> Collected:
    """Removes, or with `dry_run` only names, what an orchestration no longer needs."""
    state = (await journal.read()).copy()  # the journal's own grows while threads look through this one
    collected = Collected()
    for task in state.tasks.values():
        if not task.is_terminal or task.completed_at is None:
            continue
        for attempt in range(1, task.attempt + 1):  # a thread each, so that nobody has to wait for long who wants to leave
            look = _Look(journal.directory, task, attempt, clock.now(), older_than)
            found = await to_thread.run_sync(look.clear if not dry_run else look.name)
            collected += found
            if look.is_checkout_gone:
                await _tell(journal, task.orchestration_task_id, attempt, look.proof)
    if not dry_run:
        collected.failures += await to_thread.run_sync(forget_bases, state)
    return collected


async def _tell(journal: FileJournal, task_id: str, attempt: int, proof: Proof | None) -> None:
    event = CheckoutRemoved(orchestration_task_id=task_id, attempt=attempt, kept_in=proof.kept_in if proof else None)

    def decide(state: State, _now: datetime) -> Decision[None]:
        return Decision((event,) if attempt in state.tasks[task_id].checkouts else (), None)

    await journal.transact(decide)


class _Look:
    """One ended attempt. `is_checkout_gone` says afterwards that the journal is to be told."""

    def __init__(self, directory: Path, task: Task, attempt: int, now: datetime, older_than: timedelta) -> None:
        self._directory = directory
        self._run = directory / "runs" / task.task_run_id / str(attempt)
        self._task = task
        self._attempt = attempt
        age = now - (task.completed_at or now)
        self._is_old = age >= older_than and not task.spec.keep
        self._is_output_old = age >= max(timedelta(days=task.spec.keep_days), older_than)
        self._kept: list[Kept] = []
        self.proof: Proof | None = None
        self.is_checkout_gone = False

    def name(self) -> Collected:
        """What would go."""
        return self._each(lambda run, found: replace(found, bytes=measure(run, found.path.name)))

    def clear(self) -> Collected:
        """What went."""
        collected = self._each(self._remove)
        trees = [self._run / name for name in _TREES]
        told = self._attempt in self._task.checkouts
        self.is_checkout_gone = told and self._is_old and not self._kept and not any(map(os.path.lexists, trees))
        return collected

    def _each(self, act: Callable[[int, Removed], Removed]) -> Collected:
        try:
            run = open_run(self._directory, self._task.task_run_id, self._attempt)
        except OSError:  # it is not there, or not where we made it
            return Collected()
        try:
            if is_held(self._run / rundir.LOCK_FILE):
                return Collected()
            removed = [act(run, found) for found in self._found(run)]
        finally:
            os.close(run)
        return Collected(removed, self._kept)

    def _remove(self, run: int, found: Removed) -> Removed:
        freed = remove(run, found.path.name)
        told = [f"{name}: {why}" for name, why in freed.failures.items()]
        more = f" and {len(told) - 3} more" if len(told) > 3 else ""
        return replace(found, bytes=freed.bytes, failure=", ".join(told[:3]) + more if told else None)

    def _found(self, run: int) -> Iterator[Removed]:
        there = sorted(os.listdir(run))
        for name in there:
            if name.startswith(_RESTS):
                yield self._going(name, "left over from an earlier removal")
        if self._is_old:
            yield from self._checkout(run, there)
        if self._is_output_old:
            yield from (self._going(name, f"output older than {self._task.spec.keep_days} days") for name in _OUTPUT if name in there)

    def _checkout(self, run: int, there: list[str]) -> Iterator[Removed]:
        trees = [name for name in _TREES if name in there]
        with contextlib.ExitStack() as held:  # for as long as it is being removed, nobody can open it
            if trees:
                self._prove(held, run, trees[-1])
            if self.proof is not None:
                yield from (self._going(name, self.proof.reason, self.proof.kept_in) for name in trees)
        scratch = _SCRATCH if self._kept else (*_SCRATCH, _BUNDLE)
        yield from (self._going(name, "of no use after the end") for name in scratch if name in there)

    def _prove(self, held: contextlib.ExitStack, run: int, name: str) -> None:
        try:
            if not held.enter_context(alone(run, rundir.OPEN_FILE)):
                raise Unproved("somebody has it open")
            self.proof = prove(self._task, self._attempt, self._run)
        except Unproved as error:
            self._keep(name, str(error))
        except OSError as error:
            self._keep(name, f"it cannot be looked through: {error.strerror}")

    def _keep(self, name: str, why: str) -> None:
        self._kept.append(Kept(self._run / name, why, self._task.orchestration_task_id, self._attempt))

    def _going(self, name: str, reason: str, kept_in: str | None = None) -> Removed:
        return Removed(self._run / name, 0, reason, self._task.orchestration_task_id, self._attempt, kept_in)


def forget_bases(state: State) -> list[str]:
    """Takes away what still pins the bases of tasks that are over, as a runner leaves it that was killed; what could not be."""
    ended: dict[str, list[Task]] = {}
    for task in state.tasks.values():
        if task.is_terminal and task.spec.repository is not None:
            ended.setdefault(task.spec.repository.git_directory, []).append(task)
    failures = []
    for tasks in ended.values():
        repository = repository_of(tasks[-1])
        pinned = repository.bases() if repository else frozenset[str]()
        failures += [why for task in tasks if task.task_run_id in pinned and (why := forget_base(task))]
    return failures


def forget_base(task: Task) -> str | None:
    """Takes away the ref that pinned the base for an attempt's checkout; the salvage ref pins what has to last.

    Why it could not be done, else None: it never raises, and is done again by the next collection.
    """
    repository = repository_of(task)
    return repository.forget_base(task.task_run_id) if repository else None
