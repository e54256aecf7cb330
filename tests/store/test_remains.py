"""A repair takes from run directories and views all that they know of what a journal has lost, and says what nobody knows any more."""

import contextlib
import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from devsh_memory_mcp.domain.events import AgentCompleted, AgentSpawned, AttemptEnded, AttemptStarted
from devsh_memory_mcp.domain.records import DiffStat, Repository, TaskSpec, Totals
from devsh_memory_mcp.domain.schedule import assess
from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.errors import Conflict
from devsh_memory_mcp.shim.rundir import Checkout, Identity, Outcome, Run, write_json
from devsh_memory_mcp.store import vacancy
from devsh_memory_mcp.store.finding import Finding
from devsh_memory_mcp.store.fsck import Fsck
from devsh_memory_mcp.store.journal import JOURNAL_FILE, FileJournal, fold_file
from devsh_memory_mcp.store.lock import try_lock
from devsh_memory_mcp.store.reference import Refs
from devsh_memory_mcp.store.vacancy import taken_place
from tests.doubles.chance import counting
from tests.doubles.clock import START, StoppedClock
from tests.store.test_cut import bring_up_to_date, keep_lines
from tests.store.test_journal import commits, message

TASK, RUN = "ns0000000001", "tr_000000000001"
NAMES = {"orchestration_task_id": TASK, "task_run_id": RUN, "attempt": 1}
SALVAGE, TIP = f"refs/devsh/salvage/{RUN}/1", "1" * 40
TOTALS = Totals(
    exit_code=0, branch="dev/work", salvage_ref=SALVAGE, head="0" * 40, tip=TIP, commits=2, usage={"input": 7}, cost_usd=0.5,
    diff_stat=DiffStat(files=1, insertions=3), changed_files=("a",), changed_file_count=1, session_id="s1", duration_ms=1000,
    isolation="guard",
)  # fmt: skip
REPOSITORY = Repository(
    name="/src", git_directory="/src/.git", base_commit="0" * 40, branch="dev/work", author_name="n", author_email="e", work_tree="/src"
)


def admitted() -> AgentSpawned:
    spec = TaskSpec(prompt="Do it.", agent_name="shell/bash", repository=REPOSITORY, environment={"PATH": "/bin"}, setup="true")
    return AgentSpawned(orchestration_task_id=TASK, task_run_id=RUN, id="m4", agent_name="shell/bash", spec=spec)


def write_run(directory: Path, *, succeeded: bool | None = True) -> Path:
    """The run directory of the attempt, with its outcome where that is known."""
    place = directory / "runs" / RUN / "1"
    place.mkdir(parents=True)
    checkout = Checkout("/src/.git", "0" * 40, "dev/work", Identity("n", "e"), source_tree="/src")
    environment = {"PATH": "/bin", "CMUX_TASK_RUN_ID": RUN, "DEVSH_MEMORY_DIR": "/m"}
    run = Run(1, directory.name, TASK, RUN, 1, "shell/bash", "Do it.", environment, "/m", "/s", (), checkout, "true")
    write_json(str(place / "run.json"), run)
    if succeeded is not None:
        outcome = Outcome(
            1, RUN, 1, "exit", succeeded, "2026-01-02T03:04:07.000Z", "2026-01-02T03:04:08.000Z", 1000, 3, exit_code=0, result="Fine.",
            branch="dev/work", salvage_ref=SALVAGE, head="0" * 40, tip=TIP, commits=2, files_changed=1, insertions=3, changed_files=("a",),
            changed_file_count=1, usage={"input": 7}, cost_usd=0.5, session_id="s1",
        )  # fmt: skip
        write_json(str(place / "outcome.json"), outcome)
    return place


async def told(directory: Path, clock: StoppedClock, *, has_ended: bool = True) -> None:
    """A journal of six events, or four, and views of them."""
    journal = FileJournal(directory, clock)
    ended = AttemptEnded.model_validate(NAMES | {"reason": "exit", "succeeded": True, "n": 3, "totals": TOTALS})
    done = AgentCompleted(orchestration_task_id=TASK, result="Fine.", branch="dev/work")
    for event in (message("first"), admitted(), AttemptStarted.model_validate(NAMES), *((ended, done) if has_ended else ())):
        clock.go(timedelta(seconds=1))
        await journal.transact(commits(event))
    await journal.aclose()
    await bring_up_to_date(directory, clock)


