"""A round in which a random plan meets random faults: from inside at boundaries (see `script.py`), and from outside as here.

What happens is drawn from the seed; the clock of a storm are the boundaries that its processes meet.
"""

import math
import random
import signal
import time
from pathlib import Path

from devsh_memory_mcp.ports import Orchestration
from devsh_memory_mcp.shim.doorbell import socket_path
from tests.faults import plans, victims
from tests.faults.evidence import Asked, Fault
from tests.faults.rounds import Outcome, Round

RATES = {"face": 0.004, "runner": 0.004, "forkserver": 0.02, "shim": 0.008, "guard": 0.02, "recovery": 0.006, "starter": 0.02}
_WEIGHTS = (70, 10, 7, 6, 7)  # kill, half, ENOSPC, EACCES, EIO
_FACES = 0.25
_LASTS = 4.0  # seconds for what is only for a while
_KINDS = {
    "kill": 60,
    "several": 10,
    "stop": 15,
    "second": 8,
    "zombie": 7,
    "clock": 5,
    "unreadable": 5,
    "full": 5,
    "halt": 4,
    "handover": 10,
}


class Storm(Round):
    """`budget` is how many faults there may be from inside, and as many from outside."""

    def __init__(self, directory: Path, seed: str, *, budget: int = 12, most_tasks: int = 8) -> None:
        self._chance = random.Random(seed)
        script: dict[str, object] = {"seed": seed, "rates": RATES, "weights": _WEIGHTS, "budget": budget}
        places = random.Random(f"{seed} places").choice((1, 2, 3, None))  # not of the one that draws all else
        super().__init__(directory, seed, script, plans.draw(self._chance, most_tasks), places)
        self._left = budget
        self._stopped: list[int] = []
        self._halted: set[int] = set()
        self._ended_before: set[str] | None = None  # attempts, when the root was spoilt
        self._spared = math.inf  # when whoever is stopped goes on, and the root is as it should be
        self._is_lurking = False
        self._next = self._chance.randint(20, 150)

    def disturb(self) -> None:
        if self._is_lurking:
            self._hand_over()
        elif time.monotonic() > self._spared:  # such as a face with a commit's lock: what it holds up goes on ringing
            self.relent()
        elif self.ticks >= self._next:
            self._next = self.ticks + self._chance.randint(20, 150)
            self.relent()
            if self._left > 0:
                self._strike()

    def relent(self) -> None:
        for pid in self._stopped:
            victims.strike(pid, signal.SIGCONT)
        self._stopped.clear()
        self._spared = math.inf
        self.world.restore()
        if self._ended_before is not None:
            self.struck(Fault("root", is_refusal=True), *(self._attempts(ended=False) | self._attempts(ended=True)) - self._ended_before)
            self._ended_before = None

    def _attempts(self, *, ended: bool) -> set[str]:
        """Those with, or without, an outcome."""
        found = self.world.root.glob("orchestrations/*/runs/*/*")
        return {f"{path.parent.name}.{path.name}" for path in found if (path / "outcome.json").exists() is ended}

    def resume(self) -> None:
        """A runner that was stopped and that nobody has needed since, or known, has to leave when it sees that."""
        for victim in victims.find(self.world.root):
            if victim.pid in self._halted and victim.role == "runner":
                victims.strike(victim.pid, signal.SIGCONT)

    def _strike(self) -> None:
        """One fault from outside, after that of the last one is over."""
        faces = self.faces() if self._chance.random() < _FACES else []  # of which there are always some, and others are rare
        there = [*victims.find(self.world.root), *faces]
        if not there:
            return
        kind = self._chance.choices(list(_KINDS), list(_KINDS.values()))[0]
        roles = sorted({victim.role for victim in there})  # by role, since there are many agents' processes
        role = self._chance.choice(roles)
        chosen = self._chance.choice([victim for victim in there if victim.role == role])
        if kind == "kill":
            self._kill([chosen])
            if role == "runner":
                self.stopwatch.begin(self.dealt())
        elif kind == "several":
            self._kill([victim for victim in there if victim.role in ("runner", role) or self._chance.random() < 0.3])
        elif kind == "stop":
            self._stop(chosen)
        elif kind == "clock":
            self.world.step_clock(self._chance.choice((-3600, -60, 3600, 0)))
            self._count(Fault("clock"))
        elif kind in ("unreadable", "full"):
            self._ended_before = self._attempts(ended=True)
            self.world.spoil(kind)
            self._spared = time.monotonic() + _LASTS
            self._left -= 1
        elif kind == "halt":
            self._halt(there)
        elif kind == "handover":
            self._is_lurking = True
        else:
            self._second(there, is_zombie=kind == "zombie")

    def _kill(self, chosen: list[victims.Victim]) -> None:
        for victim in chosen:
            victims.strike(victim.pid)
            self.killed.add(victim.pid)
            self._count(Fault(victim.role, victim.run))

    def _stop(self, victim: victims.Victim) -> None:
        victims.strike(victim.pid, signal.SIGSTOP)
        self._stopped.append(victim.pid)
        self._spared = time.monotonic() + _LASTS
        self._count(Fault(victim.role, victim.run))

    def _halt(self, there: list[victims.Victim]) -> None:
        """A runner that serves or a guard stops and never goes on; somebody cancels what stands behind the latter.

        Nobody else: a shim whose agent has gone is given eleven minutes to save its work, and a runner that never got to listen cannot
        be told from one that is about to.
        """
        serving = victims.serving(self.world.root)
        tasks = {victim: victims.task_of(self.world.root, victim) for victim in there if victim.role == "guard"}
        chosen = [victim for victim in there if victim.pid in serving or tasks.get(victim)]
        if not chosen:
            return
        victim = self._chance.choice(chosen)
        victims.strike(victim.pid, signal.SIGSTOP)
        self._halted.add(victim.pid)
        if name := tasks.get(victim):
            self._asked.append(Asked("cancel", f"cancel-of-{victim.pid}", name))
        self._count(Fault(victim.role, victim.run))

    def _hand_over(self) -> None:
        """The runner is killed when a task is about to begin."""
        runner = next((victim for victim in victims.find(self.world.root) if victim.role == "runner"), None)
        if runner is not None and self.stopwatch.ready():
            self._is_lurking = False
            self._kill([runner])
            self.stopwatch.begin(self.dealt())

    def _second(self, there: list[victims.Victim], *, is_zombie: bool) -> None:
        """Another runner: the first one's traces are gone, as after a root was put back; as a zombie it is stopped meanwhile."""
        runner = next((victim for victim in there if victim.role == "runner"), None)
        if is_zombie and runner is not None:
            self._stop(runner)
        for path in (Path(socket_path(str(self.world.root))), self.world.root / "runner.lock"):
            path.unlink(missing_ok=True)
        self.look_with(_look)
        self._count(Fault("runner"))

    def _count(self, fault: Fault) -> None:
        self._left -= 1
        self.struck(fault)


async def _look(orchestration: Orchestration) -> object:
    return await orchestration.position()


def play(directory: str, seed: str) -> Outcome:
    """One storm, in a directory of its own."""
    return Storm(Path(directory) / seed, seed).run()
