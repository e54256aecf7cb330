"""The checker, shown to find what it is there for: each defect is planted in a root in which all is well."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.processes import await_end
from tests.faults.checker import check
from tests.faults.evidence import Asked, Evidence, Fault, read_marks, starts
from tests.faults.places import most_marked
from tests.faults.repository import snapshot
from tests.faults.rounds import Round

ASKED = (
    Asked("spawn", "quick-t0", "t0", has_repository=True),
    Asked("spawn", "fails-t1", "t1", "fail"),
    Asked("spawn", "quick-t2", "t2", depends_on=("t0",)),
    Asked("message", "message-0", "head"),
    Asked("spawn", "long-t3", "t3"),
    Asked("cancel", "cancel-0", "t3", after="begin t3"),
    Asked("spawn", "talks-t4", "t4", has_repository=True),
    Asked("message", "message-1", "t4", after="begin t4"),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    played = Round(tmp_path_factory.mktemp("faults") / "round", "checked", {}, [Asked(**vars(one)) for one in ASKED])
    assert played.run().wrong == []
    return played.evidence()


@pytest.fixture
def evidence(finished: Evidence) -> Iterator[Evidence]:
    """The same, to be spoiled: everything is put back afterwards."""
    places = (finished.root, finished.repository, finished.marks)
    kept = [place.with_name(f"{place.name}.kept") for place in places]
    for place, copy in zip(places, kept, strict=True):
        shutil.copytree(place, copy, symlinks=True) if place.is_dir() else shutil.copy(place, copy)
    yield replace(finished, asked=list(finished.asked), faults=[], killed=set())
    for place, copy in zip(places, kept, strict=True):
        shutil.rmtree(place) if place.is_dir() else place.unlink()
        copy.rename(place)


def journal(evidence: Evidence) -> Path:
    return next(evidence.root.glob("orchestrations/*/EVENTS.jsonl"))


def events(evidence: Evidence) -> list[dict[str, object]]:
    return [json.loads(line) for line in journal(evidence).read_text(encoding="utf-8").splitlines()]


def rewrite(evidence: Evidence, lines: list[dict[str, object]]) -> None:
    numbered = [{**line, "seq": number, **({"end": number} if "end" in line else {})} for number, line in enumerate(lines, 1)]
    journal(evidence).write_text("".join(f"{json.dumps(line)}\n" for line in numbered), encoding="utf-8")


def named(evidence: Evidence, name: str, what: str, **fields: object) -> dict[str, object]:
    """The event of a task of that name."""
    task = next(line["orchestrationTaskId"] for line in events(evidence) if line["event"] == "agent_spawned" and line["id"] == name)
    found = [line for line in events(evidence) if line["event"] == what and line["orchestrationTaskId"] == task]
    return found[0] | fields


def without(evidence: Evidence, what: str) -> None:
    rewrite(evidence, [line for line in events(evidence) if line["event"] != what])


def again(evidence: Evidence, name: str, what: str) -> None:
    rewrite(evidence, [*events(evidence), named(evidence, name, what)])


def changed(evidence: Evidence, name: str, what: str, **fields: object) -> None:
    wanted = named(evidence, name, what)
    rewrite(evidence, [line | fields if line == wanted else line for line in events(evidence)])


def edit_view(evidence: Evidence, name: str, change: Callable[[dict[str, object]], None]) -> None:
    path = journal(evidence).with_name(name)
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def git(evidence: Evidence, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=evidence.repository, check=True, capture_output=True, text=True).stdout


def drop_salvage(evidence: Evidence) -> None:
    for ref in git(evidence, "for-each-ref", "--format=%(refname)", "refs/devsh/salvage").split():
        git(evidence, "update-ref", "-d", ref)


def mark(evidence: Evidence, line: str) -> None:
    with evidence.marks.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def unmark(evidence: Evidence, start: str) -> None:
    lines = evidence.marks.read_text(encoding="utf-8").splitlines()
    evidence.marks.write_text("".join(f"{line}\n" for line in lines if not line.startswith(start)), encoding="utf-8")


def swap_start_and_end(evidence: Evidence) -> None:
    """t2 before t0 has ended."""
    lines = events(evidence)
    start, end = named(evidence, "t2", "attempt_started"), named(evidence, "t0", "agent_completed")
    first, second = lines.index(end), lines.index(start)
    lines.insert(first, lines.pop(second))
    rewrite(evidence, lines)


def receipts(evidence: Evidence, change: Callable[[dict[str, object]], list[dict[str, object]]]) -> None:
    """The message's receipt, made into something else."""
    lines = events(evidence)
    rewrite(evidence, [made for line in lines for made in (change(line) if line["event"] == "message_delivered" else [line])])


