"""A journal that lost its end: nobody goes on with it before a repair, and what the views know is kept."""

import json
import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from devsh_memory_mcp.domain.events import AgentCompleted, AgentStarted, AttemptEnded, AttemptStarted
from devsh_memory_mcp.domain.records import Totals
from devsh_memory_mcp.errors import JournalDamaged
from devsh_memory_mcp.store.bookkeeping import VIEW_FILES
from devsh_memory_mcp.store.fsck import Finding, Fsck, compared
from devsh_memory_mcp.store.journal import JOURNAL_FILE, FileJournal, fold_file
from devsh_memory_mcp.store.views import Views
from tests.doubles.chance import counting
from tests.doubles.clock import StoppedClock
from tests.store.test_journal import commits, message, spawned

NAMES = {"orchestration_task_id": "ns0000000001", "task_run_id": "tr_000000000001", "attempt": 1}


async def bring_up_to_date(directory: Path, clock: StoppedClock) -> bool:
    """As a runner does; whether somebody had edited the views."""
    journal, views, was_edited = FileJournal(directory, clock), Views(directory, clock, counting()), False
    while (edit := views.write(await journal.read(), journal.offset, {})) is not None:
        was_edited = True
        await journal.transact(commits(*edit.events(await journal.read())))
    await journal.aclose()
    return was_edited


@pytest.fixture
async def whole(directory: Path, clock: StoppedClock) -> Path:
    """Nine events, each at its own second: an edit that was taken in, a task that completed, a message; and exact views."""
    (directory / "runs/tr_000000000001/1").mkdir(parents=True)
    journal = FileJournal(directory, clock)
    await journal.transact(commits(spawned(1)))
    await bring_up_to_date(directory, clock)
    plan = json.loads((directory / "PLAN.json").read_bytes())
    plan["tasks"].append({"id": "mine", "prompt": "Mine.", "agentName": "shell/bash", "status": "pending"})
    (directory / "PLAN.json").write_text(json.dumps(plan | {"owner": "me"}))
    assert await bring_up_to_date(directory, clock)
    ended = AttemptEnded.model_validate(NAMES | {"reason": "exit", "succeeded": True, "n": 4, "totals": Totals(cost_usd=0.5)})
    completed = AgentCompleted(orchestration_task_id="ns0000000001", result="Fine.")
    started = AgentStarted.model_validate(NAMES | {"n": 2, "agent_name": "shell/bash"})
    for event in (AttemptStarted.model_validate(NAMES), started, ended, completed, message("late")):
        clock.go(timedelta(seconds=1))
        await journal.transact(commits(event))
    await journal.aclose()
    await bring_up_to_date(directory, clock)
    return directory


def keep_lines(directory: Path, *numbers: int) -> None:
    path = directory / JOURNAL_FILE
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[number - 1] for number in numbers))


def fsck(directory: Path, clock: StoppedClock, *, repair: bool = False) -> list[Finding]:
    checker = Fsck(clock, counting(), lambda _repository, _commits: None)
    return checker.repair(directory) if repair else checker.check(directory)


def views_of(directory: Path) -> dict[str, bytes]:
    return {name: (directory / name).read_bytes() for name in (*VIEW_FILES, "views.json")}


@pytest.mark.parametrize("last", [1, 2, 4, 8])
async def test_fsck_says_which_events_are_gone_and_what_the_views_know(whole: Path, clock: StoppedClock, last: int) -> None:
    keep_lines(whole, *range(1, last + 1))
    (cut,) = (finding for finding in fsck(whole, clock) if finding.code == "journal_cut")
    assert f"It ends with event {last}, and the views know of event 9" in cut.message
    assert ("event 9 with it" if last == 8 else f"the events {last + 1} to 9 with it") in cut.message
    assert "1 message" in cut.message
    assert ("mine (pending; not in the journal)" in cut.message) == (last < 4)
    assert ("t1 (completed; " in cut.message) == (last < 8)


async def test_nobody_goes_on_with_it_and_the_views_stay(whole: Path, clock: StoppedClock) -> None:
    writing = FileJournal(whole, clock)  # it has read all of it
    await writing.transact(commits(message("before")))
    await bring_up_to_date(whole, clock)
    keep_lines(whole, *range(1, 6))
    before = views_of(whole)
    for journal in (writing, FileJournal(whole, clock)):
        for _ in range(2):
            with pytest.raises(JournalDamaged) as caught:
                await journal.transact(commits(message("after")))
            assert "ends with event 5, and the views know of event 10" in str(caught.value)
        assert journal.damage == "its end was cut off"
        await journal.aclose()
    with pytest.raises(JournalDamaged):
        await bring_up_to_date(whole, clock)
    assert views_of(whole) == before


async def test_views_that_another_runner_wrote_of_later_events_are_no_damage(whole: Path, clock: StoppedClock) -> None:
    stale, journal = fold_file(whole / JOURNAL_FILE).copy(), FileJournal(whole, clock)
    await journal.transact(commits(message("later")))
    await bring_up_to_date(whole, clock)
    Views(whole, clock, counting()).write(stale, 0, {})
    assert json.loads((whole / "MAILBOX.json").read_bytes())["messages"] != []
    await journal.aclose()


