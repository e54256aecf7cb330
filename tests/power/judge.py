"""What must be true of a memory root after the power has gone and come back.

1. What was answered is in the journal, and nothing runs or ran that the disk does not know: no agent without its guard, its run.json and
   its attempt in the journal.
2. A journal is whole commits and at most a torn end, which the next writer moves aside; a run file is whole or absent.
3. What an agent has come to is in one of three places, and any of them is enough: the attempt's end in the journal (which has all the
   outcome's totals, so the outcome may be gone), outcome.json, or the report `ended`, from which a recovery makes the outcome again.
4. `fsck` finds what is made good by the next runner and nothing else, and is content after a repair.

Views may be broken or old: they are made anew. Files whose names are lost before anybody was answered may be lost.
"""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import anyio

from devsh_memory_mcp.domain.events import MessageSent
from devsh_memory_mcp.engine.preparation import choose
from devsh_memory_mcp.errors import DevshError
from devsh_memory_mcp.ports import Decision
from devsh_memory_mcp.shim import rundir
from devsh_memory_mcp.shim.shape import from_json
from devsh_memory_mcp.store.fsck import check
from devsh_memory_mcp.store.journal import FileJournal
from devsh_memory_mcp.store.reference import BASES, Refs, Repository
from devsh_memory_mcp.store.root import MemoryRoot
from tests.doubles.clock import StoppedClock
from tests.faults.evidence import TERMINAL, Journal
from tests.power.disk import Found, Line

JOURNAL = "EVENTS.jsonl"
# What `fsck` may find: ends that were cut off, views that are made anew, attempts that died, and files nobody had been told of.
_MAY_BE = {"torn_end", "foreign_lines", "stale_temporary_file", "views_behind", "view_broken", "view_differs", "link_broken", "set_aside"}
_ANEW = {"attempt_not_running", "journal_missing"}  # what the next runner finds the end of, or takes away: a directory without its journal


@dataclass
class Owed:
    """What the disk owes, as the log goes on."""

    answers: list[Line] = field(default_factory=list)
    guards: list[int] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)  # run directories in which an outcome is in place

    def take(self, line: Line, above: str) -> None:
        if line["op"] == "answer":
            self.answers.append(line)
        elif line["op"] == "agent" and "bundle=$1" not in "".join(line["words"]):
            self.guards.append(line["guard"])
        elif line["op"] in ("fsync", "skipped") and line["directory"] and "shim.ending.End.write" in line["by"]:
            self.ended.append(line["path"].removeprefix(f"{above}/"))


def missing(found: Found, owed: Owed) -> Iterator[str]:
    """What was promised and is not there; by the bytes alone."""
    events = [event for path, content in _named(found, JOURNAL) for event in whole_commits(content)]
    yield from _answers(found, events, owed.answers)
    reports = {os.path.dirname(path): whole_lines(content) for path, content in _named(found, "report.jsonl")}
    guards = {line["process"]["pid"]: place for place, lines in reports.items() for line in lines if line["type"] == "guard"}
    begun = {f"{event['taskRunId']}/{event['attempt']}" for event in events if event["event"] == "attempt_started"}
    over = {f"{event['taskRunId']}/{event['attempt']}" for event in events if event["event"] == "attempt_ended"}
    for guard in owed.guards:
        place = guards.get(guard)
        if place is None:
            yield "an agent ran whose guard is not on the disk"
        elif _attempt(place) not in begun:
            yield "an agent ran whose attempt is not in the journal"
        elif f"{place}/run.json" not in found:
            yield "an agent ran whose run.json is not on the disk"
    for place in owed.ended:
        told = any(line["type"] == "ended" for line in reports.get(place, []))
        if not (told or f"{place}/outcome.json" in found or _attempt(place) in over):
            yield "what an agent has come to is nowhere"
    yield from _kept(found, events)
    for name in ("run.json", "outcome.json"):
        yield from (f"{name} is neither whole nor absent" for _, content in _named(found, name) if not _is_whole(name, content))


def _answers(found: Found, events: list[Line], answers: list[Line]) -> Iterator[str]:
    keys = {event["idempotencyKey"] for event in events if "idempotencyKey" in event}
    stopped = {event["orchestrationTaskId"] for event in events if event["event"] in {"cancel_requested", *TERMINAL}}
    begun = {event["orchestrationId"] for event in events if event["event"] == "orchestration_created"}
    for answer in answers:
        if answer["kind"] == "new":
            if answer["task"] not in begun or f"orchestrations/{answer['task']}" not in found.values():
                yield "an orchestration was made, and it or the symlink to it is not there"
        elif answer["task"] not in stopped if answer["kind"] == "cancel" else answer["key"] not in keys:
            yield f"a {answer['kind']} was answered and is not in the journal"