def undeliverable(line: dict[str, object]) -> list[dict[str, object]]:
    number = line["messageIds"][0]  # type: ignore[index]
    return [{**line, "event": "message_failed", "messageId": number, "errorMessage": "t4 has ended."}]


def fail(evidence: Evidence, name: str, number: int | None) -> None:
    """Its attempt ended by that signal, and it is called failed by its exit."""
    end = named(evidence, name, "attempt_ended")
    changed(evidence, name, "attempt_ended", succeeded=False, totals=end["totals"] | {"signal": number, "branch": None})  # type: ignore[operator]
    changed(evidence, name, "agent_completed", event="agent_failed", reason="exit", errorMessage="killed")
    git(evidence, "branch", "-D", str(end["totals"]["branch"]))  # type: ignore[index]
    show(evidence, name, "failed")


def show_as(status: str, key: str, task: object, document: dict[str, Any]) -> None:
    for one in document[key]:
        if one["orchestrationTaskId"] == task:
            one["status"] = status


def lose(evidence: Evidence, name: str, reason: str = "lost") -> None:
    """Its success or failure, made into another one; the shim's report no longer tells of an end."""
    unmake(evidence, name, reason)
    what = "agent_completed" if any(is_end_of(evidence, line, name, "agent_completed") for line in events(evidence)) else "agent_failed"
    changed(evidence, name, what, event="agent_failed", reason=reason, errorMessage="It is gone.")
    for report in evidence.root.glob(f"orchestrations/*/runs/{named(evidence, name, 'agent_spawned')['taskRunId']}/1/report.jsonl"):
        lines = report.read_bytes().splitlines(keepends=True)
        report.write_bytes(b"".join(line for line in lines if json.loads(line)["type"] != "ended"))
    show(evidence, name, "failed")


def cancel(evidence: Evidence, name: str) -> None:
    """Its success, made into a cancellation."""
    unmake(evidence, name, "cancelled")
    changed(evidence, name, "agent_completed", event="agent_cancelled")
    show(evidence, name, "cancelled")


def unmake(evidence: Evidence, name: str, reason: str) -> None:
    """Its attempt has ended for that reason, and has no branch."""
    totals: dict[str, Any] = dict(named(evidence, name, "attempt_ended")["totals"])  # type: ignore[call-overload]
    branch = totals.pop("branch", None)
    changed(evidence, name, "attempt_ended", reason=reason, succeeded=False, totals=totals)
    if branch:
        git(evidence, "branch", "-qD", branch)


def is_end_of(evidence: Evidence, line: dict[str, object], name: str, what: str) -> bool:
    return line["event"] == what and line["orchestrationTaskId"] == named(evidence, name, "agent_spawned")["orchestrationTaskId"]


def show(evidence: Evidence, name: str, status: str) -> None:
    """In the views as well."""
    task = named(evidence, name, "agent_spawned")["orchestrationTaskId"]
    for view, key in (("PLAN.json", "tasks"), ("AGENTS.json", "agents")):
        edit_view(evidence, view, partial(show_as, status, key, task))


def strike(evidence: Evidence, role: str, name: str = "", *, is_refusal: bool = False) -> None:
    """A fault at that task's attempt, or one that nobody can assign."""
    run = f"{named(evidence, name, 'agent_spawned')['taskRunId']}.1" if name else ""
    evidence.faults.append(Fault(role, run, is_refusal))


