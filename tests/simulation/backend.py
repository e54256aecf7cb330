"""A machine whose shims are coroutines and whose agents do what a script says, at simulated time. It outlives runners, as machines do.

The script is in the prompt. A shim keeps to what real ones do: it says hello, reports, takes letters, keeps its deadline, has an
outcome before its lock is free, and leaves none when it dies.
"""

import json
import os
import random
from collections.abc import Callable, Mapping
from datetime import timedelta
from math import inf
from typing import NamedTuple

import anyio
from anyio.abc import TaskGroup

from devsh_memory_mcp.ports import Start
from devsh_memory_mcp.shim import rundir
from devsh_memory_mcp.shim.rundir import Letter, Outcome, Report, Run
from devsh_memory_mcp.shim.shape import to_json
from tests.doubles.memory_journal import LoopClock

RECOVERY = 0.5  # s that it takes to save what a dead shim left
SAVING = 0.2
_OBEYS_WITHIN = 0.05


class Act(NamedTuple):
    """What one attempt's agent does. `works` None is for ever; `ends` is ok, fail, setup, limit (a used-up limit) or lost (with its shim).

    One that is `stubborn` has to be killed; where the shim does not heed, nobody is told anything but by killing the shim.
    `stillborn` are the launches that die before they are a shim.
    """

    setup: float = 1.0
    works: float | None = 3600.0
    ends: str = "ok"
    heeds: bool = True
    stubborn: bool = False
    stillborn: int = 0


def script(*acts: Act) -> str:
    """A prompt that makes each attempt do the next of them, and the last for all that follow."""
    return "\n" + json.dumps(acts)


class Shim:
    """The supervisor of one attempt; `told` when the runner is to read."""

    def __init__(self, run: Run, act: Act, inbox: list[Letter], tell: Callable[["Shim"], None], *, is_stillborn: bool) -> None:
        self.run, self.act, self.inbox, self.tell = run, act, inbox, tell
        self.is_stillborn = is_stillborn
        self.reports: list[Report] = []
        self.outcome: Outcome | None = None
        self.over = anyio.Event()
        self.over_at: float | None = None
        self.up_at: float | None = None  # since when its agent runs
        self.is_saving = False
        self.scope = anyio.CancelScope()
        self._rung = anyio.Event()
        self._had: set[int] = set()

    @property
    def listens_since(self) -> float | None:
        """Since when a message reaches its agent, None where it does not."""
        return self.up_at if self.act.heeds and not self.over.is_set() and not self.is_saving else None

    def ring(self) -> None:
        self._rung.set()

    async def live(self) -> None:
        with self.scope:
            if self.is_stillborn:
                await anyio.sleep(0.1)
            else:
                await self._live()
        self.over_at = anyio.current_time()
        self.over.set()
        self.tell(self)

    async def _live(self) -> None:
        self.report("started")
        began, cause = anyio.current_time(), "cancelled" if self.run.cancelled else None
        cause = cause or await self._until(began + self.act.setup, inf)
        if cause == "done" and self.act.ends == "setup":
            cause = "setup"
        elif cause == "done":
            self.up_at = began = anyio.current_time()
            self.report("agent_started", facts={"monotonic": anyio.current_time()})
            cause = await self._until(began + (inf if self.act.works is None else self.act.works), began + (self.run.timeout or inf))
        if cause in ("cancelled", "timeout"):
            grace = self.run.cancel_grace if cause == "cancelled" else self.run.timeout_grace
            await anyio.sleep(grace if self.act.stubborn else _OBEYS_WITHIN)
        elif cause == "done":
            cause = "exit"
            if self.act.ends == "lost":
                return
        self.is_saving = True
        await anyio.sleep(SAVING)
        self.outcome = self._outcome(cause)

    async def _until(self, done: float, deadline: float) -> str:
        """What comes first: done, its deadline or a cancel; messages are taken on the way."""
        while True:
            if self.act.heeds and (letter := self._next_letter()) is not None:
                if letter.type == "cancel":
                    return "cancelled"
                self.report("delivered", letter.id)
                continue
            until = min(done, deadline if self.act.heeds else inf)
            if anyio.current_time() >= until:
                return "done" if done <= until else "timeout"
            self._rung = anyio.Event()
            with anyio.move_on_after(until - anyio.current_time()):
                await self._rung.wait()

    def _next_letter(self) -> Letter | None:
        can_read = self.up_at is not None
        letter = next((one for one in self.inbox if one.id not in self._had and (can_read or one.type == "cancel")), None)
        if letter is not None:
            self._had.add(letter.id)
        return letter

    def report(self, kind: str, message_id: int | None = None, facts: dict[str, float] | None = None) -> None:
        at = LoopClock().now().isoformat()
        self.reports.append(Report(len(self.reports) + 1, kind, at, message_id=message_id, facts=facts or {}))
        self.tell(self)

    def _outcome(self, cause: str) -> Outcome:
        ok = cause == "exit" and self.act.ends == "ok"
        now = LoopClock().now()
        limit = {"failure": "rate_limit", "retry_at": (now + timedelta(hours=1)).timestamp()} if self.act.ends == "limit" else {}
        at, run = now.isoformat(), self.run
        return Outcome(
            rundir.FORMAT, run.task_run_id, run.attempt, cause, ok, at, at, 0, len(self.reports),
            exit_code=0 if ok else 1, result="done" if ok else None, error_message=None if ok else f"It ended: {cause}.",
            **(limit if cause == "exit" and not ok else {}),
        )  # fmt: skip

    def recovered(self) -> Outcome:
        """What is found of one that died."""
        return self._outcome("lost")


