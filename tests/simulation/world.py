"""One orchestration at simulated time: the real dispatcher, attempts, service and journal over scripted agents.

What threads do elsewhere is done in place, so that time stands still meanwhile and a run is the same each time. A commit takes its
time, so that others come in between.
"""

import json
import os
import random
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import lowlevel, to_thread

from devsh_memory_mcp.config import Caller
from devsh_memory_mcp.domain.events import OrchestrationCreated
from devsh_memory_mcp.domain.names import ALPHABET
from devsh_memory_mcp.engine import preparation
from devsh_memory_mcp.engine.attempts import Attempts
from devsh_memory_mcp.engine.briefing import Setting
from devsh_memory_mcp.engine.desk import Desk, Fenced
from devsh_memory_mcp.engine.desks import Desks
from devsh_memory_mcp.engine.dispatch import Dispatcher
from devsh_memory_mcp.engine.limits import Limits
from devsh_memory_mcp.engine.refusals import Refusals
from devsh_memory_mcp.engine.service import LocalOrchestration
from devsh_memory_mcp.engine.site import Site
from devsh_memory_mcp.engine.vault import Vault
from devsh_memory_mcp.ports import Committed, Decide
from devsh_memory_mcp.store.committer import Committer, Queued
from devsh_memory_mcp.store.journal import FileJournal, create
from tests.doubles.memory_journal import LoopClock
from tests.simulation.backend import ScriptedBackend, Shim

NAME = "orch_simulated"
LIMITS = Limits(linger=1e7, free=lambda _path: 2**50)
COMMIT = 0.01  # s at most
_MEMORY = "/dev/shm"
CALLS_WITHIN = 2.0  # s, at most: a shim whose runner has died


def in_memory() -> tempfile.TemporaryDirectory[str]:
    """A directory where writing costs nothing, if there is such a place."""
    return tempfile.TemporaryDirectory(dir=_MEMORY if os.path.isdir(_MEMORY) else None)