def repaired(directory: Path, clock: StoppedClock) -> tuple[list[Finding], State, Fsck]:
    refs = Refs({SALVAGE: TIP, "refs/heads/dev/work": TIP}, frozenset({TIP}))
    fsck = Fsck(clock, counting(), lambda _repository, _commits: refs)
    return fsck.repair(directory), fold_file(directory / JOURNAL_FILE), fsck


def overwrite(path: Path, number: int) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(b'{"seq":' + b"x\n" if index == number else line for index, line in enumerate(lines, 1)))


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: keep_lines(path.parent, 1, 2),
        lambda path: keep_lines(path.parent, 1, 2, 3),
        lambda path: keep_lines(path.parent, 1, 2, 3, 4),
        lambda path: keep_lines(path.parent, 1, 2, 3, 4, 5),
        lambda path: overwrite(path, 3),
        lambda path: overwrite(path, 5),
        lambda path: path.unlink(),
    ],
)
@pytest.mark.parametrize("has_directory", [True, False])
async def test_branch_tip_totals_and_run_directory_are_known_again(
    directory: Path, clock: StoppedClock, harm: Callable[[Path], None], has_directory: bool
) -> None:
    place = write_run(directory) if has_directory else None
    await told(directory, clock)
    before = fold_file(directory / JOURNAL_FILE).get_task("m4")
    harm(directory / JOURNAL_FILE)
    found, state, fsck = repaired(directory, clock)
    task = state.get_task("m4")
    assert (task.status, task.result, task.branch, task.attempt) == ("completed", "Fine.", "dev/work", 1)
    assert (task.totals.commits, task.totals.exit_code, task.totals.diff_stat, task.totals.cost_usd) == (2, 0, TOTALS.diff_stat, 0.5)
    assert (task.salvage_refs, task.totals.session_id, task.completed_at) == ({1: SALVAGE}, "s1", before.completed_at)
    said = " ".join(finding.message for finding in found)
    if place is not None:
        assert place.is_dir()
        assert (task.spec.repository, task.totals.tip, task.totals.usage) == (REPOSITORY, TIP, {"input": 7})
        assert "Not known any more" not in said
    elif task.totals.usage is None:
        assert "Not known any more of m4: " in said
        assert "its usage" in said
        assert (task.totals.tip == TIP) == (task.spec.repository is not None)
        assert task.spec.repository is not None or "its repository" in said
    assert [finding.code for finding in fsck.check(directory) if not finding.is_note] == []


async def test_an_agent_that_succeeded_behind_the_cut_has_its_true_end(directory: Path, clock: StoppedClock) -> None:
    await told(directory, clock, has_ended=False)
    place = write_run(directory)
    keep_lines(directory, 1)
    _, state, _ = repaired(directory, clock)
    task = state.get_task("m4")
    assert (task.status, task.held, task.branch, task.totals.tip, task.result) == ("completed", False, "dev/work", TIP, "Fine.")
    assert (place / "outcome.json").is_file()


async def test_an_attempt_without_an_end_is_the_next_runners(directory: Path, clock: StoppedClock) -> None:
    await told(directory, clock, has_ended=False)
    place = write_run(directory, succeeded=None)
    keep_lines(directory, 1)
    _, state, _ = repaired(directory, clock)
    task = state.get_task("m4")
    assert (task.status, task.live_attempt, task.held, place.is_dir()) == ("running", 1, False, True)


async def test_a_task_that_only_a_view_shows_is_not_said_to_be_written_by_hand(directory: Path, clock: StoppedClock) -> None:
    await told(directory, clock, has_ended=False)
    keep_lines(directory, 1)
    _, state, _ = repaired(directory, clock)
    waiting = assess(state, START).waiting[TASK]
    assert waiting.startswith("held: found by a repair in the views; it may have run")


async def test_events_of_half_a_commit_are_not_said_to_be_lost(directory: Path, clock: StoppedClock) -> None:
    journal = FileJournal(directory, clock)
    await journal.transact(commits(message("one"), message("two")))
    await journal.aclose()
    await bring_up_to_date(directory, clock)
    keep_lines(directory, 1, 2)
    found, _, _ = repaired(directory, clock)
    said = [finding.message for finding in found if finding.code in ("journal_cut", "journal_mended")]
    assert "It ends with event 2, and the views know of event 3: its end was cut off, and event 3 with it." in said[0]
    assert "The event 3 was cut off." in said