class ScriptedBackend:
    """ports.Backend. `tell` is called with a shim that has something to say, which may be that it is over."""

    def __init__(self, tasks: TaskGroup, chance: random.Random, tell: Callable[[Shim], None]) -> None:
        self.shims: dict[str, Shim] = {}
        self._inboxes: dict[str, list[Letter]] = {}
        self._launches: dict[str, int] = {}
        self._tasks, self._chance, self._tell = tasks, chance, tell

    async def start(self, directory: str, run: Run, _secrets: Mapping[str, str]) -> Start:
        await anyio.sleep(self._chance.uniform(0, 0.05))
        os.makedirs(directory, exist_ok=True)
        inbox = self._inboxes.setdefault(directory, [])
        path = f"{directory}/{rundir.RUN_FILE}"
        if not os.path.exists(path):
            with open(path, "w", encoding="utf-8") as file:
                json.dump(to_json(run), file)
        known = self.shims.get(directory)
        if known is not None and not known.over.is_set():
            return Start.ALIVE
        if known is not None and known.reports:
            return Start.OVER
        acts = [Act(*fields) for fields in json.loads(run.prompt.rpartition("\n")[2])]
        act = acts[min(run.attempt, len(acts)) - 1]
        launches = self._launches[directory] = self._launches.get(directory, 0) + 1
        shim = self.shims[directory] = Shim(run, act, inbox, self._tell, is_stillborn=launches <= act.stillborn)
        self._tasks.start_soon(shim.live)
        return Start.STARTED

    async def finish(self, directory: str, _run: Run, *, recover_unbegun: bool) -> Outcome | None:
        shim = self.shims[directory]
        await shim.over.wait()
        if shim.outcome is None and (shim.reports or recover_unbegun):
            await anyio.sleep(RECOVERY)
            shim.outcome = shim.recovered()
        return shim.outcome

    async def send(self, directory: str, letter: Letter) -> None:
        inbox = self._inboxes.get(directory)
        if inbox is None:
            raise FileNotFoundError(directory)
        if all(known.id != letter.id for known in inbox):
            inbox.append(letter)

    async def reports(self, directory: str, after: int) -> list[Report]:
        shim = self.shims.get(directory)
        return shim.reports[after:] if shim else []

    async def kill(self, directory: str) -> None:
        shim = self.shims.get(directory)
        if shim is not None and shim.reports:  # who never said which process it is cannot be found
            shim.scope.cancel()

    async def is_saving(self, directory: str) -> bool:
        shim = self.shims.get(directory)
        return shim is not None and shim.is_saving

    async def has_rebooted(self, _directory: str) -> bool:
        return False
