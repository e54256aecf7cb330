"""How long it takes from a kill of the runner alone to the next agent's start, where one could have started; a figure, not a judgement."""

import time
from pathlib import Path

from tests.faults.evidence import TERMINAL, Journal, starts


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
        self._ready = {name for path in self._root.glob("orchestrations/*/EVENTS.jsonl") for name in ready(Journal(path))}

    def look(self, faults: int) -> None:
        """Whether it is over; `faults` is how many there have been until now."""
        if not self._ready:
            return
        begun = [one.at - self._began for one in starts(self._marks) if one.name in self._ready and one.at > self._began]
        if begun and faults == self._faults:
            self.seconds.append(min(begun))
        if begun or faults != self._faults:
            self._ready = set()


def ready(journal: Journal) -> set[str]:
    """The names of tasks that wait for nothing but a runner."""
    found = set()
    for task, spawned in journal.spawned.items():
        has_begun = any(event["event"] in ("attempt_started", *TERMINAL) for event in journal.tasks[task])
        if not has_begun and all(journal.status(other) == "completed" for other in spawned["spec"]["dependsOn"]):
            found.add(spawned["id"])
    return found
