"""What callers of a journal rely on."""

import errno
import json
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import anyio
import pytest

from devsh_memory_mcp.domain.events import AgentCompleted, AgentSpawned, Event, ForeignLines, JournalRepaired, MessageSent
from devsh_memory_mcp.domain.records import TaskSpec
from devsh_memory_mcp.domain.state import State
from devsh_memory_mcp.errors import CommitUnknown, Conflict, FormatTooNew, InvalidRequest, JournalDamaged, NotFound, Unavailable
from devsh_memory_mcp.ports import Decide, Decision
from devsh_memory_mcp.store.files import sync_data
from devsh_memory_mcp.store.journal import JOURNAL_FILE, FileJournal, create, fold_file
from devsh_memory_mcp.store.lock import try_lock
from tests.doubles.clock import START, StoppedClock
from tests.store.conftest import CREATED


def message(text: str = "hello") -> MessageSent:
    return MessageSent(sender="head", to="ns1", type="request", message=text)


def commits(*events: Event) -> Decide[int]:
    return lambda state, _now: Decision(events, state.seq)


def spawned(number: int) -> AgentSpawned:
    spec = TaskSpec(prompt="Do it.", agent_name="claude/opus-4.5")
    return AgentSpawned(
        orchestration_task_id=f"ns{number:010}", task_run_id=f"tr_{number:012}", id=f"t{number}", agent_name=spec.agent_name, spec=spec
    )


def lines_of(directory: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (directory / JOURNAL_FILE).read_bytes().splitlines()]


async def test_a_commit_answers_with_its_value_and_its_numbers(journal: FileJournal) -> None:
    committed = await journal.transact(commits(message("one"), message("two")))
    assert (committed.value, committed.seqs) == (1, (2, 3))
    assert [found.text for found in (await journal.read()).messages.values()] == ["one", "two"]


async def test_a_line_is_the_envelope_and_the_fields_beside_it(journal: FileJournal, directory: Path) -> None:
    await journal.transact(commits(message("one"), message("two")))
    first, second, third = lines_of(directory)
    assert (first["seq"], first["event"], first["timestamp"]) == (1, "orchestration_created", "2026-01-02T03:04:05.678Z")
    assert (second["from"], second["message"], second["end"]) == ("head", "one", 3)
    assert (third["seq"], third["end"]) == (3, 3)
    assert "end" not in first
    assert "correlationId" not in second


async def test_a_decision_without_events_writes_nothing_and_sees_the_newest_state(journal: FileJournal, directory: Path) -> None:
    before = (directory / JOURNAL_FILE).read_bytes()
    assert (await journal.transact(commits())).value == 1
    assert (directory / JOURNAL_FILE).read_bytes() == before


async def test_what_a_decision_raises_is_raised_for_its_caller_alone(journal: FileJournal) -> None:
    def refuses(_state: State, _now: datetime) -> Decision[int]:
        raise Conflict("no")

    results: list[object] = []

    async def run(decide: Decide[int]) -> None:
        try:
            results.append((await journal.transact(decide)).seqs)
        except Conflict as error:
            results.append(error.message)

    async with anyio.create_task_group() as group:
        for decide in (commits(message()), refuses, commits(message())):
            group.start_soon(run, decide)
    assert sorted(results, key=str) == [(2,), (3,), "no"]


async def test_decisions_of_one_batch_see_what_the_ones_before_them_left(journal: FileJournal, directory: Path) -> None:
    values: list[int] = []

    async def run() -> None:
        values.append((await journal.transact(commits(message()))).value)

    async with anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(run)
    assert sorted(values) == list(range(1, 101))
    assert fold_file(directory / JOURNAL_FILE).seq == 101


async def test_events_that_contradict_the_state_are_refused_and_leave_no_trace(journal: FileJournal, directory: Path) -> None:
    await journal.transact(commits(spawned(1)))
    impossible = AgentCompleted(orchestration_task_id="ns0000000001")  # it never started
    with pytest.raises(Conflict):
        await journal.transact(commits(message(), impossible))
    assert (await journal.transact(commits(message()))).seqs == (3,)
    assert [line["event"] for line in lines_of(directory)] == ["orchestration_created", "agent_spawned", "message_sent"]


class FaultyPatience(float):
    def __radd__(self, _other: float) -> float:
        raise RuntimeError("a fault of ours")


async def test_a_fault_before_any_transaction_was_taken_reaches_its_caller(directory: Path, clock: StoppedClock) -> None:
    journal = FileJournal(directory, clock, patience=FaultyPatience(1.0))
    held = try_lock(directory / "journal.lock")
    assert held is not None
    with anyio.fail_after(5), pytest.raises(RuntimeError, match="a fault of ours"):
        await journal.transact(commits(message()))
    os.close(held)
    with anyio.fail_after(5):
        assert (await journal.transact(commits(message()))).seqs == (2,)
    await journal.aclose()