def _kept(found: Found, events: list[Line]) -> Iterator[str]:
    """What the journal says was moved aside."""
    names = {os.path.basename(path): content for path, content in found.items() if isinstance(content, bytes)}
    for event in events:
        if event["event"] == "journal_repaired" and len(names.get(event["kept"], b"")) != event["bytes"]:
            yield "a torn end is not where the journal says"
        if event["event"] == "plan_edited" and not set(event["kept"].split(", ")) <= names.keys():
            yield "an edited view is not where the journal says"


def _named(found: Found, name: str) -> Iterator[tuple[str, bytes]]:
    for path, content in found.items():
        if path.endswith(f"/{name}") and isinstance(content, bytes):
            yield path, content


def _attempt(place: str) -> str:
    return "/".join(place.split("/")[-2:])


@cache
def whole_commits(content: bytes) -> list[Line]:
    """The events up to the first that is torn."""
    events: list[Line] = []
    commit: list[Line] = []
    for line in whole_lines(content):
        if line["seq"] != len(events) + len(commit) + 1:
            break
        commit.append(line)
        if line["seq"] == line.get("end", line["seq"]):
            events, commit = events + commit, []
    return events


@cache
def whole_lines(content: bytes) -> list[Line]:
    """The lines that can be read."""
    found = []
    for raw in content[: content.rfind(b"\n") + 1].splitlines():
        try:
            found.append(json.loads(raw))
        except ValueError:
            continue
    return found


@cache
def _is_whole(name: str, content: bytes) -> bool:
    shape: Any = rundir.Run if name == "run.json" else rundir.Outcome
    try:
        from_json(shape, json.loads(content))
    except ValueError:
        return False
    return True


def essence(found: Found) -> frozenset[tuple[str, object]]:
    """What tells one state from another: it does not matter how a view or a temporary file is broken, or whom a lock names."""
    return frozenset((path, _essential(path, content)) for path, content in found.items())


@cache
def _essential(path: str, content: bytes | str | None) -> object:
    if path.endswith((".tmp", "lock")):
        return True
    if path.endswith(("PLAN.json", "AGENTS.json", "MAILBOX.json", "views.json")) and isinstance(content, bytes):
        return content if content[-2:] == b"}\n" and b"\0" not in content else b""
    return content


def write(found: Found, above: Path) -> Path:
    """The files as they were left, for real; the root."""
    shutil.rmtree(above, ignore_errors=True)
    above.mkdir(mode=0o700)
    for path, content in found.items():  # a directory comes before what is in it
        if content is None:
            (above / path).mkdir(mode=0o700)
        elif isinstance(content, bytes):
            (above / path).write_bytes(content)
            (above / path).chmod(0o600)
        else:
            (above / path).symlink_to(content)
    return above / "memory"


def restarted(found: Found, above: Path) -> Iterator[str]:
    """What is wrong when programs use it again."""
    if "memory" not in found:
        return
    root = write(found, above)
    place = MemoryRoot(root, StoppedClock(), choose, {})
    findings = [finding for finding in check(place, StoppedClock(), choose, repair=True, look_=_look) if not finding.is_note]
    yield from (f"fsck finds {finding.code}" for finding in findings if finding.code not in _MAY_BE | _ANEW)
    yield from (f"fsck does not mend {finding.code}" for finding in findings if not finding.repaired and finding.code not in _ANEW)
    place.tidy()
    newest = next(iter(place.all()), None)
    if newest is not None and not (place.link.is_symlink() and os.path.samefile(place.link, newest.directory)):
        yield "the symlink does not name the newest orchestration"


def written_on(content: bytes, above: Path) -> Iterator[str]:
    """What is wrong when the next writer goes on with a journal."""
    shutil.rmtree(above, ignore_errors=True)
    above.mkdir(mode=0o700)
    path = above / JOURNAL
    path.write_bytes(content)
    try:
        seqs = anyio.run(_append, above)
    except DevshError as error:
        yield f"the next commit is refused: {error.code}"
        return
    before, after = whole_commits(content), Journal(path).events
    if after[: len(before)] != before or [event["seq"] for event in after] != list(range(1, seqs[-1] + 1)):
        yield "the next commit has changed what was there"
    whole = b"".join(part.read_bytes() for part in sorted(above.glob(f"{JOURNAL}*")))
    if len(whole) < len(content):
        yield "the next commit has thrown something away"


async def _append(directory: Path) -> tuple[int, ...]:
    journal = FileJournal(directory, StoppedClock())
    try:
        event = MessageSent.model_validate({"from": "head", "to": "head", "type": "status", "message": "after the loss"})
        committed = await journal.transact(lambda _state, _now: Decision((event,), None))
        assert (await journal.read()).seq == committed.seqs[-1]
        return committed.seqs
    finally:
        await journal.aclose()


class _Names(dict[str, str]):
    """Every ref but the bases, which are taken away at the end: git's refs are git's own."""

    def __contains__(self, name: object) -> bool:
        return not str(name).startswith(BASES)

    def get(self, _name: str, _default: object = None) -> str:  # type: ignore[override]
        return "0" * 40


def _look(_repository: Repository, commits: Sequence[str]) -> Refs:
    return Refs(names=_Names(), there=frozenset(commits), gone=frozenset())
