"""What there is to be judged: what was asked, where to look, the journal and the marks of agents as the files have them."""

import json
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

TERMINAL = {"agent_completed": "completed", "agent_failed": "failed", "agent_cancelled": "cancelled"}
_AFTERWARDS = {"late_report", "checkout_removed", "message_delivered", "message_failed", "message_sent", "pull_request_opened"}
Line = dict[str, Any]


@dataclass
class Asked:
    """What a client asked for, perhaps only `after` a mark. `expected` is what a spawned script does: succeed, fail or exceed.

    `status` is the task's as the answer to a cancel had it.
    """

    kind: str
    key: str
    name: str = ""
    expected: str = "succeed"
    depends_on: tuple[str, ...] = ()
    has_repository: bool = False
    cascade: bool = False
    after: str = ""
    is_acknowledged: bool = False
    status: str = ""


class Fault(NamedTuple):
    """Something that was done to a process of the role, or a call that was refused to it; `root` is everybody's, told for each attempt
    that was not over.

    `run` is the attempt that it worked for, `<taskRunId>.<attempt>`; empty where it worked for none, or for many.
    """

    role: str
    run: str = ""
    is_refusal: bool = False


@dataclass
class Evidence:
    """Where to look, what was asked, what was done to the processes, and the repository as it was before.

    `places` is how many attempts there may be at once, `killed` the pids that were killed from outside.
    """

    root: Path
    repository: Path
    marks: Path
    asked: list[Asked]
    before: dict[str, str]
    places: int = 8
    faults: list[Fault] = field(default_factory=list)
    killed: set[int] = field(default_factory=set)


class Journal:
    """One journal: its whole commits, and the tasks in them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events: list[Line] = []
        self._damage: list[str] = []
        self._read(path.read_bytes())
        self.tasks: dict[str, list[Line]] = defaultdict(list)
        for event in self.events:
            if "orchestrationTaskId" in event:
                self.tasks[event["orchestrationTaskId"]].append(event)
        self.spawned = {event["orchestrationTaskId"]: event for event in self.events if event["event"] == "agent_spawned"}

    def _read(self, content: bytes) -> None:
        commit: list[Line] = []
        for raw in content.split(b"\n"):
            line = _own(raw)
            if line is None:
                continue
            commit.append(line)
            if line["seq"] == line.get("end", line["seq"]):
                self.events += commit
                commit = []
        if commit or (content and not content.endswith(b"\n")):
            self._damage.append("its end is torn")
        numbers = [event["seq"] for event in self.events]
        if numbers != list(range(1, len(numbers) + 1)):
            self._damage.append(f"its numbers are not 1 to {len(numbers)}")

    def status(self, task: str) -> str:
        """By the terminal event alone."""
        return next((TERMINAL[event["event"]] for event in self.tasks[task] if event["event"] in TERMINAL), "open")

    def findings(self) -> Iterator[str]:
        """What is wrong in the journal by itself."""
        yield from (f"{self.path}: {damage}" for damage in self._damage)
        for task in self.spawned:
            yield from (f"{task}: {finding}" for finding in self._life(self.tasks[task]))

    def _life(self, events: list[Line]) -> Iterator[str]:
        ended = [event for event in events if event["event"] in TERMINAL]
        if len(ended) != 1:
            yield f"it has ended {len(ended)} times"
            return
        later = {event["event"] for event in events if event["seq"] > ended[0]["seq"]} - _AFTERWARDS
        if later:
            yield f"after its end there is {', '.join(sorted(later))}"
        begun = [event["attempt"] for event in events if event["event"] == "attempt_started"]
        over = [event["attempt"] for event in events if event["event"] == "attempt_ended"]
        if begun != list(range(1, len(begun) + 1)) or over != begun:
            yield f"attempts {begun} were started and {over} ended"
        order = [event["attempt"] for event in events if event["event"] in ("attempt_started", "attempt_ended")]
        if order != sorted(order):
            yield "an attempt was started before the one before had ended"
        yield from self._order(events)

    def _order(self, events: list[Line]) -> Iterator[str]:
        spec = events[0]["spec"]
        first = next((event["seq"] for event in events if event["event"] == "attempt_started"), None)
        if first is None:
            return
        good = {"completed"} if spec["onDependencyFailure"] == "fail" else set(TERMINAL.values())
        for dependency in spec["dependsOn"]:
            ends = [event for event in self.tasks[dependency] if event["event"] in TERMINAL and event["seq"] < first]
            if not ends or TERMINAL[ends[0]["event"]] not in good:
                yield f"it was started before its dependency {dependency} had completed"


def _own(raw: bytes) -> Line | None:
    try:
        line = json.loads(raw)
    except ValueError:
        return None
    return line if isinstance(line, dict) and isinstance(line.get("seq"), int) and "event" in line else None


def read_marks(path: Path) -> set[tuple[str, str, str]]:
    """`WHAT NAME RUN`, with what an agent began, wrote, ended, or in how many attempts it found itself."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {(words[0], words[1], words[2]) for words in map(str.split, lines) if len(words) == 3}


class Start(NamedTuple):
    """An agent's own process has begun a run; `at` is in epoch seconds."""

    name: str
    run: str
    pid: int
    at: float


def starts(path: Path) -> list[Start]:
    """What agents marked: `agent NAME RUN PID SECONDS`."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = [words[1:] for words in map(str.split, lines) if len(words) == 5 and words[0] == "agent"]
    return [Start(name, run, int(pid), float(at)) for name, run, pid, at in found]


def started(path: Path) -> dict[str, int]:
    """By run, the pid of its agent."""
    return {one.run: one.pid for one in starts(path)}


def git(repository: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=repository, check=True, capture_output=True, text=True).stdout
