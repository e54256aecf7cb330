"""Real runs, recorded: what their processes did to the root's files, and when a caller had his answer."""

import fcntl
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from devsh_memory_mcp.config import memory_root
from devsh_memory_mcp.engine.preparation import choose
from devsh_memory_mcp.ports import Orchestration
from devsh_memory_mcp.store.root import MemoryRoot
from devsh_memory_mcp.wiring import SystemClock
from tests.faults import victims
from tests.faults.evidence import Asked, Fault
from tests.faults.hooks import Hooks
from tests.faults.rounds import Round
from tests.faults.scenarios import Scenario
from tests.faults.world import World
from tests.power.disk import Line
from tests.power.recorder import Recorder


def _spawn(work: str, name: str, *depends_on: str, repository: bool = True) -> Asked:
    return Asked("spawn", f"{work}-{name}", name, depends_on=depends_on, has_repository=repository)


RUNS = {
    "work": Scenario((
        _spawn("quick", "t0"), Asked("message", "message-0", "head"), _spawn("tree", "t1", "t0"),
        _spawn("long", "t2", "t1", repository=False), Asked("cancel", "cancel-0", "t2", cascade=True, after="begin t2"),
    ), at="begin t2", role="editor"),
    "mend": Scenario((_spawn("second", "t0"), _spawn("quick", "t1", "t0", repository=False)), at="begin t0", role="writer"),
    "recover": Scenario((_spawn("dies", "t0"), _spawn("quick", "t1", "t0", repository=False)), at="wrote t0", role="shim"),
}  # fmt: skip


class Recorded(Round):
    """A run in a root that is not there yet. At its mark a shim is killed, or a writer that had written half, or the plan is edited."""

    def __init__(self, directory: Path, name: str) -> None:
        self._scenario = RUNS[name]
        self._is_done = False
        super().__init__(directory, name, {"record": True}, [Asked(**vars(one)) for one in self._scenario.asked])
        self.world.root.rmdir()
        self._recorder = Recorder(str(self.world.plan), str(self.world.root))

    def _wish(self, asked: Asked) -> Callable[[Orchestration], Awaitable[object]]:
        wish = super()._wish(asked)

        async def told(orchestration: Orchestration) -> object:
            answer = await wish(orchestration)
            self._recorder.mark("answer", kind=asked.kind, key=asked.key, task=self._tasks.get(asked.name, ""))
            return answer

        return told

    def disturb(self) -> None:
        if self._is_done or self._scenario.at not in self.marked():
            return
        self._is_done = True
        if self._scenario.role == "shim":
            for victim in victims.find(self.world.root):
                if victim.role == "shim":
                    victims.strike(victim.pid)
                    self.struck(Fault(victim.role, victim.run))
            return
        journal = next(self.world.root.glob("orchestrations/*/EVENTS.jsonl"))
        if self._scenario.role == "writer":
            with journal.with_name("journal.lock").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._put(journal, os.O_APPEND, b'{"seq":99,"timestamp":"2026-')
        else:
            plan = journal.with_name("PLAN.json")
            document = json.loads(plan.read_text(encoding="utf-8"))
            self._put(plan, os.O_TRUNC, json.dumps(document | {"note": "mine"}).encode(), is_synced=True)

    def _put(self, path: Path, flags: int, content: bytes, *, is_synced: bool = False) -> None:
        """What somebody else does is on the record as well."""
        do = self._recorder.perform
        file = do("os.open", os.open, (path, os.O_WRONLY | flags), {})
        do("os.write", os.write, (file, content), {})
        if is_synced:
            do("os.fsync", os.fsync, (file,), {})
        os.close(file)


def begin(directory: Path) -> World:
    """A face that makes a root, two levels deep, and a new orchestration in it, and says so."""
    world = World(directory, {"record": True})
    world.root.rmdir()
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        return world
    try:
        Hooks(str(world.plan), "face").install()
        place = MemoryRoot(memory_root(str(world.root / "below"), {}), SystemClock(), choose, {})
        found = place.begin()
        Recorder(str(world.plan), str(world.root)).mark("answer", kind="new", key="", task=found.orchestration_id)
        os._exit(0)
    finally:
        os._exit(1)


def log_of(world: World) -> list[Line]:
    """What was recorded, in order."""
    return [json.loads(line) for line in (world.plan / "log").read_text(encoding="utf-8").splitlines()]
