"""Which fault may have brought which end about: one at that very attempt, a refusal to everybody, or one that nobody can assign."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.faults.evidence import TERMINAL, Evidence, Fault, Journal, Line, read_marks

ROOT = "root"  # refused to everybody


class _Cause(NamedTuple):
    """Who may have been struck at the attempt, whether a refusal at it does as well, and who it may be of whom nobody can tell for whom.

    The last are a shim before it is in its run's directory, or whoever starts one: each such fault is good for one end.
    """

    struck: tuple[str, ...]
    is_by_refusal: bool
    unassigned: tuple[Fault, ...]
    finding: str
    is_before_guard: bool = False  # a guard counts only where that attempt's has not reported: what was struck was about to be a git


# A git of the shim's counts as an agent, one that has only just been forked as a guard; a fork server holds a run's lock while it
# makes its shim.
_LOST = ("shim", "guard", "recovery", "agent", "forkserver")
_REFUSED = tuple(Fault(role, is_refusal=True) for role in ("runner", "forkserver", "shim"))
_NOT_STARTED = _Cause(("agent", "guard"), True, _REFUSED, "and no call was refused", is_before_guard=True)
_CAUSES = {
    "lost": _Cause(_LOST, True, (Fault("shim"), Fault("shim", is_refusal=True)), "and no shim of its died"),
    "exit": _Cause(("agent", "guard"), False, (), "and nothing touched its agent"),
    "verify": _Cause(("agent", "guard"), False, (), "and nothing touched that"),
    **dict.fromkeys(("spawn", "setup"), _NOT_STARTED),
}
_ELSEWHERE = {"timeout", "dependency", "cancelled"}  # judged by what was asked for


def was_struck(evidence: Evidence, run: str, *roles: str) -> bool:
    """Whether something happened to one of these of that attempt."""
    return any(fault.run == run and fault.role in roles for fault in evidence.faults)


def was_refused(evidence: Evidence, run: str) -> bool:
    """Whether a call was refused to that attempt, or its git was killed over one."""
    here = any(fault.is_refusal and fault.run == run for fault in evidence.faults)
    return here or was_struck(evidence, run, "agent") or (_directory(evidence, run) is None and _was_spoilt(evidence))


def _was_spoilt(evidence: Evidence) -> bool:
    return any(fault.role == ROOT for fault in evidence.faults)


def _directory(evidence: Evidence, run: str) -> Path | None:
    """Where that attempt's files are; None where it did not come to have any."""
    return next(evidence.root.glob(f"orchestrations/*/runs/{run.replace('.', '/')}"), None)


def _has_guard(evidence: Evidence, run: str) -> bool:
    """Whether a guard of that attempt stood, by its report."""
    directory = _directory(evidence, run)
    report = directory / "report.jsonl" if directory else None
    return report is not None and report.exists() and b'"type":"guard"' in report.read_bytes()


def has_fault(evidence: Evidence, run: str) -> bool:
    """Whether anything happened to that attempt at all."""
    return any(fault.run == run for fault in evidence.faults) or was_refused(evidence, run)


def was_cancelled(evidence: Evidence, name: str) -> bool:
    """Whether somebody asked for the end of that task, or of one that it depends on and of all behind that."""
    behind = {asked.name: asked.depends_on for asked in evidence.asked if asked.kind == "spawn"}
    above, left = set(), [name]
    while left:
        left += [one for one in behind.get(left.pop(), ()) if one not in above and not above.add(one)]  # type: ignore[func-returns-value]
    cancels = [asked for asked in evidence.asked if asked.kind == "cancel"]
    return any(cancel.name == name or (cancel.cascade and cancel.name in above) for cancel in cancels)


def judged(evidence: Evidence, journals: list[Journal]) -> Iterator[str]:
    """Every attempt that did not end as its script does has a fault of its own that explains it."""
    asked = {one.key: one for one in evidence.asked if one.kind == "spawn"}
    ended = {(name, run) for what, name, run in read_marks(evidence.marks) if what == "end"}
    unassigned = Counter(fault for fault in evidence.faults if not fault.run)
    for journal in journals:
        for task, spawned in journal.spawned.items():
            one = asked.get(spawned.get("idempotencyKey", ""))
            for event in journal.tasks[task] if one else []:
                reason, run = _failed(event), f"{spawned['taskRunId']}.{event.get('attempt')}"
                if one is None or reason is None or reason in _ELSEWHERE or (reason == "exit" and (one.name, run) in ended):
                    continue
                finding = _unexplained(evidence, run, reason, unassigned)
                if finding:
                    yield f"{one.name}: {run} ended by `{reason}`, {finding}"
            yield from _unlike(journal.tasks[task])


def _failed(event: Line) -> str | None:
    is_failure = event["event"] == "attempt_ended" and not event.get("succeeded")
    return str(event.get("reason")) if is_failure else None


def _unexplained(evidence: Evidence, run: str, reason: str, unassigned: Counter[Fault]) -> str:
    cause = _CAUSES.get(reason)
    if cause is None:
        return "and nothing here ends so"
    struck = [role for role in cause.struck if role != "guard" or not (cause.is_before_guard and _has_guard(evidence, run))]
    if was_struck(evidence, run, *struck) or (cause.is_by_refusal and was_refused(evidence, run)):
        return ""
    found = next((fault for fault in cause.unassigned if unassigned[fault]), None)
    if found is None:
        return cause.finding
    unassigned[found] -= 1
    return ""


def _unlike(events: list[Line]) -> Iterator[str]:
    """A task ends for its last attempt's reason, or for one that needs none."""
    end = next((event for event in events if event["event"] in TERMINAL), None)
    if end is None or end["event"] != "agent_failed" or end.get("reason") in ("dependency", "cancelled"):
        return
    last = next((event for event in reversed(events) if event["event"] == "attempt_ended"), None)
    if last is None or last.get("reason") != end.get("reason"):
        yield f"{end['orchestrationTaskId']} is called failed by `{end.get('reason')}`, its last attempt {last and last.get('reason')}"