@contextmanager
def nothing_in_threads() -> Iterator[None]:
    async def in_place(work: Any, *arguments: Any, **_how: Any) -> Any:
        await lowlevel.checkpoint()
        return work(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(to_thread, "run_sync", in_place)
        chance = random.Random(0)
        patch.setattr(
            preparation, "choose", lambda length: "".join(chance.choices(ALPHABET, k=length))
        )  # a run is the same each time, to its ids
        yield


class _InPlace(Committer):
    def put(self, queued: Queued) -> None:
        self._serve(queued)


class Journal(FileJournal):
    """The real one over a real file, of one of several processes."""

    def __init__(self, directory: Path, chance: random.Random) -> None:
        super().__init__(directory, LoopClock(), sync=lambda _descriptor: None)
        self._committer = _InPlace(self._writer, self._on_progress)
        self._chance = chance

    async def transact(self, decide: Decide[Any]) -> Committed[Any]:
        await anyio.sleep(self._chance.uniform(0, COMMIT))
        return await super().transact(decide)


class _Follower:
    def __init__(self) -> None:
        self._rung = anyio.Event()

    def ring(self) -> None:
        self._rung.set()

    async def wait(self) -> None:
        await self._rung.wait()  # no tick: nobody is to need one
        self._rung = anyio.Event()


class Runner:
    """What `engine.runner` puts together, but for sockets, locks and views."""

    def __init__(self, world: "World", number: int) -> None:
        self._world, self._id = world, f"rn_{number}"
        self._adopted: set[Shim] = set()  # which have not called yet, so that nobody hears of their end
        self.scope = anyio.CancelScope()
        self.up = anyio.Event()
        self.attempts: Attempts
        self.desks: Desks
        self.dispatcher: Dispatcher

    async def live(self) -> None:
        world = self._world
        journal = Journal(world.directory, world.chance)
        try:
            with self.scope:
                await self._serve(journal)
        except* Fenced:
            world.fenced += 1
        finally:
            with anyio.CancelScope(shield=True):
                await journal.aclose()

    async def _serve(self, journal: Journal) -> None:
        world, clock, vault = self._world, LoopClock(), Vault(LoopClock())
        refusals = Refusals(vault)
        async with anyio.create_task_group() as tasks:
            self.desks = Desks(world.log.append)
            setting = Setting(world.root, "", (), ())
            self.attempts = Attempts(self.desks, world.backend, clock, setting, vault=vault, refusals=refusals, limits=LIMITS)
            self.dispatcher = Dispatcher(
                world.root, self.desks, self.attempts, clock, vault=vault, refusals=refusals, limits=LIMITS, changed=world.tell_followers
            )
            wake = partial(self.dispatcher.wake, NAME)
            desk = Desk(NAME, world.directory, journal, None, self._id, wake)  # type: ignore[arg-type]
            desk.tasks = tasks
            self.desks.open[NAME] = desk
            await self._take_over(desk)
            for shim in list(self._adopted):
                tasks.start_soon(self._be_called, shim)
            await self.dispatcher.serve(lambda: True)

    async def _take_over(self, desk: Desk) -> None:
        state = await desk.take_over(os.getpid())
        self._adopted = {shim for shim in self._world.backend.shims.values() if not shim.over.is_set()}
        for task in state.unfinished.values():
            if task.live_attempt:
                self.attempts.begin(desk, state, task)
        desk.is_taken_over = True
        desk.wake()
        self.up.set()

    async def _be_called(self, shim: Shim) -> None:
        await anyio.sleep(self._world.chance.uniform(0, CALLS_WITHIN))
        if not shim.over.is_set():
            self._adopted.discard(shim)
            self.hear(shim)
            shim.ring()

    def hear(self, shim: Shim) -> None:
        """As the doorkeeper does it: a shim that is connected has something to say, or its connection has ended."""
        is_known = shim not in self._adopted and hasattr(self, "desks")
        attempt = self.desks.attempts.get((shim.run.task_run_id, shim.run.attempt)) if is_known else None
        desk = self.desks.of(attempt) if attempt is not None else None
        if attempt is None or desk is None:
            return
        if shim.over.is_set():
            attempt.ring = None
            self.attempts.hear_end(attempt)
        else:
            attempt.ring = shim.ring
            desk.wake()
            self.desks.begin(desk, self.attempts.read_reports, desk, attempt)


class World:
    """Also the link of its faces: whoever follows is rung by the runner, and by nothing else."""

    def __init__(self, root: Path, chance: random.Random, tasks: anyio.abc.TaskGroup) -> None:
        self.root, self.chance = root, chance
        self.directory = root / "orchestrations" / NAME
        self.log: list[str] = []
        self.fenced = 0
        self.replaced_at = 0.0
        self.backend = ScriptedBackend(tasks, chance, self._hear)
        self._tasks = tasks
        self._followers: list[_Follower] = []
        self._runners = 0
        self._read = 0  # bytes of the journal
        programs = root / "bin"
        programs.mkdir()
        (programs / "claude").touch(0o700)
        self._caller = Caller(root, {"PATH": str(programs), "HOME": str(root), "DEVSH_MAX_TASKS": "100000"})
        create(self.directory, OrchestrationCreated(orchestration_id=NAME), LoopClock().now())
        self._journal = Journal(self.directory, chance)
        self.runner = self._another_runner()

    def _another_runner(self) -> Runner:
        self._runners += 1
        self.replaced_at = anyio.current_time()
        runner = Runner(self, self._runners)
        self._tasks.start_soon(runner.live)
        return runner

    async def replace_runner(self, *, is_dead: bool) -> None:
        """Another one takes over; the old one is killed, or goes on until it is refused."""
        if is_dead:
            self.runner.scope.cancel()
        self.runner = self._another_runner()
        await self.runner.up.wait()

    def face(self, identity: str = "head", *, is_shell: bool = False) -> LocalOrchestration:
        """An orchestration as one caller has it."""
        site = Site(NAME, self.directory, self._journal, self, LoopClock())  # type: ignore[arg-type]
        caller = Caller(self._caller.directory, self._caller.environment, identity, is_shell=is_shell)
        return LocalOrchestration(site, self.root, caller, lambda _created: None)

    def shim_of(self, task_run_id: str, attempt: int) -> Shim | None:
        return self.backend.shims.get(f"{self.directory}/runs/{task_run_id}/{attempt}")

    async def kill_a_shim(self, share: float) -> None:
        """One of those that live, by where it stands among them (0 to 1)."""
        alive = [shim for shim in self.backend.shims.values() if not shim.over.is_set()]
        if alive:
            alive[int(share * len(alive))].scope.cancel()

    def news(self) -> list[dict[str, Any]]:
        """The journal's lines since the last time."""
        with (self.directory / "EVENTS.jsonl").open("rb") as file:
            file.seek(self._read)
            content = file.read()
        self._read += len(content)
        return [json.loads(line) for line in content.splitlines()]

    def _hear(self, shim: Shim) -> None:
        self.runner.hear(shim)

    async def ring(self, _orchestration_id: str) -> None:
        if hasattr(self.runner, "dispatcher"):
            self.runner.dispatcher.wake(NAME)

    @asynccontextmanager
    async def follow(self, _orchestration_id: str) -> AsyncIterator[_Follower]:
        follower = _Follower()
        self._followers.append(follower)
        try:
            yield follower
        finally:
            self._followers.remove(follower)

    async def tell_followers(self, _orchestration_id: str) -> None:
        for follower in self._followers:
            follower.ring()

    async def aclose(self) -> None:
        await self._journal.aclose()


@asynccontextmanager
async def open_world(root: Path, seed: int = 0) -> AsyncIterator[World]:
    """A world for as long as the context lasts; then everybody in it is gone."""
    random.seed(seed)  # the engine's own chance
    with nothing_in_threads():
        async with anyio.create_task_group() as tasks:
            world = World(root, random.Random(seed), tasks)
            try:
                await world.runner.up.wait()
                yield world
            finally:
                tasks.cancel_scope.cancel()
                with anyio.CancelScope(shield=True):
                    await world.aclose()