def ask_cancel(evidence: Evidence, name: str, *, cascade: bool) -> None:
    evidence.asked.append(Asked("cancel", f"cancel-of-{name}", name, cascade=cascade))


DEFECTS: dict[str, tuple[Callable[[Evidence], object], str]] = {
    "an end twice": (lambda it: again(it, "t0", "agent_completed"), "ended 2 times"),
    "no end": (lambda it: without(it, "agent_cancelled"), "ended 0 times"),
    "an attempt after the end": (lambda it: again(it, "t0", "attempt_started"), "after its end there is attempt_started"),
    "an attempt without an end": (lambda it: without(it, "attempt_ended"), "and [] ended"),
    "a dependent too early": (swap_start_and_end, "before its dependency"),
    "a torn end": (lambda it: journal(it).write_bytes(journal(it).read_bytes() + b'{"seq":99,'), "its end is torn"),
    "a number left out": (
        lambda it: journal(it).write_bytes(b"".join(journal(it).read_bytes().splitlines(keepends=True)[:-1][:-1])), "torn|0 times",
    ),
    "a message lost": (lambda it: without(it, "message_sent"), "message-0 was acknowledged and is there 0 times"),
    "a spawn doubled": (lambda it: again(it, "t0", "agent_spawned"), "quick-t0 was acknowledged and is there 2 times"),
    "success that was none": (lambda it: unmark(it, "end t0"), "called completed, and its script did not get to its end"),
    "success of what failed": (
        lambda it: changed(it, "t1", "agent_failed", event="agent_completed"), "called completed, and its script was to fail",
    ),
    "a false reason": (lambda it: changed(it, "t1", "agent_failed", reason="timeout"), "failed by its time, and had enough"),
    "lost without a death": (lambda it: lose(it, "t1"), "no shim of its died"),
    "lost by another one's death": (lambda it: (lose(it, "t0"), strike(it, "shim", "t1")), "no shim of its died"),
    "lost by a refusal to another one": (lambda it: (lose(it, "t0"), strike(it, "shim", "t1", is_refusal=True)), "no shim of its died"),
    "lost by a runner": (lambda it: (lose(it, "t0"), strike(it, "runner"), strike(it, "runner", is_refusal=True)), "no shim of its died"),
    "lost by a face": (lambda it: (lose(it, "t0"), strike(it, "face", is_refusal=True)), "no shim of its died"),
    "two lost by one death": (lambda it: (lose(it, "t0"), lose(it, "t1"), strike(it, "shim")), "no shim of its died"),
    "another reason than its attempt's": (lambda it: changed(it, "t1", "agent_failed", reason="lost"), "its last attempt exit"),
    "a reason that there is not": (lambda it: lose(it, "t1", "oom"), "nothing here ends so"),
    "an exit by another agent's death": (
        lambda it: (lose(it, "t0", "exit"), unmark(it, "end t0"), strike(it, "agent", "t1")), "nothing touched its agent",
    ),
    "not started, and another's call refused": (
        lambda it: (lose(it, "t0", "spawn"), strike(it, "guard", "t1", is_refusal=True)), "no call was refused",
    ),
    "lost, and the root was spoilt for another": (
        lambda it: (lose(it, "t0"), strike(it, "root", "t1", is_refusal=True)), "no shim of its died",
    ),
    "not started, and its guard stood": (lambda it: (lose(it, "t0", "spawn"), strike(it, "guard", "t0")), "no call was refused"),
    "a cancel that was forgotten": (
        lambda it: it.asked.append(Asked("cancel", "cancel-1", "t0", is_acknowledged=True, status="running")), "is not there",
    ),
    "cancelled, and another one was meant": (lambda it: cancel(it, "t0"), "nobody asked for that"),
    "cancelled below what was cancelled alone": (
        lambda it: (ask_cancel(it, "t0", cascade=False), cancel(it, "t2")), "nobody asked for that",
    ),
    "a cancel nobody asked for": (
        lambda it: it.asked.__setitem__(slice(None), [one for one in it.asked if one.kind != "cancel"]), "nobody asked for that",
    ),
    "two attempts at once": (lambda it: mark(it, "overlap t0 tr_1.2"), "two attempts at once"),
    "an attempt begun twice": (lambda it: mark(it, it.marks.read_text(encoding="utf-8").splitlines()[0]), "began 2 times"),
    "more than there are places": (lambda it: setattr(it, "places", 0), "and 0 places"),
    "a view that is wrong": (
        lambda it: edit_view(it, "PLAN.json", lambda plan: plan["tasks"][0].update(status="running")), "where the journal says",
    ),
    "a view that is old": (lambda it: edit_view(it, "PLAN.json", lambda plan: plan["_view"].update(seq=3)), "is of 3"),
    "a view that cannot be read": (lambda it: journal(it).with_name("AGENTS.json").write_text("{"), "cannot be read"),
    "a mailbox without a message": (lambda it: edit_view(it, "MAILBOX.json", lambda box: box.update(messages=[])), "has 0 messages"),
    "work that is gone": (drop_salvage, "and is not in refs/devsh/salvage"),
    "a branch that nobody published": (lambda it: git(it, "branch", "extra"), "refs/heads/extra is at"),
    "a branch that is gone": (lambda it: git(it, "branch", "-D", git(it, "branch", "--list", "dev/*").split()[0]), "is at None"),
    "the user's branch moved": (lambda it: git(it, "commit", "-qn", "--allow-empty", "-m", "x"), "refs/heads/main of the user's"),
    "the user's files changed": (lambda it: (it.repository / "new").write_text("new"), "status of the user's repository"),
    "a tag of the user's moved": (lambda it: git(it, "tag", "-f", "v1", "HEAD^{tree}"), "refs/tags/v1 of the user's"),
    "a tag that nobody made": (lambda it: git(it, "tag", "v2"), "refs/tags/v2 is new"),
    "the user's stash dropped": (lambda it: git(it, "stash", "drop"), "refs/stash of the user's"),
    "a hook changed": (lambda it: (it.repository / ".git/hooks/pre-commit").write_text("#!/bin/sh\n"), ".git/hooks/pre-commit of the"),
    "a hook added": (lambda it: (it.repository / ".git/hooks/post-commit").touch(), ".git/hooks/post-commit is new"),
    "a setting of the user's": (lambda it: git(it, "config", "gc.auto", "0"), ".git/config of the user's"),
    "a work tree in the user's list": (
        lambda it: git(it, "worktree", "add", "-q", "--detach", str(it.repository.parent / "tree")), ".git/worktrees/tree/HEAD is new",
    ),
    "the user's index written": (lambda it: git(it, "update-index", "--index-version", "4"), ".git/index of the user's"),
    "a base that is pinned for nothing": (lambda it: git(it, "update-ref", "refs/devsh/base/tr_1", "HEAD"), "refs/devsh/base/tr_1 is left"),
    "work saved of no attempt": (
        lambda it: git(it, "update-ref", "refs/devsh/salvage/tr_1/1", "HEAD"), "refs/devsh/salvage/tr_1/1 is left",
    ),
    "a ref that stays locked": (lambda it: (it.repository / ".git/refs/devsh/salvage/x.lock").touch(), "x.lock is left behind"),
    "packed refs that stay locked": (lambda it: (it.repository / ".git/packed-refs.lock").touch(), ".git/packed-refs.lock is new"),
    "a message without a receipt": (lambda it: receipts(it, lambda line: []), "message-1 has 0 receipts"),
    "a message with two": (lambda it: receipts(it, lambda line: [line, line]), "message-1 has 2 receipts"),
    "a receipt for what nobody heard": (lambda it: unmark(it, "heard "), "message-1 is called delivered, and its agent"),
    "heard, and called undeliverable": (lambda it: receipts(it, undeliverable), "message-1 is called undeliverable, and its agent had"),
    "heard by another one": (lambda it: mark(it, "heard t0 tr_1.1 message-1"), "message-1 was heard by t0 in tr_1.1"),
    "a message to an agent lost": (lambda it: without(it, "message_sent"), "message-1 was acknowledged and is there 0 times"),
    "a success that is called an exit": (lambda it: fail(it, "t4", None), "failed by its exit, and its script succeeded"),
    "a death by a signal that nobody dealt": (lambda it: fail(it, "t4", 9), "failed by its exit, and its script succeeded"),
    "a temporary file": (lambda it: journal(it).with_name("PLAN.json.1.tmp").touch(), "was left behind"),
    "half an outcome": (lambda it: next(it.root.rglob("outcome.json")).write_text("{"), "outcome.json cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_is_found(evidence: Evidence, defect: str) -> None:
    assert check(evidence) == []
    plant, said = DEFECTS[defect]
    plant(evidence)
    found = check(evidence)
    assert any(part in finding for finding in found for part in said.split("|")), found


EXCUSED: dict[str, Callable[[Evidence], object]] = {
    "lost by its own shim": lambda it: (lose(it, "t0"), strike(it, "shim", "t0")),
    "lost by a root that nobody could read": lambda it: (lose(it, "t0"), strike(it, "root", "t0", is_refusal=True)),
    "lost by a shim that was nobody's yet": lambda it: (lose(it, "t0"), strike(it, "shim")),
    "not started for a runner's refused call": lambda it: (lose(it, "t0", "spawn"), strike(it, "runner", is_refusal=True)),
    "cancelled as asked": lambda it: (ask_cancel(it, "t2", cascade=False), cancel(it, "t2")),
    "cancelled with what it depends on": lambda it: (ask_cancel(it, "t0", cascade=True), cancel(it, "t2")),
}


@pytest.mark.parametrize("reason", EXCUSED)
def test_a_true_reason_is_none(evidence: Evidence, reason: str) -> None:
    EXCUSED[reason](evidence)
    assert [finding for finding in check(evidence) if "before its dependency" not in finding] == []


def test_agents_that_were_there_at_once_are_counted_whatever_the_journal_says(evidence: Evidence) -> None:
    lines = evidence.marks.read_text(encoding="utf-8").splitlines()
    last = [line for line in lines if line.startswith("end ")]
    evidence.marks.write_text("".join(f"{line}\n" for line in [*(line for line in lines if line not in last), *last]), encoding="utf-8")
    evidence.places = len(last) - 1
    assert any("agents at once by their marks" in finding for finding in check(evidence))


def test_a_round_with_one_place_has_one_agent_at_a_time_and_is_judged_by_that(tmp_path: Path) -> None:
    asked = [Asked("spawn", f"busy-t{number}", f"t{number}") for number in range(3)]
    played = Round(tmp_path / "round", "narrow", {}, asked, 1)
    assert played.run().wrong == []
    left = played.evidence()
    assert left.places == 1
    assert most_marked(left.marks, {run.rpartition(".")[0] for _, _, run in read_marks(left.marks)}) == 1


def test_an_agent_that_was_killed_behind_its_last_mark_has_failed_by_its_exit(evidence: Evidence) -> None:
    dealt = {one.name: one.pid for one in starts(evidence.marks)}
    fail(evidence, "t4", 9)
    evidence.killed.add(dealt["t0"])
    assert any("failed by its exit" in finding for finding in check(evidence))
    evidence.killed.add(dealt["t4"])
    assert check(evidence) == []


def test_a_process_that_is_left_and_a_lock_that_is_held_are_found(evidence: Evidence) -> None:
    lock = next(evidence.root.glob("orchestrations/*/runs/*/*/lock"))
    script = f"import fcntl, sys; file = open({str(lock)!r}); fcntl.flock(file, fcntl.LOCK_EX); print(); sys.stdin.read()"
    holder = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdin is not None
    assert holder.stdout is not None
    holder.stdout.readline()
    found = check(evidence)
    assert f"{lock} is held" in found
    assert any(finding.startswith(f"process {holder.pid} is left") for finding in found)
    holder.communicate()
    assert await_end(holder.pid, 5.0)


def test_a_snapshot_tells_a_detached_head(evidence: Evidence) -> None:
    before = snapshot(evidence.repository)
    git(evidence, "checkout", "-q", "--detach")
    assert snapshot(evidence.repository) != before
    assert os.path.exists(evidence.repository / ".git" / "HEAD")