async def test_a_text_that_cannot_be_written_is_its_callers_error(journal: FileJournal) -> None:
    with pytest.raises(ValueError, match="surrogates"):
        await journal.transact(commits(message("\ud800")))
    assert (await journal.transact(commits(message()))).seqs == (2,)


async def test_a_commit_of_more_than_eight_mebibytes_is_refused(journal: FileJournal) -> None:
    with pytest.raises(InvalidRequest, match="bytes in one commit"):
        await journal.transact(commits(message("x" * 9_000_000)))


async def test_a_big_batch_is_written_in_several_pieces(journal: FileJournal) -> None:
    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(journal.transact, commits(message("x" * 3_000_000)))
    assert len((await journal.read()).messages) == 4


async def test_two_journals_of_one_directory_take_turns(journal: FileJournal, directory: Path, clock: StoppedClock) -> None:
    other = FileJournal(directory, clock)
    for number in range(5):
        await journal.transact(commits(message(f"a{number}")))
        await other.transact(commits(message(f"b{number}")))
    assert (await journal.read()).seq == (await other.read()).seq == 11
    assert await journal.read() == await other.read()
    await other.aclose()


async def test_a_torn_end_is_moved_aside_and_told_by_the_next_commit(journal: FileJournal, directory: Path) -> None:
    path = directory / JOURNAL_FILE
    with path.open("ab") as file:
        file.write(b'{"seq":2,"timestamp":"2026-01-02T03:04:05.678Z","event":"message_se')
    assert (await journal.transact(commits(message()))).seqs == (3,)
    repaired = (await journal.read_after(1))[0].event
    assert isinstance(repaired, JournalRepaired)
    assert (directory / repaired.kept).read_bytes().startswith(b'{"seq":2,')
    assert repaired.bytes == (directory / repaired.kept).stat().st_size


async def test_an_incomplete_commit_is_moved_aside_as_a_whole(journal: FileJournal, directory: Path) -> None:
    await journal.transact(commits(message("a"), message("b"), message("c")))
    path = directory / JOURNAL_FILE
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert (await journal.read()).seq == 1
    assert (await journal.transact(commits(message("d")))).seqs == (3,)
    assert [found.text for found in (await journal.read()).messages.values()] == ["d"]


async def test_foreign_lines_are_skipped_and_told_once(journal: FileJournal, directory: Path) -> None:
    with (directory / JOURNAL_FILE).open("ab") as file:
        file.write(b'{"event":"done"}\nnot json\n\n[1]\n{"seq":"2"}\n')
    await journal.transact(commits(message()))
    await journal.transact(commits(message()))
    told = [entry.event for entry in await journal.read_after(1)]
    assert told == [ForeignLines(count=5, after=1), message(), message()]
    assert len((directory / JOURNAL_FILE).read_bytes().splitlines()) == 9


@pytest.mark.parametrize("seq", [1, 3, 99])
async def test_a_gap_or_a_repeat_stops_commits_but_not_reading(journal: FileJournal, directory: Path, seq: int) -> None:
    line = f'{{"seq":{seq},"timestamp":"2026-01-02T03:04:05.678Z","event":"foreign_lines","count":1,"after":1}}\n'
    with (directory / JOURNAL_FILE).open("ab") as file:
        file.write(line.encode())
    assert (await journal.read()).seq == 1
    assert str(seq) in journal.damage
    with pytest.raises(JournalDamaged, match="number"):
        await journal.transact(commits(message()))


async def test_an_event_of_ours_with_impossible_fields_is_damage(journal: FileJournal, directory: Path) -> None:
    with (directory / JOURNAL_FILE).open("ab") as file:
        file.write(b'{"seq":2,"timestamp":"2026-01-02T03:04:05.678Z","event":"message_sent","from":7}\n')
    with pytest.raises(JournalDamaged, match="event 2"):
        await journal.transact(commits(message()))


async def test_an_event_of_a_newer_release_takes_its_number(journal: FileJournal, directory: Path) -> None:
    with (directory / JOURNAL_FILE).open("ab") as file:
        file.write(b'{"seq":2,"timestamp":"2026-01-02T03:04:05.678Z","event":"agent_dreamt","of":"sheep"}\n')
    assert (await journal.transact(commits(message()))).seqs == (3,)


async def test_a_newer_format_is_read_and_not_written(tmp_path: Path, clock: StoppedClock) -> None:
    create(tmp_path / "o", CREATED.model_copy(update={"format": 2}), START)
    journal = FileJournal(tmp_path / "o", clock)
    assert (await journal.read()).orchestration_id == CREATED.orchestration_id
    with pytest.raises(FormatTooNew):
        await journal.transact(commits(message()))
    await journal.aclose()


