"""One round under faults: a plan is asked for by clients that may die and ask again, until all of it has ended; then it is judged."""

import contextlib
import json
import os
import random
import select
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from devsh_memory_mcp.domain.requests import MessageRequest, WaitRequest
from devsh_memory_mcp.engine.garbage import forget_bases
from devsh_memory_mcp.ports import Orchestration
from devsh_memory_mcp.store.reader import fold_file
from tests.doubles.aftermath import end_processes, findings
from tests.faults import plans, victims
from tests.faults.checker import check
from tests.faults.evidence import Asked, Evidence, Journal
from tests.faults.recovery import Stopwatch
from tests.faults.repository import snapshot
from tests.faults.world import World

# Errors after which a client asks again; every other one is a refusal. A refused system call is the last one of them.
_TRANSIENT = {"Unavailable", "CommitUnknown", "JournalBusy", "DiskFull", "MemoryRootUnusable", "NoRunner", "SettingsInvalid"}
_TRANSIENT |= {"OSError", "Died"}
_AT_ONCE = 3  # clients
_SILENCE = 1.5  # seconds without a boundary, after which whoever is stopped may go on
_BOUND = 120.0  # seconds for a round; what takes longer is stuck


@dataclass
class Outcome:
    """What a round came to: what is wrong, how often who was struck, how many seconds killed runners cost."""

    name: str
    directory: Path
    wrong: list[str]
    strikes: dict[str, int] = field(default_factory=dict)
    recoveries: list[float] = field(default_factory=list)


