"""How long it takes from a kill of the runner alone to the next agent's start, where one could have started; a figure, not a judgement."""

import time
from pathlib import Path

from tests.faults.evidence import TERMINAL, Journal, read_marks, starts


class Stopwatch:
    """Runs from a kill to the first mark of an agent that was ready then; another fault in between spoils it."""

    def __init__(self, root: Path, marks: Path) -> None:
        self._root = root
        self._marks = marks
        self._began = 0.0
        self._ready: set[str] = set()
        self._faults = 0
        self.seconds: list[float] = []

    def begin(self, faults: int) -> None:
        """The runner was killed just now, as the fault of that number."""
        self._began, self._faults = time.time(), faults
        self._ready = self.ready()

    def ready(self) -> set[str]:
        """The names of tasks that wait for nothing but a runner."""
        ended = {name for what, name, _ in read_marks(self._marks) if what == "end"}
        return {name for path in self._root.glob("orchestrations/*/EVENTS.jsonl") for name in _ready(Journal(path), ended)}

    def look(self, faults: int) -> None:
        """Whether it is over; `faults` is how many there have been until now."""
        if not self._ready:
            return
        begun = [one.at - self._began for one in starts(self._marks) if one.name in self._ready and one.at > self._began]
        if begun and faults == self._faults:
            self.seconds.append(min(begun))
        if begun or faults != self._faults:
            self._ready = set()


def _ready(journal: Journal, ended: set[str]) -> set[str]:
    """Those whose dependencies have completed, or have come to their end and are only being saved."""
    found = set()
    for task, spawned in journal.spawned.items():
        has_begun = any(event["event"] in ("attempt_started", *TERMINAL) for event in journal.tasks[task])
        behind = spawned["spec"]["dependsOn"]
        done = [
            journal.status(one) == "completed" or (journal.status(one) == "open" and journal.spawned[one]["id"] in ended) for one in behind
        ]
        if not has_begun and all(done):
            found.add(spawned["id"])
    return found


def _is_done(journal: Journal, task: str, ended: set[str]) -> bool:
    status = journal.status(task)
    return status == "completed" or (status == "open" and journal.spawned[task]["id"] in ended)