async def test_views_without_their_books_are_kept_as_well(whole: Path, clock: StoppedClock) -> None:
    keep_lines(whole, 1, 2, 3)
    (whole / "views.json").unlink()
    with pytest.raises(JournalDamaged):
        await bring_up_to_date(whole, clock)
    assert "journal_cut" in {finding.code for finding in fsck(whole, clock)}


async def test_a_repair_keeps_the_views_aside_and_says_where_and_gives_no_number_out_again(whole: Path, clock: StoppedClock) -> None:
    keep_lines(whole, 1, 2, 3)
    before = views_of(whole)
    told = fsck(whole, clock, repair=True)
    assert [finding for finding in told if not finding.repaired and not finding.is_note] == []
    (kept,) = (finding for finding in told if finding.code == "set_aside")
    (place,), (old,) = whole.glob("set-aside/views-*"), whole.glob("EVENTS.jsonl.before-repair-*")
    assert {f"set-aside/{place.name}", old.name} <= set(kept.what.rpartition(": ")[2].rstrip(".").split(", "))
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before
    state = fold_file(whole / JOURNAL_FILE)
    assert (state.get_task("t1").status, state.get_task("mine").held, state.unknown) == ("completed", True, {"owner": "me"})
    journal = FileJournal(whole, clock)
    committed = await journal.transact(commits(message("more")))
    await journal.aclose()
    assert committed.seqs[0] > 9
    await bring_up_to_date(whole, clock)
    assert fsck(whole, clock) == []


@pytest.mark.parametrize("lines", [(1, 2), (1, 2, 4, 5, 6, 7, 8, 9), ()])
async def test_after_a_repair_old_edits_and_old_plans_are_nobodys_edit(whole: Path, clock: StoppedClock, lines: tuple[int, ...]) -> None:
    (old,) = whole.glob("PLAN.json.edited-*")
    plan = json.loads(old.read_bytes())
    plan["tasks"][-1]["id"] = "given up"  # nothing but the file knows of it
    old.write_text(json.dumps(plan | {"owner": "you"}))
    keep_lines(whole, *lines)
    fsck(whole, clock, repair=True)
    assert not await bring_up_to_date(whole, clock)
    state = fold_file(whole / JOURNAL_FILE)
    assert (state.find_task("given up"), state.unknown) == (None, {"owner": "me"})
    assert json.loads(old.read_bytes())["owner"] == "you"


async def test_a_copy_or_an_older_one_that_was_put_back_is_no_edit(whole: Path, clock: StoppedClock) -> None:
    older = whole.parent / "older"
    shutil.copy(whole / "PLAN.json", older)
    for number, is_older in enumerate((False, True), 2):
        shutil.copy(older, whole / "copy")
        os.replace(whole / "copy", whole / "PLAN.json")
        (found,) = (finding for finding in fsck(whole, clock) if finding.code != "wrong_mode")
        assert (found.code, found.is_note) == (("views_behind", False) if is_older else ("view_copied", True))
        assert "changed it" not in found.message
        edits = set(whole.glob("*.edited-*"))
        journal = FileJournal(whole, clock)
        await journal.transact(commits(spawned(number)))
        await journal.aclose()
        assert not await bring_up_to_date(whole, clock)
        assert set(whole.glob("*.edited-*")) == edits


@pytest.mark.parametrize("gone", [(5,), (6,), (7,), (8,), (5, 6), (5, 6, 7), (6, 7), (7, 8), (5, 6, 7, 8)])
async def test_times_and_totals_are_those_that_were_when_lines_are_lost(whole: Path, clock: StoppedClock, gone: tuple[int, ...]) -> None:
    before = fold_file(whole / JOURNAL_FILE).get_task("t1")
    assert before.started_at is not None
    assert before.completed_at is not None
    keep_lines(whole, *(number for number in range(1, 10) if number not in gone))
    clock.go(timedelta(days=3))
    fsck(whole, clock, repair=True)
    after = fold_file(whole / JOURNAL_FILE).get_task("t1")
    assert (after.status, after.result, after.completed_at) == ("completed", "Fine.", before.completed_at)
    assert after.started_at is not None
    assert before.started_at <= after.started_at <= before.completed_at
    assert after.totals.cost_usd == 0.5
    assert fsck(whole, clock) == []


async def test_a_task_whose_end_alone_is_lost_ends_as_its_attempt_did(whole: Path, clock: StoppedClock) -> None:
    for name in (*VIEW_FILES, "views.json"):
        (whole / name).unlink()
    keep_lines(whole, 1, 2, 3, 4, 5, 6, 7, 9)
    fsck(whole, clock, repair=True)
    state = fold_file(whole / JOURNAL_FILE)
    assert (state.get_task("t1").status, list(state.unfinished)) == ("completed", [state.get_task("mine").orchestration_task_id])


async def test_of_two_that_stand_in_one_place_the_one_that_is_left_is_not_called_mended(whole: Path) -> None:
    one, two = (Finding("salvage_ref_missing", whole, f"{name} is gone.") for name in ("one", "two"))
    again = Finding("journal_damaged", whole, "Behind event 3 it is damaged.")
    other = Finding("journal_damaged", whole, "Behind event 7 it is damaged.")
    told = [(each.what, each.repaired) for each in compared([one, two, again], [two, other])]
    assert told == [("one is gone.", True), ("two is gone.", False), ("Behind event 7 it is damaged.", False)]
