"""The check finds what is wrong and changes nothing; the repair mends it and loses nothing."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from devsh_memory_mcp.domain.events import AgentCancelled, AgentCompleted, AttemptEnded, AttemptStarted
from devsh_memory_mcp.domain.records import Repository, Totals
from devsh_memory_mcp.errors import Conflict
from devsh_memory_mcp.store.fsck import RUNNERS_OWN, Finding, check, check_directory
from devsh_memory_mcp.store.journal import JOURNAL_FILE, FileJournal, fold_file
from devsh_memory_mcp.store.lock import try_lock
from devsh_memory_mcp.store.reference import Refs
from devsh_memory_mcp.store.reference import Repository as Asked
from devsh_memory_mcp.store.repair import Repair
from devsh_memory_mcp.store.root import Found, MemoryRoot
from devsh_memory_mcp.store.views import Views
from tests.doubles.chance import counting
from tests.doubles.clock import StoppedClock
from tests.store.test_journal import commits, message, spawned

COMMIT = "0" * 40
REF = "refs/devsh/salvage/tr_000000000001/1"
NAMES = {"orchestration_task_id": "ns0000000001", "task_run_id": "tr_000000000001", "attempt": 1}


@pytest.fixture
def root(tmp_path: Path, clock: StoppedClock) -> MemoryRoot:
    return MemoryRoot(tmp_path / "memory", clock, counting(), {})


@pytest.fixture
async def found(root: MemoryRoot, clock: StoppedClock) -> Found:
    """An orchestration with one finished task, one pending, two messages, exact views and its run directory."""
    found = root.begin()
    journal = FileJournal(found.directory, clock)
    repository = Repository(name="r", git_directory="/nowhere", base_commit="0" * 40, branch="dev/x", author_name="n", author_email="e")
    first = spawned(1)
    first = first.model_copy(update={"spec": first.spec.model_copy(update={"repository": repository})})
    await journal.transact(commits(first, spawned(2), message("one")))
    await journal.transact(commits(AttemptStarted.model_validate(NAMES)))
    ended = AttemptEnded.model_validate(NAMES | {"reason": "exit", "n": 4, "totals": Totals(salvage_ref=REF)})
    await journal.transact(commits(ended, AgentCompleted(orchestration_task_id="ns0000000001", result="Fine.", branch="dev/x")))
    await journal.transact(commits(message("two")))
    (found.directory / "runs" / "tr_000000000001" / "1").mkdir(parents=True)
    Views(found.directory, clock, counting()).write(await journal.read(), journal.offset, {})
    await journal.aclose()
    return found


def checked(root: MemoryRoot, *, repair: bool = False, refs: bool = True) -> list[Finding]:
    there = Refs({REF: COMMIT, "refs/heads/dev/x": COMMIT} if refs else {})
    return check(root, StoppedClock(), counting(), repair=repair, look_=lambda _repository, _commits: there)


def codes(findings: list[Finding]) -> set[str]:
    return {finding.code for finding in findings}


def add(found: Found, content: bytes) -> None:
    with (found.directory / JOURNAL_FILE).open("ab") as file:
        file.write(content)


def without_line(found: Found, seq: int) -> None:
    path = found.directory / JOURNAL_FILE
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for line in lines if f'{{"seq":{seq},'.encode() not in line))


async def test_a_sound_root_has_no_findings(root: MemoryRoot, found: Found) -> None:
    assert checked(root) == []


async def test_a_check_changes_nothing(root: MemoryRoot, found: Found) -> None:
    add(found, b"hello\n{torn")
    before = {path: path.stat().st_mtime_ns for path in root.path.rglob("*")}
    assert codes(checked(root)) == {"foreign_lines", "torn_end"}
    assert {path: path.stat().st_mtime_ns for path in root.path.rglob("*")} == before


async def test_a_torn_end_and_stale_views_are_mended(root: MemoryRoot, found: Found) -> None:
    add(found, b"hello\n{torn")
    (found.directory / "AGENTS.json").unlink()
    assert {finding.code for finding in checked(root, repair=True) if finding.repaired} == {
        "torn_end", "view_broken", "foreign_lines", "set_aside",
    }  # fmt: skip
    events = [line.partition(b'"event":"')[2].partition(b'"')[0] for line in (found.directory / JOURNAL_FILE).read_bytes().splitlines()]
    assert events[-2:] == [b"journal_repaired", b"foreign_lines"]
    assert checked(root) == []
    assert [path.read_bytes() for path in found.directory.glob("*.torn-*")] == [b"{torn"]


async def test_an_edited_view_is_kept_by_the_repair(root: MemoryRoot, found: Found) -> None:
    (found.directory / "PLAN.json").write_text('{"mine": 1}')
    checked(root, repair=True)
    assert checked(root) == []
    assert [path.read_text() for path in found.directory.glob("PLAN.json.edited-*")] == ['{"mine": 1}']
    assert fold_file(found.directory / JOURNAL_FILE).unknown == {"mine": 1}


@pytest.mark.parametrize("seq", [1, 2, 3, 4, 5, 6, 7, 8])
async def test_a_journal_with_a_missing_line_is_mended_from_the_views(root: MemoryRoot, found: Found, seq: int) -> None:
    before = fold_file(found.directory / JOURNAL_FILE)
    content = (found.directory / JOURNAL_FILE).read_bytes()
    without_line(found, seq)
    broken = (found.directory / JOURNAL_FILE).read_bytes()
    checked(root, repair=True)
    assert "journal_damaged" not in codes(checked(root))
    after = fold_file(found.directory / JOURNAL_FILE)
    assert after.orchestration_id == before.orchestration_id
    if seq < 8:  # the last line alone is missed by nothing in the journal
        kept = [path.read_bytes() for path in found.directory.glob(f"{JOURNAL_FILE}.before-repair-*")]
        assert kept == [broken]
    assert content.startswith(b'{"seq":1,')
    assert set(after.tasks) == set(before.tasks)
    assert after.get_task("t1").status == "completed"
    assert after.get_task("t1").result == "Fine."
    for number, text in after.messages.items():
        assert before.messages[number].text == text.text


async def test_two_events_with_one_number_are_both_kept(root: MemoryRoot, found: Found) -> None:
    line = (
        b'{"seq":8,"timestamp":"2026-01-02T03:04:05.678Z","event":"message_sent","from":"head","to":"*","type":"status","message":"twin"}\n'
    )
    add(found, line)
    findings = checked(root, repair=True)
    assert any("has the number 9 now" in finding.message for finding in findings)
    texts = [sent.text for sent in fold_file(found.directory / JOURNAL_FILE).messages.values()]
    assert texts == ["one", "two", "twin"]


@pytest.mark.parametrize("gone", [True, False])
async def test_a_lost_journal_is_begun_anew_with_the_tasks_of_the_views(root: MemoryRoot, found: Found, gone: bool) -> None:
    (found.directory / JOURNAL_FILE).unlink() if gone else (found.directory / JOURNAL_FILE).write_bytes(b"")
    checked(root, repair=True)
    state = fold_file(found.directory / JOURNAL_FILE)
    assert (state.orchestration_id, set(state.tasks)) == (found.orchestration_id, {"ns0000000001", "ns0000000002"})
    assert state.get_task("t1").result == "Fine."
    assert state.get_task("t2").held


async def test_run_directories_and_refs_are_held_against_the_journal(root: MemoryRoot, found: Found) -> None:
    (found.directory / "runs" / "tr_000000000001" / "1").rmdir()
    (found.directory / "runs" / "tr_nobody" / "1").mkdir(parents=True)
    assert codes(checked(root, refs=False)) == {"missing_run_directory", "unknown_run_directory", "salvage_ref_missing", "branch_gone"}


async def test_a_live_attempt_is_told_by_its_lock(root: MemoryRoot, found: Found, clock: StoppedClock) -> None:
    journal = FileJournal(found.directory, clock)
    await journal.transact(commits(AttemptStarted(orchestration_task_id="ns0000000002", task_run_id="tr_000000000002", attempt=1)))
    await journal.aclose()
    place = found.directory / "runs" / "tr_000000000002" / "1"
    place.mkdir(parents=True)
    assert "attempt_not_running" in codes(checked(root))
    descriptor = try_lock(place / "lock")
    assert descriptor is not None
    assert "attempt_not_running" not in codes(checked(root))
    os.close(descriptor)


async def test_what_is_so_for_moments_is_not_told_while_a_runner_works(root: MemoryRoot, found: Found, clock: StoppedClock) -> None:
    journal = FileJournal(found.directory, clock)
    await journal.transact(commits(AttemptStarted(orchestration_task_id="ns0000000002", task_run_id="tr_000000000002", attempt=1)))
    await journal.aclose()
    (found.directory / "runs" / "tr_000000000002" / "1").mkdir(parents=True)
    (found.directory / "AGENTS.json").unlink()

    def told() -> tuple[set[str], set[str]]:
        return codes(checked(root)), codes(check_directory(found.directory, clock, counting()))

    runner = try_lock(root.path / "runner.lock")
    assert runner is not None
    for at_work in told():
        assert "view_broken" in at_work
        assert at_work & RUNNERS_OWN == set()
    os.close(runner)
    for at_rest in told():
        assert at_rest & RUNNERS_OWN == {"attempt_not_running"}


async def test_stale_temporary_files_are_removed(root: MemoryRoot, found: Found) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    (found.directory / f"PLAN.json.{ended.pid}.tmp").write_text("")
    (found.directory / f"PLAN.json.{os.getpid()}.tmp").write_text("")
    assert codes(checked(root, repair=True)) == {"stale_temporary_file"}
    assert len(list(found.directory.glob("*.tmp"))) == 1


async def test_a_repair_waits_for_the_runners_end(root: MemoryRoot, found: Found) -> None:
    descriptor = try_lock(root.path / "runner.lock")
    assert descriptor is not None
    (found.directory / "views.json").unlink()
    assert checked(root) == []  # views are the runner's to bring up to date
    with pytest.raises(Conflict):
        checked(root, repair=True)
    os.close(descriptor)


@pytest.mark.parametrize("name", ["run.json", "report.jsonl", "outcome.json"])
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.write_text("{ no\n")])
async def test_a_run_file_that_cannot_be_read_is_named(root: MemoryRoot, found: Found, name: str, make: Callable[[Path], None]) -> None:
    path = found.directory / "runs" / "tr_000000000001" / "1" / name
    make(path)
    (finding,) = (each for each in checked(root) if each.code == "run_file_damaged")
    assert finding.path == path
    assert finding in checked(root, repair=True)
    assert path.exists()  # the attempt is over: nothing has to be made anew


async def test_a_report_that_a_power_loss_left_unwritten_is_no_damage(root: MemoryRoot, found: Found) -> None:
    (found.directory / "runs" / "tr_000000000001" / "1" / "report.jsonl").write_bytes(b'{"n":1,"type":"start' + bytes(30) + b'"}\n')
    assert "run_file_damaged" not in codes(checked(root))


@pytest.mark.parametrize("name", ["run.json", "outcome.json"])
async def test_a_damaged_file_in_the_way_of_a_live_attempts_end_is_kept_aside(
    root: MemoryRoot, found: Found, clock: StoppedClock, name: str
) -> None:
    journal = FileJournal(found.directory, clock)
    await journal.transact(commits(AttemptStarted(orchestration_task_id="ns0000000002", task_run_id="tr_000000000002", attempt=1)))
    await journal.aclose()
    place = found.directory / "runs" / "tr_000000000002" / "1"
    place.mkdir(parents=True)
    (place / name).write_text("{ no")
    (place / "report.jsonl").write_text("no\n")
    findings = checked(root, repair=True)
    assert {finding.path.name for finding in findings if finding.code == "run_file_damaged" and finding.repaired} == {name}
    assert [path.read_text() for path in place.glob(f"{name}.damaged-*")] == ["{ no"]
    assert (place / "report.jsonl").read_text() == "no\n"
    (left,) = [finding for finding in findings if finding.code == "attempt_not_running"]
    assert "`devsh orchestrate wait ns0000000002`" in left.message


async def test_a_base_that_is_pinned_after_the_end_is_told_and_forgotten(root: MemoryRoot, found: Found, clock: StoppedClock) -> None:
    repository = root.path.parent / "repository"
    git = ["git", "-C", str(repository)]
    subprocess.run(["git", "init", "-q", repository], check=True)
    subprocess.run([*git, "-c", "user.name=a", "-c", "user.email=b", "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    subprocess.run([*git, "update-ref", "refs/devsh/base/tr_000000000003", "HEAD"], check=True)
    journal = FileJournal(found.directory, clock)
    third = spawned(3)
    code = Repository(name="r", git_directory=f"{repository}/.git", base_commit="0" * 40, branch="dev/x", author_name="n", author_email="e")
    await journal.transact(commits(third.model_copy(update={"spec": third.spec.model_copy(update={"repository": code})})))
    await journal.transact(commits(AgentCancelled(orchestration_task_id="ns0000000003")))
    Views(found.directory, clock, counting()).write(await journal.read(), journal.offset, {})
    await journal.aclose()
    (finding,) = (found for found in check(root, clock, counting(), repair=True) if found.code == "stale_base_ref")
    assert finding.repaired
    assert Asked(code.git_directory, {}).bases() == frozenset()


async def test_a_repair_of_modes_follows_no_link_and_leaves_a_file_that_has_another_name(
    root: MemoryRoot, found: Found, tmp_path: Path
) -> None:
    linked, named = tmp_path / "linked", tmp_path / "named"
    for path in (linked, named):
        path.write_text("mine")
        path.chmod(0o644)
    (found.directory / "PLAN.json").unlink()
    (found.directory / "PLAN.json").symlink_to(linked)
    (found.directory / "AGENTS.json").unlink()
    os.link(named, found.directory / "AGENTS.json")
    (found.directory / JOURNAL_FILE).chmod(0o644)
    Repair(found.directory, StoppedClock(), counting(), lambda _repository, _commits: None)._give_access({"wrong_mode"})
    assert [path.stat().st_mode & 0o777 for path in (linked, named, found.directory / JOURNAL_FILE)] == [0o644, 0o644, 0o600]


async def test_a_link_that_is_swapped_in_during_a_repair_is_not_followed(
    root: MemoryRoot, found: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, journal = tmp_path / "victim", found.directory / JOURNAL_FILE
    victim.write_text("mine")
    victim.chmod(0o644)
    change = os.fchmod

    def swap_then_change(descriptor: int, mode: int) -> None:
        if not journal.is_symlink():
            journal.rename(tmp_path / "moved")
            journal.symlink_to(victim)
        change(descriptor, mode)

    journal.chmod(0o644)
    monkeypatch.setattr(os, "fchmod", swap_then_change)
    Repair(found.directory, StoppedClock(), counting(), lambda _repository, _commits: None)._give_access({"wrong_mode"})
    assert (victim.stat().st_mode & 0o777, (tmp_path / "moved").stat().st_mode & 0o777) == (0o644, 0o600)