class Round:
    """`asked` is what is asked for, in this order where it depends on another; a subclass disturbs it."""

    def __init__(self, directory: Path, name: str, script: dict[str, object], asked: list[Asked]) -> None:
        self.world = World(directory, script)
        self.ticks = 0  # boundaries that were met
        self.strikes: dict[str, int] = {}
        self.killed: set[int] = set()
        self.stopwatch = Stopwatch(self.world.root, self.world.marks)
        self._name = name
        self._directory = directory
        self._asked = asked
        self._before = snapshot(self.world.repository)
        self._bell = 0
        self._clients: dict[int, tuple[Asked | None, int, int]] = {}  # by pidfd: what was asked, its pid, its pipe
        self._settled: set[str] = set()
        self._tasks: dict[str, str] = {}
        self._is_over = False
        self._refused: list[str] = []
        self._orchestration_id: str | None = None  # that of the first answer: the clock may make the project's current one another

    def disturb(self) -> None:
        """Called after boundaries were met."""

    def relent(self) -> None:
        """Called when nothing happens any more, and at the end: whoever is stopped may go on."""

    def run(self) -> Outcome:
        """The whole round."""
        os.mkfifo(self.world.plan / "bell")
        self._bell = os.open(self.world.plan / "bell", os.O_RDWR | os.O_NONBLOCK)
        until = time.monotonic() + _BOUND
        while not self._is_over and time.monotonic() < until:
            self._ask_more()
            self._hear()
        wrong = self._refused if self._is_over else [f"stuck after {_BOUND:g} s: {self._last_lines()}"]
        self.relent()
        self._dismiss()
        os.close(self._bell)
        return Outcome(self._name, self._directory, wrong + self._judged(), self.strikes, self.stopwatch.seconds)

    def look_with(self, ask: Callable[[Orchestration], Awaitable[object]]) -> None:
        """Another client, to which nothing happens and whose answer does not matter."""
        self._start(Asked("look", "look"), ask, is_hooked=False)

    def struck(self, role: str) -> None:
        """Counts a fault."""
        self.strikes[role] = self.strikes.get(role, 0) + 1

    def _judged(self) -> list[str]:
        world = self.world
        faults = self._faults()
        left = [f"{words} did not end by itself" for words in end_processes(world.root).values()]
        if faults & {"runner", "error"}:
            _collect(world.root)
        evidence = Evidence(world.root, world.repository, world.marks, self._asked, self._before, faults=faults, killed=self.killed)
        return left + check(evidence) + [f"fsck: {code}" for code in sorted(findings(world.root))]

    def _faults(self) -> set[str]:
        """Whom something happened to; what was done from inside stands in `done`."""
        outside = set(self.strikes)
        inside = set()
        for line in self._done():
            role, act = line.split()[1], line.split()[-2]
            self.struck(role)
            inside.add("error" if act == "error" else role)
        return outside | inside

    def _done(self) -> list[str]:
        done = self.world.plan / "done"
        return done.read_text(encoding="utf-8").splitlines() if done.exists() else []

    def dealt(self) -> int:
        """How many faults there were until now."""
        return sum(self.strikes.values()) + len(self._done())

    # --- clients

    def _ask_more(self) -> None:
        busy = {asked.key for asked, _, _ in self._clients.values() if asked is not None}
        for asked in self._unsettled():
            if len(self._clients) >= _AT_ONCE:
                return
            if asked.key not in busy and self._is_due(asked):
                self._start(asked, self._wish(asked))
        if not self._clients:  # all is asked for, or has to wait: somebody has to see to a runner
            self._start(None, self._wait)

    def _unsettled(self) -> list[Asked]:
        return [asked for asked in self._asked if asked.key not in self._settled]

    def _is_due(self, asked: Asked) -> bool:
        if asked.after and asked.after not in self.marked() and not self._has_ended(asked.name):
            return False
        needed = asked.depends_on if asked.kind == "spawn" else (asked.name,)
        return all(name in self._tasks or name == "head" for name in needed)

    def _has_ended(self, name: str) -> bool:
        """Whether nothing of the task will be marked any more."""
        journals = [Journal(path) for path in self.world.root.glob("orchestrations/*/EVENTS.jsonl")]
        return any(journal.status(self._tasks[name]) != "open" for journal in journals if self._tasks.get(name) in journal.spawned)

    def marked(self) -> set[str]:
        """What agents have marked: `begin NAME`, `wrote NAME`, `end NAME`."""
        marks = self.world.marks
        lines = marks.read_text(encoding="utf-8").splitlines() if marks.exists() else []
        return {line.rpartition(" ")[0] for line in lines}

    def _wish(self, asked: Asked) -> Callable[[Orchestration], Awaitable[object]]:
        chance = random.Random(f"{self._name} {asked.key}")  # the same request however often it is asked for

        async def wish(orchestration: Orchestration) -> object:
            if asked.kind == "spawn":
                request = plans.request(asked, chance, self.world.marks, self.world.repository)
                return (await orchestration.spawn(request)).orchestration_task_id
            if asked.kind == "message":
                to, words = self._tasks.get(asked.name, "head"), f"for you ({asked.key})"
                message = MessageRequest(to=to, message=words, interrupt=to != "head" and chance.random() < 0.3, idempotency_key=asked.key)
                return (await orchestration.message(message)).message_id
            return (await orchestration.cancel(self._tasks[asked.name], cascade=asked.cascade)).status

        return wish

    async def _wait(self, orchestration: Orchestration) -> object:
        answer = await orchestration.wait(WaitRequest(ids=tuple(self._tasks.values()), timeout=10_000))
        return answer.finished

    def _start(self, asked: Asked | None, ask: Callable[[Orchestration], Awaitable[object]], *, is_hooked: bool = True) -> None:
        pid, pipe = self.world.face(ask, self._orchestration_id, is_hooked=is_hooked)
        self._clients[os.pidfd_open(pid)] = asked, pid, pipe

    def _take_answer(self, pidfd: int) -> None:
        asked, pid, pipe = self._clients.pop(pidfd)
        os.waitpid(pid, 0)
        content = os.read(pipe, 65536)
        os.close(pidfd)
        os.close(pipe)
        said = json.loads(content) if content else {"error": "Died"}
        if asked is None:
            self._is_over = said.get("answer") is True and not self._unsettled()
        elif "answer" in said:
            asked.is_acknowledged = True
            self._orchestration_id = said["orchestration"]
            self._settled.add(asked.key)
            if asked.kind == "spawn":
                self._tasks[asked.name] = said["answer"]
        elif said["error"] not in _TRANSIENT:
            self._settled.add(asked.key)  # such as a message to a task that is over
            if asked.kind == "spawn":
                self._refused.append(f"{asked.key} was refused: {said}")
                self._is_over = True

    def _dismiss(self) -> None:
        for pidfd, (_, pid, pipe) in self._clients.items():
            victims.strike(pid)
            os.close(pidfd)
            os.close(pipe)
            os.waitpid(pid, 0)

    def _hear(self) -> None:
        poll = select.poll()
        for descriptor in (self._bell, *self._clients):
            poll.register(descriptor, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(_SILENCE * 1000)}
        if not ready:
            self.relent()
        if self._bell in ready:
            with contextlib.suppress(BlockingIOError):
                self.ticks += len(os.read(self._bell, 4096))
        for pidfd in ready - {self._bell}:
            self._take_answer(pidfd)
        self.stopwatch.look(self.dealt())
        self.disturb()

    def _last_lines(self) -> str:
        journals = sorted(self.world.root.glob("orchestrations/*/EVENTS.jsonl"))
        return "; ".join(journal.read_text(encoding="utf-8").splitlines()[-1][:300] for journal in journals)


def _collect(root: Path) -> None:
    """What the next runner does for one that was killed at a task's end: whatever pins a base after that is left for good."""
    for path in root.glob("orchestrations/*/EVENTS.jsonl"):
        forget_bases(fold_file(path))
