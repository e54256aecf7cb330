"""One round under faults: a plan is asked for by clients that may die and ask again, until all of it has ended; then it is judged."""

import contextlib
import json
import os
import random
import select
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio

from devsh_memory_mcp.domain.requests import MessageRequest, WaitRequest
from devsh_memory_mcp.ports import Orchestration
from tests.doubles.aftermath import end_processes, findings
from tests.doubles.processes import await_end
from tests.faults import plans, victims
from tests.faults.checker import check
from tests.faults.evidence import Asked, Evidence, Fault, Journal
from tests.faults.recovery import Stopwatch
from tests.faults.repository import snapshot
from tests.faults.world import World

# Errors after which a client asks again; every other one is a refusal. A refused system call is the last one of them.
_TRANSIENT = {"Unavailable", "CommitUnknown", "JournalBusy", "DiskFull", "MemoryRootUnusable", "NoRunner", "SettingsInvalid"}
_TRANSIENT |= {"OSError", "Died"}
_AT_ONCE = 3  # clients
_SILENCE = 1.5  # seconds without a boundary, after which whoever is stopped may go on
_LOOKS_WITHIN = 20.0  # seconds for the command that comes after all
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

    def __init__(self, directory: Path, name: str, script: dict[str, object], asked: list[Asked], places: int | None = None) -> None:
        self.world = World(directory, script)
        self.places = places  # as every spawn asks for them; None for as many as there are usually
        self.ticks = 0  # boundaries that were met
        self.strikes: dict[str, int] = {}
        self._faults: list[Fault] = []
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

    def resume(self) -> None:
        """Called at the end: whoever was stopped for good, and was not ended, comes back."""

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
        self.resume()
        self._dismiss()
        os.close(self._bell)
        return Outcome(self._name, self._directory, wrong + self._judged(), self.strikes, self.stopwatch.seconds)

    def look_with(self, ask: Callable[[Orchestration], Awaitable[object]]) -> None:
        """Another client, to which nothing happens and whose answer does not matter."""
        self._start(Asked("look", "look"), ask, is_hooked=False)

    def struck(self, fault: Fault, *runs: str) -> None:
        """Counts it; one of everybody's is told for each of the `runs`."""
        self._faults += [fault._replace(run=run) for run in runs] or [fault]
        self.strikes[fault.role] = self.strikes.get(fault.role, 0) + 1

    def faces(self) -> list[victims.Victim]:
        """The clients that are asking for something."""
        return [victims.Victim(pid, "face") for asked, pid, _ in self._clients.values() if asked is None or asked.kind != "look"]

    def evidence(self) -> Evidence:
        """What there is to be judged, at the end."""
        world = self.world
        evidence = Evidence(world.root, world.repository, world.marks, self._asked, self._before, faults=self._faults, killed=self.killed)
        return evidence if self.places is None else replace(evidence, places=self.places)

    def _judged(self) -> list[str]:
        root = self.world.root
        self.world.write_script({})  # who starts now has nothing happen to it
        left = [f"{words} did not end by itself" for words in end_processes(root).values()]
        for line in self._done():
            _, role, run, *_, act, _ = line.split()
            self.struck(Fault(role, run.strip("-"), act == "error"))
        if self._faults:
            self._look_in()
            left += [f"{words} did not end by itself, after a look" for words in end_processes(root).values()]
        return left + check(self.evidence()) + [f"fsck: {code}" for code in sorted(findings(root))]

    def _look_in(self) -> None:
        """A person's next command: the runner that it starts finds what others left, and puts it in order."""

        for directory in self.world.root.glob("orchestrations/*"):
            before = _takeovers(directory)

            async def look(orchestration: Orchestration, before: int = before) -> object:
                await orchestration.pull()
                started = 0
                with anyio.move_on_after(_LOOKS_WITHIN / 2):
                    async with contextlib.aclosing(orchestration.changes(after=0)) as changes:  # type: ignore[type-var]
                        async for change in changes:
                            started += change.event == "runner_started"
                            if started > before:
                                break
                return (await orchestration.pull()).synced

            pid, pipe = self.world.face(look, directory.name, is_hooked=False)
            if not await_end(pid, _LOOKS_WITHIN):
                victims.strike(pid)
            os.waitpid(pid, 0)
            os.close(pipe)

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
                request = plans.request(asked, chance, self.world, self.places)
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
            elif asked.kind == "cancel":
                asked.status = said["answer"]
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


def _takeovers(directory: Path) -> int:
    return sum(event["event"] == "runner_started" for event in Journal(directory / "EVENTS.jsonl").events)
