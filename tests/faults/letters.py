"""Messages to agents that can be spoken to: what the journal says of each, against what the agents marked that they heard."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.faults import causes
from tests.faults.evidence import Evidence, Journal, Line


class Heard(NamedTuple):
    """An agent had this message in that run."""

    name: str
    run: str
    key: str


def heard(marks: Path) -> list[Heard]:
    """What agents marked: `heard NAME RUN KEY`."""
    lines = marks.read_text(encoding="utf-8").splitlines() if marks.exists() else []
    return [Heard(*words[1:]) for words in map(str.split, lines) if len(words) == 4 and words[0] == "heard"]


def judged(evidence: Evidence, journals: list[Journal]) -> Iterator[str]:
    """Each message has one true receipt, and nobody heard what is not for him."""
    marked = heard(evidence.marks)
    for journal in journals:
        for event in journal.events:
            if event["event"] == "message_sent" and event["to"] in journal.spawned:
                yield from _receipt(evidence, journal, event, marked)
    addressed = {
        (journal.spawned[event["to"]]["taskRunId"], event.get("idempotencyKey"))
        for journal in journals
        for event in journal.events
        if event["event"] == "message_sent" and event["to"] in journal.spawned
    }
    for one in marked:
        if (one.run.rpartition(".")[0], one.key) not in addressed:
            yield f"{one.key} was heard by {one.name} in {one.run}, and is not for it"


def _receipt(evidence: Evidence, journal: Journal, sent: Line, marked: list[Heard]) -> Iterator[str]:
    reader, key, number = sent["to"], sent.get("idempotencyKey"), sent["seq"]
    mine = [event for event in journal.events if event.get("reader") == reader]
    had = sum(number in event["messageIds"] for event in mine if event["event"] == "message_delivered")
    lost = sum(event["messageId"] == number for event in mine if event["event"] == "message_failed")
    was_heard = any(one.key == key and one.run.rpartition(".")[0] == journal.spawned[reader]["taskRunId"] for one in marked)
    if had + lost != 1:
        yield f"{key} has {had} receipts, and is called undeliverable {lost} times"
    if had and not was_heard:
        yield f"{key} is called delivered, and its agent has not heard it"
    if (
        lost
        and was_heard
        and journal.status(reader) == "completed"
        and not any(
            causes.was_refused(evidence, f"{journal.spawned[reader]['taskRunId']}.{event['attempt']}")
            for event in journal.tasks[reader]
            if event["event"] == "attempt_started"
        )
    ):
        yield f"{key} is called undeliverable, and its agent had heard it"
