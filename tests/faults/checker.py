"""What must be true of a memory root when everything has come to rest, found out from its files alone.

It shares no code with what it judges: it reads the journal, the views, the run directories, the marks that agents left, the user's
repository and the list of processes by itself. Every finding is one sentence.
"""

import json
from collections import Counter
from collections.abc import Iterator

from tests.faults import causes, files, letters, places, repository
from tests.faults.evidence import TERMINAL, Asked, Evidence, Journal, Line, read_marks, started

_KILL = 9


def check(evidence: Evidence) -> list[str]:
    """Everything that is wrong."""
    journals = [Journal(path) for path in sorted(evidence.root.glob("orchestrations/*/EVENTS.jsonl"))]
    return [
        *(finding for journal in journals for finding in journal.findings()),
        *_asked(evidence, journals),
        *(finding for journal in journals for finding in _truth(evidence, journal)),
        *causes.judged(evidence, journals),
        *places.judged(evidence, journals),
        *letters.judged(evidence, journals),
        *files.judged(evidence, journals),
        *_marks(evidence),
        *repository.judged(evidence, journals),
    ]


def _asked(evidence: Evidence, journals: list[Journal]) -> Iterator[str]:
    found: Counter[str] = Counter()
    for journal in journals:
        found.update(event["idempotencyKey"] for event in journal.events if "idempotencyKey" in event)
    for asked in evidence.asked:
        if asked.kind in ("spawn", "message"):
            count = found.pop(asked.key, 0)
            if asked.is_acknowledged and count != 1:
                yield f"the {asked.kind} {asked.key} was acknowledged and is there {count} times"
            elif count > 1:
                yield f"the {asked.kind} {asked.key} is there {count} times"
        if asked.kind == "cancel" and asked.is_acknowledged and not _is_cancel_there(asked, journals):
            yield f"the cancel of {asked.name} was acknowledged and is not there"
    yield from (f"nobody asked for {key}" for key in found)


def _is_cancel_there(asked: Asked, journals: list[Journal]) -> bool:
    """Whether the task was asked to end, or had ended by itself, as whoever asked was told then."""
    wanted = {"cancel_requested", *(TERMINAL if asked.status in TERMINAL.values() else ())}
    tasks = [(journal, task) for journal in journals for task, spawned in journal.spawned.items() if spawned["id"] == asked.name]
    return any(wanted & {event["event"] for event in journal.tasks[task]} for journal, task in tasks)


def _truth(evidence: Evidence, journal: Journal) -> Iterator[str]:
    """Whether each end says what happened."""
    asked = {one.key: one for one in evidence.asked if one.kind == "spawn"}
    marks = read_marks(evidence.marks)
    for task, spawned in journal.spawned.items():
        one = asked.get(spawned.get("idempotencyKey", ""))
        end = next((event for event in journal.tasks[task] if event["event"] in TERMINAL), None)
        if one is None or end is None:
            continue
        last = next((event for event in reversed(journal.tasks[task]) if event["event"] == "attempt_ended"), None)
        run = f"{spawned['taskRunId']}.{last['attempt']}" if last else ""
        reached_end = ("end", one.name, run) in marks
        was_killed = bool(last) and last.get("totals", {}).get("signal") == _KILL and started(evidence.marks).get(run) in evidence.killed
        told = _told(evidence, journal, one, end, run, reached_end=reached_end, was_killed=was_killed)
        yield from (f"{one.name}: {finding}" for finding in told)


def _told(evidence: Evidence, journal: Journal, one: Asked, end: Line, run: str, *, reached_end: bool, was_killed: bool) -> Iterator[str]:
    """`was_killed`: that attempt's own agent ended by the kill that it was dealt, which may be between its last mark and its exit."""
    status, reason = TERMINAL[end["event"]], end.get("reason")
    dependencies = [journal.status(task) for task in journal.spawned[end["orchestrationTaskId"]]["spec"]["dependsOn"]]
    # Who was killed as one of an agent's processes may have been what the script waited for.
    is_cut_short = one.expected == "exceed" and causes.was_struck(evidence, run, "agent")
    if status == "completed" and not (reached_end and (one.expected == "succeed" or is_cut_short)):
        yield f"it is called completed, and its script {'was to ' + one.expected if reached_end else 'did not get to its end'}"
    if status == "completed" and not _is_verified(journal, end["orchestrationTaskId"]):
        yield "it is called completed, and was not verified"
    if status == "cancelled" and not causes.was_cancelled(evidence, one.name):
        yield "it was cancelled, and nobody asked for that"
    if status != "failed":
        return
    is_told = causes.was_refused(evidence, run) and "could not be saved" in end.get("errorMessage", "")
    if reason == "exit" and reached_end and one.expected == "succeed" and not is_told and not was_killed:
        yield f"it is called failed by its exit, and its script succeeded: {end.get('errorMessage')}"
    if reason == "timeout" and one.expected != "exceed":
        yield "it is called failed by its time, and had enough"
    if reason == "dependency" and not set(dependencies) & {"failed", "cancelled"}:
        yield "it is called failed by a dependency, and none failed"
    if reason == "lost" and reached_end and _had_succeeded(journal, end["orchestrationTaskId"]):
        yield "it is called lost, and its shim had told of its success"


def _is_verified(journal: Journal, task: str) -> bool:
    """Whether what was to be verified has been, by the last attempt's end."""
    totals = [event["totals"] for event in journal.tasks[task] if event["event"] == "attempt_ended"]
    return not journal.spawned[task]["spec"].get("verify") or (bool(totals) and totals[-1].get("verified") is True)


def _had_succeeded(journal: Journal, task: str) -> bool:
    """Whether the last attempt's report says so; where the recovery could not save the work, its end says that."""
    last = [event for event in journal.tasks[task] if event["event"] == "attempt_ended"][-1]
    if "could not be recovered" in last.get("errorMessage", ""):
        return False
    report = journal.path.parent / "runs" / journal.spawned[task]["taskRunId"] / str(last["attempt"]) / "report.jsonl"
    whole = report.read_bytes().rpartition(b"\n")[0] if report.exists() else b""  # who was killed in a line has not said it
    lines = [json.loads(line) for line in whole.splitlines()]
    return any(line["type"] == "ended" and line["facts"]["verdict"]["succeeded"] for line in lines)


def _marks(evidence: Evidence) -> Iterator[str]:
    marks = read_marks(evidence.marks)
    yield from (f"{name} ran in two attempts at once ({run})" for what, name, run in sorted(marks) if what == "overlap")
    lines = evidence.marks.read_text(encoding="utf-8").splitlines() if evidence.marks.exists() else []
    for line, count in Counter(line for line in lines if line.startswith("begin ")).items():
        if count > 1:
            yield f"{line!r}: one attempt began {count} times"
