"""How many attempts there were at once: by the journal, and by what the agents themselves marked."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.faults.evidence import Evidence, Journal


def judged(evidence: Evidence, journals: list[Journal]) -> Iterator[str]:
    """Whether an orchestration ever had more than there are places."""
    for journal in journals:
        steps = ({"attempt_started": 1, "attempt_ended": -1}.get(event["event"], 0) for event in journal.events)
        most = _most(steps)
        if most > evidence.places:
            yield f"{journal.path}: {most} attempts at once, and {evidence.places} places"
        runs = {spawned["taskRunId"] for spawned in journal.spawned.values()}
        most = most_marked(evidence.marks, runs)
        if most > evidence.places:
            yield f"{journal.path}: {most} agents at once by their marks, and {evidence.places} places"


def most_marked(marks: Path, runs: set[str]) -> int:
    """How many agents of these tasks lived at once, as the order of their marks has it; of those only that came to their end.

    Of the others nobody marked when they were killed.
    """
    lines = marks.read_text(encoding="utf-8").splitlines() if marks.exists() else []
    found = [(words[0], words[2]) for words in map(str.split, lines) if len(words) == 3 and words[0] in ("begin", "end")]
    whole = {run for what, run in found if what == "end" and run.rpartition(".")[0] in runs}
    return _most({"begin": 1, "end": -1}[what] for what, run in found if run in whole)


def _most(steps: Iterable[int]) -> int:
    there = most = 0
    for step in steps:
        there += step
        most = max(most, there)
    return most
