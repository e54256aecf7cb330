"""What must be true of a memory root's files at rest: views as the journal says, saved work, nothing held, left or running."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from tests.faults import causes
from tests.faults.evidence import Evidence, Journal, Line, git, read_marks
from tests.faults.repository import salvaged


def judged(evidence: Evidence, journals: list[Journal]) -> Iterator[str]:
    """Everything that is wrong with them."""
    for journal in journals:
        yield from _views(journal)
    yield from _work(evidence, journals)
    yield from _files(evidence.root)
    yield from _processes(evidence.root)


def _views(journal: Journal) -> Iterator[str]:
    directory = journal.path.parent
    documents: dict[str, Line] = {}
    for name in ("PLAN.json", "AGENTS.json", "MAILBOX.json"):
        try:
            documents[name] = json.loads((directory / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            yield f"{directory / name} cannot be read: {error}"
    if len(documents) < 3:
        return
    expected = {task: journal.status(task) for task in journal.spawned}
    for name, key in (("PLAN.json", "tasks"), ("AGENTS.json", "agents")):
        shown = {one["orchestrationTaskId"]: one["status"] for one in documents[name][key]}
        if shown != expected:
            yield f"{directory / name} says {shown} where the journal says {expected}"
    sent = sum(event["event"] == "message_sent" for event in journal.events)
    if len(documents["MAILBOX.json"]["messages"]) != sent:
        yield f"{directory / 'MAILBOX.json'} has {len(documents['MAILBOX.json']['messages'])} messages, the journal {sent}"
    if documents["PLAN.json"]["_view"]["seq"] != len(journal.events):
        yield f"{directory / 'PLAN.json'} is of {documents['PLAN.json']['_view']['seq']}, the journal goes to {len(journal.events)}"


def _work(evidence: Evidence, journals: list[Journal]) -> Iterator[str]:
    """Whatever a script had written is in a ref, whichever way its attempt ended."""
    names = {one.name for one in evidence.asked if one.has_repository}
    refs = salvaged(evidence.repository)
    for what, name, run in sorted(read_marks(evidence.marks)):
        if what != "wrote" or name not in names:
            continue
        task_run, _, attempt = run.rpartition(".")
        ref = f"refs/devsh/salvage/{task_run}/{attempt}"
        path = f"{name}.{run}.txt"
        if ref in refs and path in git(evidence.repository, "ls-tree", "--name-only", "-r", ref).split():
            continue
        kept = [found for journal in journals for found in journal.path.parent.glob(f"runs/{task_run}/{attempt}/workspace/{path}")]
        told = any(_is_kept(event) for journal in journals for event in journal.events if event.get("taskRunId") == task_run)
        if not (kept and told and causes.has_fault(evidence, run)):
            yield f"{path} was written by {name} and is not in {ref}"


def _is_kept(event: Line) -> bool:
    said = event.get("errorMessage", "")
    return "its checkout is kept" in said or "could not be saved" in said


def _files(root: Path) -> Iterator[str]:
    for path in sorted(root.rglob("*")):
        if "workspace" in path.parts or "git" in path.parts or not path.is_file():
            continue
        if path.suffix == ".tmp" or ".tmp." in path.name:
            yield f"{path} was left behind"
        if path.suffix == ".json" and "run" not in path.suffixes:
            try:
                json.loads(path.read_bytes())
            except ValueError as error:
                yield f"{path} cannot be read: {error}"
        if path.name == "lock" or path.suffix == ".lock":
            yield from _held(path)


def _held(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            yield f"{path} is held"


def _processes(root: Path) -> Iterator[str]:
    needle = os.fsencode(root)
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{name}/cmdline").read_bytes()
            if int(name) != os.getpid() and needle in words + Path(f"/proc/{name}/environ").read_bytes():
                yield f"process {name} is left: {words.replace(bytes(1), b' ').decode(errors='replace')[:200]}"
