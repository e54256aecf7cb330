"""A journal between processes: nothing is lost, doubled or half there, whoever is killed or stopped."""

import errno
import os
import random
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from devsh_memory_mcp.errors import DiskFull, JournalBusy
from devsh_memory_mcp.store.journal import JOURNAL_FILE, FileJournal, create, fold_file
from devsh_memory_mcp.store.lock import HeldLock, is_held, try_lock
from tests.doubles.clock import START, StoppedClock
from tests.store.conftest import CREATED
from tests.store.test_journal import commits, message

WRITER = textwrap.dedent(
    """
    import asyncio, sys
    from datetime import UTC, datetime
    from pathlib import Path
    from devsh_memory_mcp.domain.events import MessageSent
    from devsh_memory_mcp.ports import Decision
    from devsh_memory_mcp.store.journal import FileJournal

    class Clock:
        def now(self): return datetime.now(UTC)
        def monotonic(self): return 0.0

    def decide(name, events):
        sent = tuple(MessageSent(sender="head", to="*", type="status", message=f"{name} {n} " + "x" * SIZE) for n in range(events))
        return lambda state, now: Decision(sent, None)

    async def main(directory, name, commits, events):
        journal = FileJournal(Path(directory), Clock())
        for number in range(int(commits)):
            await journal.transact(decide(f"{name}-{number}", int(events)))
            print(number, flush=True)
        await journal.aclose()

    SIZE = int(sys.argv.pop())
    asyncio.run(main(*sys.argv[1:]))
    """
)


def writer(directory: Path, name: str, number: int, events: int = 1, size: int = 10) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-c", WRITER, str(directory), name, str(number), str(events), str(size)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})


def test_eight_processes_commit_a_hundred_times_each_and_all_is_there(directory: Path) -> None:
    writers = [writer(directory, f"w{number}", 100, events=2) for number in range(8)]
    seen = 0
    while any(process.poll() is None for process in writers):
        state = fold_file(directory / JOURNAL_FILE)
        assert state.seq % 2 == 1  # the creation, and whole commits of two
        assert state.seq >= seen
        seen = state.seq
    assert [process.wait() for process in writers] == [0] * 8
    texts = [found.text.rsplit(" ", 2)[0] for found in fold_file(directory / JOURNAL_FILE).messages.values()]
    assert len(texts) == 1600
    assert {texts.count(text) for text in texts} == {2}
    for process in writers:
        assert process.stdout
        process.stdout.close()


async def test_a_writer_killed_at_any_instant_leaves_whole_commits_and_all_that_it_told(directory: Path, clock: StoppedClock) -> None:
    told = 0
    for round_ in range(8):
        process = writer(directory, f"r{round_}", 10_000, events=3, size=random.Random(round_).choice([10, 100_000]))
        assert process.stdout
        for _ in range(random.Random(round_).randint(1, 12)):
            assert process.stdout.readline()
            told += 1
        process.kill()
        told += len(process.stdout.read().splitlines())
        process.wait()
        process.stdout.close()
    journal = FileJournal(directory, clock)
    await journal.transact(commits(message("last")))
    state = await journal.read()
    texts = [found.text.split(" ")[0] for found in state.messages.values()][:-1]
    assert journal.damage == ""
    assert {texts.count(text) for text in texts} == {3}
    assert told <= len(set(texts)) <= told + 8
    await journal.aclose()


@pytest.fixture
def stopped(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    code = "import sys, time; from pathlib import Path; from devsh_memory_mcp.store.lock import HeldLock\n"
    code += "with HeldLock(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
    words = [sys.executable, "-c", code, str(directory / "journal.lock")]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert process.stdout
    process.stdout.readline()
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


async def test_a_stopped_holder_of_the_lock_is_named(directory: Path, clock: StoppedClock, stopped: subprocess.Popen[bytes]) -> None:
    journal = FileJournal(directory, clock, patience=0.05)
    with pytest.raises(JournalBusy, match=rf"process {stopped.pid} .*kill -CONT {stopped.pid}"):
        await journal.transact(commits(message()))
    assert (await journal.read()).seq == 1  # readers do not wait
    stopped.kill()
    stopped.wait()
    assert (await journal.transact(commits(message()))).seqs == (2,)
    await journal.aclose()


def test_a_lock_is_free_with_the_end_of_its_holder(directory: Path, stopped: subprocess.Popen[bytes]) -> None:
    path = directory / "journal.lock"
    assert is_held(path)
    assert try_lock(path) is None
    stopped.kill()
    stopped.wait()
    assert not is_held(path)
    descriptor = try_lock(path)
    assert descriptor is not None
    assert is_held(path)
    os.close(descriptor)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=128k", "devsh-test", str(place)]
    if os.geteuid() or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("a small file system can only be mounted by root, with the right to mount")
    yield place
    subprocess.run(["umount", str(place)], check=True)


async def test_a_full_disk_refuses_a_commit_and_keeps_the_journal_whole(small_disk: Path, clock: StoppedClock) -> None:
    directory = small_disk / "o"
    create(directory, CREATED, START)
    journal = FileJournal(directory, clock)
    await journal.transact(commits(message("before")))
    size = journal.path.stat().st_size
    with pytest.raises(DiskFull):
        await journal.transact(commits(message("x" * 200_000), message("never alone")))
    assert journal.path.stat().st_size == size
    assert [found.text for found in (await journal.read()).messages.values()] == ["before"]
    assert (await journal.transact(commits(message("after")))).seqs == (3,)
    await journal.aclose()


def test_a_journal_that_nobody_closed_does_not_keep_its_process(directory: Path) -> None:
    code = WRITER.replace("await journal.aclose()", "pass")
    words = [sys.executable, "-c", code, str(directory), "w", "1", "1", "10"]
    done = subprocess.run(words, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("cut", range(0, 400, 7))
async def test_a_journal_cut_at_any_byte_is_mended_by_its_next_writer(directory: Path, clock: StoppedClock, cut: int) -> None:
    journal = FileJournal(directory, clock)
    await journal.transact(commits(message("one"), message("two")))
    await journal.aclose()
    path = directory / JOURNAL_FILE
    content = path.read_bytes()
    first = content.index(b"\n") + 1
    path.write_bytes(content[: min(len(content), first + cut)])
    journal = FileJournal(directory, clock)
    await journal.transact(commits(message("three")))
    texts = [found.text for found in (await journal.read()).messages.values()]
    assert texts == (["one", "two", "three"] if first + cut >= len(content) else ["three"])
    assert not journal.damage
    await journal.aclose()


def test_a_lock_whose_holder_cannot_say_its_name_holds_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    lock, other = HeldLock(tmp_path / "lock"), HeldLock(tmp_path / "lock", patience=0.0)
    with lock:
        assert is_held(tmp_path / "lock")
        with pytest.raises(JournalBusy, match="did not name itself"), other:
            pytest.fail("it was taken twice")
    assert not is_held(tmp_path / "lock")
    lock.close()
    other.close()
