"""What must be true of a memory root when everything has come to rest, found out from its files alone.

It shares no code with what it judges: it reads the journal, the views, the run directories, the marks that agents left, the user's
repository and the list of processes by itself. Every finding is one sentence.
"""

import contextlib
import fcntl
import json
import os
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TERMINAL = {"agent_completed": "completed", "agent_failed": "failed", "agent_cancelled": "cancelled"}
_AFTERWARDS = {"late_report", "checkout_removed", "message_delivered", "message_failed", "message_sent", "pull_request_opened"}
Line = dict[str, Any]


@dataclass
class Asked:
    """What a client asked for, perhaps only `after` a mark. `expected` is what a spawned script does: succeed, fail or exceed."""

    kind: str
    key: str
    name: str = ""
    expected: str = "succeed"
    depends_on: tuple[str, ...] = ()
    has_repository: bool = False
    cascade: bool = False
    after: str = ""
    is_acknowledged: bool = False


@dataclass
class Evidence:
    """Where to look, what was asked, what was done to the processes (`faults`), and the repository as it was before."""

    root: Path
    repository: Path
    marks: Path
    asked: list[Asked]
    before: dict[str, str]
    places: int = 1000
    faults: set[str] = field(default_factory=set)


def check(evidence: Evidence) -> list[str]:
    """Everything that is wrong."""
    journals = [Journal(path) for path in sorted(evidence.root.glob("orchestrations/*/EVENTS.jsonl"))]
    return [
        *(finding for journal in journals for finding in journal.findings()),
        *_asked(evidence, journals),
        *(finding for journal in journals for finding in _truth(evidence, journal)),
        *(finding for journal in journals for finding in _views(journal)),
        *_work(evidence, journals),
        *_marks(evidence),
        *_files(evidence.root),
        *_processes(evidence.root),
        *_repository(evidence, journals),
    ]


def snapshot(repository: Path) -> dict[str, str]:
    """What of a repository must not change: its branches, its HEAD, its work tree, its settings."""
    config = (repository / ".git" / "config").read_text(encoding="utf-8")
    return {
        "HEAD": (repository / ".git" / "HEAD").read_text(encoding="utf-8"),
        "config": config,
        "status": _git(repository, "status", "--porcelain", "--ignored"),
        **{f"refs/heads/{name}": tip for name, tip in _branches(repository).items()},
    }


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
        if asked.kind == "cancel" and asked.is_acknowledged and not _is_cancel_there(asked.name, journals):
            yield f"the cancel of {asked.name} was acknowledged and is not there"
    yield from (f"nobody asked for {key}" for key in found)


def _is_cancel_there(name: str, journals: list[Journal]) -> bool:
    """Whether the task of that name was asked to end, or had ended by itself."""
    tasks = [(journal, task) for journal in journals for task, spawned in journal.spawned.items() if spawned["id"] == name]
    return any({"cancel_requested", *TERMINAL} & {event["event"] for event in journal.tasks[task]} for journal, task in tasks)


def _truth(evidence: Evidence, journal: Journal) -> Iterator[str]:
    """Whether each end says what happened."""
    asked = {one.key: one for one in evidence.asked if one.kind == "spawn"}
    marks = _read_marks(evidence.marks)
    running, most = 0, 0
    for event in journal.events:
        running += {"attempt_started": 1, "attempt_ended": -1}.get(event["event"], 0)
        most = max(most, running)
    if most > evidence.places:
        yield f"{journal.path}: {most} attempts at once, and {evidence.places} places"
    for task, spawned in journal.spawned.items():
        one = asked.get(spawned.get("idempotencyKey", ""))
        end = next((event for event in journal.tasks[task] if event["event"] in TERMINAL), None)
        if one is None or end is None:
            continue
        last = next((event for event in reversed(journal.tasks[task]) if event["event"] == "attempt_ended"), None)
        run = f"{spawned['taskRunId']}.{last['attempt']}" if last else ""
        reached_end = ("end", one.name, run) in marks
        yield from (f"{one.name}: {finding}" for finding in _told(evidence, journal, one, end, reached_end=reached_end))