async def test_a_journal_that_was_replaced_is_read_anew(journal: FileJournal, directory: Path) -> None:
    await journal.transact(commits(message("old")))
    await journal.read()
    path = directory / JOURNAL_FILE
    shorter = path.read_bytes().splitlines(keepends=True)[0]
    (directory / "new").write_bytes(shorter)
    os.replace(directory / "new", path)
    assert (await journal.transact(commits(message("new")))).seqs == (2,)
    assert [found.text for found in (await journal.read()).messages.values()] == ["new"]


async def test_a_journal_that_was_cut_is_read_anew(journal: FileJournal, directory: Path) -> None:
    await journal.transact(commits(message("a"), message("b")))
    await journal.transact(commits(message("c")))
    path = directory / JOURNAL_FILE
    os.truncate(path, len(b"".join(path.read_bytes().splitlines(keepends=True)[:3])))
    assert (await journal.read()).seq == 3
    assert (await journal.transact(commits(message("d")))).seqs == (4,)


async def test_an_emptied_journal_is_damage(journal: FileJournal, directory: Path) -> None:
    (directory / JOURNAL_FILE).write_bytes(b"")
    with pytest.raises(JournalDamaged, match="begin"):
        await journal.transact(commits(message()))


async def test_a_journal_that_is_gone_is_told(journal: FileJournal, directory: Path) -> None:
    (directory / JOURNAL_FILE).unlink()
    with pytest.raises(NotFound):
        await journal.transact(commits(message()))
    with pytest.raises(NotFound):
        await journal.read()


def failing_once(number: int) -> Callable[[int], None]:
    failures = [number]

    def sync(descriptor: int) -> None:
        if failures:
            raise OSError(failures.pop(), "injected")
        os.fdatasync(descriptor)

    return sync


async def test_a_failing_disk_makes_a_commit_unknown_and_the_next_one_reads_what_is_there(directory: Path, clock: StoppedClock) -> None:
    syncs = iter([sync_data, failing_once(errno.EIO)])  # the first is for what others may have left unsynced

    def sync(descriptor: int) -> None:
        next(syncs, sync_data)(descriptor)

    journal = FileJournal(directory, clock, sync=sync)
    with pytest.raises(CommitUnknown):
        await journal.transact(commits(message("perhaps")))
    assert (await journal.transact(commits(message("next")))).seqs == (3,)
    assert [found.text for found in (await journal.read()).messages.values()] == ["perhaps", "next"]
    await journal.aclose()


async def test_nothing_is_put_behind_what_cannot_be_made_durable(directory: Path, clock: StoppedClock) -> None:
    before = (directory / JOURNAL_FILE).read_bytes()
    journal = FileJournal(directory, clock, sync=failing_once(errno.EIO))
    with pytest.raises(Unavailable):
        await journal.transact(commits(message("not there")))
    assert (directory / JOURNAL_FILE).read_bytes() == before
    assert (await journal.transact(commits(message("next")))).seqs == (2,)
    await journal.aclose()


async def test_followers_get_every_event_once_and_in_order(journal: FileJournal, directory: Path, clock: StoppedClock) -> None:
    other = FileJournal(directory, clock)
    seen: list[int] = []
    for number in range(20):
        await (journal if number % 2 else other).transact(commits(message(str(number)), message("twin")))
        seen += [entry.seq for entry in await journal.read_after(seen[-1] if seen else 1)]
    assert seen == list(range(2, 42))
    await other.aclose()


async def test_a_follower_far_behind_gets_everything(journal: FileJournal) -> None:
    for _ in range(6):
        await journal.transact(commits(*[message()] * 1000))
    assert [entry.seq for entry in await journal.read_after(5)] == list(range(6, 6002))


async def test_a_cancelled_caller_leaves_the_others_their_answers(journal: FileJournal) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await journal.transact(commits(message()))
    assert (await journal.transact(commits(message()))).value in (1, 2)


async def test_a_closed_journal_takes_nothing_more(directory: Path, clock: StoppedClock) -> None:
    journal = FileJournal(directory, clock)
    await journal.transact(commits(message()))
    await journal.aclose()
    with pytest.raises(Unavailable, match="closed"):
        await journal.transact(commits(message()))


def test_an_orchestration_is_created_once(tmp_path: Path) -> None:
    create(tmp_path / "a" / "b", CREATED, START, message("first"))
    with pytest.raises(Conflict):
        create(tmp_path / "a" / "b", CREATED, START)
    state = fold_file(tmp_path / "a" / "b" / JOURNAL_FILE)
    assert (state.seq, state.orchestration_id) == (2, CREATED.orchestration_id)
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "a" / "b" / JOURNAL_FILE).stat().st_mode & 0o777 == 0o600
    assert [found.name for found in (tmp_path / "a" / "b").iterdir()] == [JOURNAL_FILE]
