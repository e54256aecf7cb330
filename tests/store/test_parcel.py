"""A parcel has what tells what happened, and nothing else: no work, no secret, nobody's files; it is there whole or not at all."""

import json
import os
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from devsh_memory_mcp.errors import Conflict, MemoryRootUnusable, NotFound
from devsh_memory_mcp.shim import rundir
from devsh_memory_mcp.store import parcel
from devsh_memory_mcp.store.parcel import Parcel, pack
from devsh_memory_mcp.store.playback import read_playback
from devsh_memory_mcp.store.scrubber import Scrubber
from tests.store.test_journal import commits, message


@pytest.fixture
def run(directory: Path) -> Path:
    made = directory / "runs/tr_1/1"
    (made / "workspace/.git").mkdir(parents=True)
    return made


def packed(directory: Path, target: Path, *, force: bool = False) -> Parcel:
    return pack(directory, target, {"format": 1}, Scrubber({}), force=force)


def names(target: Path) -> set[str]:
    with tarfile.open(target) as archive:
        assert all(entry.isreg() and entry.mode == 0o600 and not entry.uname for entry in archive)
        return {entry.name.partition("/")[2] for entry in archive}


def content(target: Path, name: str) -> bytes:
    with tarfile.open(target) as archive:
        found = archive.extractfile(next(entry for entry in archive if entry.name.endswith(f"/{name}")))
        assert found is not None
        return found.read()


async def test_it_has_what_is_known_and_names_what_stayed(directory: Path, run: Path, tmp_path: Path) -> None:
    kept = {"run.json", "report.jsonl", "inbox.jsonl", "outcome.json", "stdout.log", "stderr.log", "shim.log", "outcome.json.damaged-5"}
    for name in (*kept, "lock", "prompt", "bundle"):
        (run / name).write_text("{}\n")
    (run / "workspace/work").write_text("mine")
    (directory / "PLAN.json").write_text("{}")
    (directory / "EVENTS.jsonl.torn-17").write_text("{torn")
    target = tmp_path / "out.tar.gz"
    made = packed(directory, target)
    assert names(target) == {"EVENTS.jsonl", "EVENTS.jsonl.torn-17", "PLAN.json", "export.json"} | {f"runs/tr_1/1/{name}" for name in kept}
    assert (made.files, made.left_out) == (12, {"workspace": 1, "prompt": 1, "bundle": 1})
    assert json.loads(content(target, "export.json")) == {
        "format": 1, "cut": [], "leftOut": {"workspace": 1, "prompt": 1, "bundle": 1}, "scrubbed": {},
    }  # fmt: skip
    assert (target.stat().st_mode & 0o777, list(tmp_path.glob("*.tmp"))) == (0o600, [])