def _told(evidence: Evidence, journal: Journal, one: Asked, end: Line, *, reached_end: bool) -> Iterator[str]:
    status, reason = TERMINAL[end["event"]], end.get("reason")
    dependencies = [journal.status(task) for task in journal.spawned[end["orchestrationTaskId"]]["spec"]["dependsOn"]]
    # Who was killed as one of an agent's processes may have been what the script waited for, or the agent before it was one.
    touched = bool(evidence.faults & {"agent", "guard"})
    is_cut_short = one.expected == "exceed" and "agent" in evidence.faults
    if status == "completed" and not (reached_end and (one.expected == "succeed" or is_cut_short)):
        yield f"it is called completed, and its script {'was to ' + one.expected if reached_end else 'did not get to its end'}"
    if status == "cancelled" and not any(other.kind == "cancel" for other in evidence.asked):
        yield "it was cancelled, and nobody asked for that"
    if status != "failed":
        return
    is_told = "error" in evidence.faults and "could not be saved" in end.get("errorMessage", "")
    if reason == "exit" and reached_end and one.expected == "succeed" and not is_told:
        yield "it is called failed by its exit, and its script succeeded"
    if reason == "exit" and not reached_end and not touched:
        yield "it is called failed by its exit, and nothing touched its agent"
    if reason == "timeout" and one.expected != "exceed":
        yield "it is called failed by its time, and had enough"
    if reason == "dependency" and not set(dependencies) & {"failed", "cancelled"}:
        yield "it is called failed by a dependency, and none failed"
    if reason == "lost" and reached_end and _had_succeeded(journal, end["orchestrationTaskId"]):
        yield "it is called lost, and its shim had told of its success"
    if reason == "lost" and not evidence.faults & {"shim", "guard", "recovery", "error", "agent"}:
        yield "it is called lost, and no shim of its died"
    if reason in ("spawn", "setup", "disk") and not evidence.faults & {"error", "agent"}:  # a git of the shim's counts as an agent
        yield f"it is called failed for {reason}, and no call was refused"


def _had_succeeded(journal: Journal, task: str) -> bool:
    """Whether the last attempt's report says so; where the recovery could not save the work, its end says that."""
    last = [event for event in journal.tasks[task] if event["event"] == "attempt_ended"][-1]
    if "could not be recovered" in last.get("errorMessage", ""):
        return False
    report = journal.path.parent / "runs" / journal.spawned[task]["taskRunId"] / str(last["attempt"]) / "report.jsonl"
    lines = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()] if report.exists() else []
    return any(line["type"] == "ended" and line["facts"]["verdict"]["succeeded"] for line in lines)


def _read_marks(path: Path) -> set[tuple[str, str, str]]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {(words[0], words[1], words[2]) for words in map(str.split, lines) if len(words) == 3}


def _marks(evidence: Evidence) -> Iterator[str]:
    marks = _read_marks(evidence.marks)
    yield from (f"{name} ran in two attempts at once ({run})" for what, name, run in sorted(marks) if what == "overlap")
    lines = evidence.marks.read_text(encoding="utf-8").splitlines() if evidence.marks.exists() else []
    for line, count in Counter(line for line in lines if line.startswith("begin ")).items():
        if count > 1:
            yield f"{line!r}: one attempt began {count} times"


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
    repositories = {one.name for one in evidence.asked if one.has_repository}
    refs = _refs(evidence.repository)
    for what, name, run in sorted(_read_marks(evidence.marks)):
        if what != "wrote" or name not in repositories:
            continue
        task_run, _, attempt = run.rpartition(".")
        ref = f"refs/devsh/salvage/{task_run}/{attempt}"
        path = f"{name}.{run}.txt"
        if ref in refs and path in _git(evidence.repository, "ls-tree", "--name-only", "-r", ref).split():
            continue
        kept = [found for journal in journals for found in journal.path.parent.glob(f"runs/{task_run}/{attempt}/workspace/{path}")]
        told = any(_is_kept(event) for journal in journals for event in journal.events if event.get("taskRunId") == task_run)
        if not (kept and told and evidence.faults):
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


def _repository(evidence: Evidence, journals: list[Journal]) -> Iterator[str]:
    after = snapshot(evidence.repository)
    for name, value in evidence.before.items():
        if after.get(name) != value:
            yield f"{name} of the user's repository was changed from {value!r} to {after.get(name)!r}"
    told = {}
    for journal in journals:
        for task in journal.spawned:
            ends = [event for event in journal.tasks[task] if event["event"] == "attempt_ended"]
            totals = ends[-1].get("totals", {}) if ends else {}
            if journal.status(task) == "completed" and "branch" in totals:
                told[f"refs/heads/{totals['branch']}"] = totals["tip"]
    new = {name: tip for name, tip in after.items() if name.startswith("refs/heads/") and name not in evidence.before}
    for name in sorted(new.keys() | told.keys()):
        if new.get(name) != told.get(name):
            yield f"{name} is at {new.get(name)}, and its task says {told.get(name)}"
    fsck = subprocess.run(["git", "fsck", "--no-dangling"], cwd=evidence.repository, capture_output=True, text=True, check=False)
    if fsck.returncode:
        yield f"the user's repository is broken: {fsck.stderr.strip()}"


def _branches(repository: Path) -> dict[str, str]:
    return {name.removeprefix("refs/heads/"): tip for name, tip in _refs(repository).items() if name.startswith("refs/heads/")}


def _refs(repository: Path) -> dict[str, str]:
    lines = _git(repository, "for-each-ref", "--format=%(refname) %(objectname)").splitlines()
    return dict(line.split(" ") for line in lines)


def _git(repository: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=repository, check=True, capture_output=True, text=True).stdout