async def test_with_a_damaged_journal_nothing_but_its_repair_is_advised(directory: Path, clock: StoppedClock) -> None:
    write_run(directory, succeeded=None)
    await told(directory, clock, has_ended=False)
    with (directory / JOURNAL_FILE).open("ab") as file:
        file.write(b'{"seq":9,"timestamp":"2026-01-02T03:04:09.000Z","event":"journal_repaired","kept":"","bytes":0}\n')
    found = {finding.code: finding.message for finding in Fsck(clock, counting(), lambda *_: None).check(directory)}
    assert "journal_damaged" in found
    assert "devsh orchestrate wait" not in found["attempt_not_running"]
    assert "mends the journal first" in found["attempt_not_running"]


async def test_a_runner_that_was_killed_leaves_supervisors_that_a_repair_waits_for(directory: Path, clock: StoppedClock) -> None:
    await told(directory, clock, has_ended=False)
    place = write_run(directory, succeeded=None)
    held = try_lock(place / "lock")
    assert held is not None
    runner = directory.parent / "runner.lock"
    with pytest.raises(Conflict) as caught, taken_place(runner, [directory], lambda: None):
        pass
    assert f"`devsh orchestrate wait {TASK}`" in caught.value.next_step
    keep_lines(directory, 1)
    with pytest.raises(Conflict) as caught, taken_place(runner, [directory], lambda: None):
        pass
    assert str(place) in str(caught.value)
    assert "devsh orchestrate" not in caught.value.next_step
    os.close(held)
    with taken_place(runner, [directory], lambda: None):
        assert try_lock(runner) is None
    assert json.loads((place / "run.json").read_bytes())["attempt"] == 1


@pytest.mark.parametrize("how", ["fails", "works"])
async def test_who_asked_a_runner_to_leave_sees_to_another_whatever_came_of_the_repair(
    directory: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    path, called = directory.parent / "runner.lock", list[str]()
    lock = try_lock(path)
    assert lock is not None

    def leaves(_root: str) -> bool:
        os.close(lock)
        return True

    monkeypatch.setattr(vacancy, "ask_to_leave", leaves)
    monkeypatch.setattr(vacancy, "_is_reached", lambda _root: True)
    with contextlib.suppress(OSError), taken_place(path, [directory], lambda: called.append("sent away")):
        assert called == []
        if how == "fails":
            raise OSError("no room")
    assert called == ["sent away"]


async def test_a_runner_that_does_not_leave_in_time_is_seen_to_as_well(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, called = directory.parent / "runner.lock", list[str]()
    lock = try_lock(path)
    assert lock is not None
    monkeypatch.setattr(vacancy, "ask_to_leave", lambda _root: True)
    monkeypatch.setattr(vacancy, "_is_reached", lambda _root: True)
    monkeypatch.setattr(vacancy, "_LEAVES_WITHIN", 0.0)
    with pytest.raises(Conflict), taken_place(path, [directory], lambda: called.append("sent away")):
        pass
    assert called == ["sent away"]
    os.close(lock)


async def test_an_agent_that_began_while_the_runner_left_stops_the_repair(
    directory: Path, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await told(directory, clock, has_ended=False)
    path, place = directory.parent / "runner.lock", write_run(directory, succeeded=None)
    lock, supervisor = try_lock(path), list[int | None]()
    assert lock is not None

    def leaves(_root: str) -> bool:
        supervisor.append(try_lock(place / "lock"))
        os.close(lock)
        return True

    monkeypatch.setattr(vacancy, "ask_to_leave", leaves)
    with pytest.raises(Conflict, match="Agents are at work"), taken_place(path, [directory], lambda: None):
        pass
    assert supervisor[0] is not None
    os.close(supervisor[0])
    os.close(lock_again) if (lock_again := try_lock(path)) is not None else pytest.fail("the runner's place is held")


async def test_a_killed_attempt_of_several_keeps_what_each_saved(directory: Path, clock: StoppedClock) -> None:
    await told(directory, clock)
    path = directory / "AGENTS.json"
    document = json.loads(path.read_bytes())
    first = f"refs/devsh/salvage/{RUN}/1"
    document["agents"][0] |= {"attempt": 2, "salvageRefs": [first, first[:-1] + "2"]}
    path.write_text(json.dumps(document))
    keep_lines(directory, 1, 2, 3)
    task: Task = repaired(directory, clock)[1].get_task("m4")
    assert (task.attempt, task.salvage_refs) == (2, {1: first, 2: first[:-1] + "2"})