async def test_links_pipes_and_files_with_a_second_name_are_not_followed(directory: Path, run: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("mine")
    (run / "stdout.log").symlink_to(secret)
    os.mkfifo(run / "stderr.log")
    os.link(secret, run / "shim.log")
    (directory / "runs/tr_2").symlink_to(tmp_path)
    (directory / "PLAN.json").mkdir()
    made = packed(directory, tmp_path / "out.tar.gz")
    assert names(tmp_path / "out.tar.gz") == {"EVENTS.jsonl", "export.json"}
    assert set(made.left_out) == {"workspace", "PLAN.json", *(f"runs/tr_1/1/{name}.log" for name in ("stdout", "stderr", "shim"))}


async def test_nothing_is_replaced_unasked_and_a_failure_leaves_nothing(directory: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.tar.gz"
    target.write_text("mine")
    with pytest.raises(Conflict, match="is there already"):
        packed(directory, target)
    assert target.read_text() == "mine"
    packed(directory, target, force=True)
    assert "EVENTS.jsonl" in names(target)
    with pytest.raises(NotFound):
        packed(directory, tmp_path / "nowhere/out.tar.gz")
    with pytest.raises(MemoryRootUnusable):
        packed(directory, target / "out.tar.gz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["orchestrations", "out.tar.gz"]


async def test_who_takes_the_name_meanwhile_keeps_it(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out.tar.gz"

    class Slow(Scrubber):
        def line(self, content: bytes) -> bytes:
            target.write_text("theirs")
            return content

    with pytest.raises(Conflict):
        pack(directory, target, {}, Slow({}), force=False)
    assert (target.read_text(), list(tmp_path.glob("*.tmp"))) == ("theirs", [])


async def test_of_a_long_log_there_is_the_end_in_whole_lines_and_little_memory_is_taken(directory: Path, run: Path, tmp_path: Path) -> None:
    (run / "stdout.log").write_bytes(b"".join(b"%050d\n" % number for number in range(100_000)))
    with (directory / "EVENTS.jsonl").open("ab") as file:
        file.write((b"x y " * 2500 + b"\n") * 2000)
    tracemalloc.start()
    made = packed(directory, tmp_path / "out.tar.gz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    lines = content(tmp_path / "out.tar.gz", "stdout.log").splitlines()
    assert made.cut == ["runs/tr_1/1/stdout.log"]
    assert ({len(line) for line in lines}, int(lines[-1])) == ({50}, 99_999)
    assert sum(map(len, lines)) < parcel.MOST_OF_A_LOG
    assert peak < 8 << 20


async def test_a_line_that_is_too_long_is_left_out_and_told(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parcel, "MOST_OF_A_LINE", 1000)
    before = (directory / "EVENTS.jsonl").read_bytes()
    with (directory / "EVENTS.jsonl").open("ab") as file:
        file.write(b"x" * 2500 + b"\nhello\n" + b"y" * 1001)
    made = packed(directory, tmp_path / "out.tar.gz")
    assert content(tmp_path / "out.tar.gz", "EVENTS.jsonl") == before + b"hello\n"
    assert made.left_out["a line of EVENTS.jsonl that is too long"] == 2


@pytest.mark.parametrize("is_cut", [False, True])
async def test_of_the_runners_log_whole_entries_of_other_orchestrations_stay(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_cut: bool
) -> None:
    stamp = b"2026-01-01T00:00:00Z "
    rest = b"Traceback:\n  of theirs\nValueError: theirs\n"
    own = stamp + directory.name.encode() + b" is left alone: Traceback:\n  of ours\nValueError: ours\n" + stamp + b"a view: gone\n"
    log = stamp + b"orch_other is left alone: " + rest + own + stamp + b"orch_third is left alone: " + rest
    if is_cut:
        monkeypatch.setattr(parcel, "MOST_OF_A_LOG", len(log) - 40)
    (directory.parent.parent / "runner.log").write_bytes(log)
    packed(directory, tmp_path / "out.tar.gz")
    assert content(tmp_path / "out.tar.gz", "runner.log") == own


async def test_a_parcel_is_played_back_as_the_journal_that_it_was_made_of(directory: Path, journal, tmp_path: Path) -> None:
    await journal.transact(commits(message("one"), message("use sk-ant-" + "api03-abc or https://u:p@example.com/x")))
    packed(directory, tmp_path / "out.tar.gz")
    played = read_playback(tmp_path / "out.tar.gz")
    assert [sent.text for sent in played.state_at(3).messages.values()] == ["one", "use [scrubbed] or https://…@example.com/x"]
    assert (played.end_of(2), played.notes()) == (3, [])


def test_the_files_that_are_packed_are_those_of_run_directories() -> None:
    files = {value for name, value in vars(rundir).items() if name.endswith("_FILE")}
    assert {name for name in files if parcel._kind(name)} == {
        "run.json", "report.jsonl", "inbox.jsonl", "outcome.json", "stdout.log", "stderr.log", "shim.log", "setup.log", "verify.log",
    }  # fmt: skip
