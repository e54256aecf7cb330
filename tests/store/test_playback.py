"""A journal can be looked at as it was behind any of its commits, also where it is damaged, and nothing is changed by that."""

import gzip
import io
import os
import tarfile
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devsh_memory_mcp.domain.chronicle import sentence
from devsh_memory_mcp.domain.state import State
from devsh_memory_mcp.errors import InvalidRequest, JournalDamaged, NotFound
from devsh_memory_mcp.store.line import encode
from devsh_memory_mcp.store.playback import folded, play, read_playback
from tests.doubles.clock import START
from tests.store.conftest import CREATED
from tests.store.histories import Commits, content_of, histories
from tests.store.test_journal import message


@pytest.mark.promise("cli.replay")
@given(histories())
def test_behind_every_event_the_state_is_the_fold_of_the_commits_up_to_it(commits: Commits) -> None:
    played = play(content_of(commits))
    state, seen = State(), 0
    for commit in commits:
        for entry in commit:
            state.apply(entry.seq, entry.timestamp, entry.event)
        for entry in commit:
            assert (played.end_of(entry.seq), played.state_at(entry.seq)) == (commit[-1].seq, state)
            seen += 1
    assert (seen, played.last, played.notes()) == (len(played.entries), state.seq, [])
    assert all(sentence(entry.seq, entry.event, state).isprintable() for entry in played.entries)


@given(histories(), st.data())
def test_a_journal_that_is_cut_anywhere_is_played_up_to_its_last_whole_commit(commits: Commits, data: st.DataObject) -> None:
    content = content_of(commits)
    cut = data.draw(st.integers(len(content_of(commits[:1])), len(content)))
    whole = max(number for number in range(1, len(commits) + 1) if len(content_of(commits[:number])) <= cut)
    played = play(content[:cut])
    assert played.state_at(played.last) == folded(list(chain.from_iterable(commits[:whole])))
    assert played.torn == cut - len(content_of(commits[:whole]))


def three() -> bytes:
    return b"".join(encode((event,), seq, START) for seq, event in enumerate((CREATED, message("one"), message("two")), 1))


def test_a_damaged_journal_is_played_as_far_as_it_can_be_read_and_says_so() -> None:
    played = play(three() + encode((message("four"),), 7, START))
    assert [sent.text for sent in played.state_at(played.last).messages.values()] == ["one", "two"]
    (note,) = played.notes()
    assert note == "The journal is damaged: it can be read up to event 3, and not what came after it (the event after 3 has the number 7)."
    torn, foreign = play(three() + b"hello\n{torn").notes()
    assert (torn[:8], foreign[:8]) == ("5 bytes ", "1 lines ")


def test_a_number_out_of_range_is_refused_with_the_range() -> None:
    for seq in (-1, 0, 4):
        with pytest.raises(InvalidRequest, match=f"no event {seq}: 1 to 3 can be read"):
            play(three()).state_at(seq)


def test_a_journal_is_found_in_a_directory_a_file_and_an_archive(tmp_path: Path) -> None:
    (tmp_path / "EVENTS.jsonl").write_bytes(three())
    with tarfile.open(tmp_path / "packed.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "EVENTS.jsonl", "orch_x/EVENTS.jsonl")
    before = sorted(tmp_path.iterdir())
    for path in (tmp_path, tmp_path / "EVENTS.jsonl", tmp_path / "packed.tar.gz"):
        assert read_playback(path).last == 3
    assert sorted(tmp_path.iterdir()) == before


def test_what_is_no_journal_is_refused_and_nothing_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "broken.gz").write_bytes(gzip.compress(b"x" * 5000)[:60])
    with tarfile.open(tmp_path / "links.tar.gz", "w:gz") as archive:
        link = tarfile.TarInfo("orch_x/EVENTS.jsonl")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        other = tarfile.TarInfo("../other")
        other.size = 1
        archive.addfile(other, io.BytesIO(b"x"))
    for name in ("pipe", "broken.gz", "links.tar.gz"):
        with pytest.raises(InvalidRequest):
            read_playback(tmp_path / name)
    with pytest.raises(JournalDamaged, match="No event can be read"):
        read_playback(tmp_path / "empty")
    with pytest.raises(NotFound):
        read_playback(tmp_path / "nothing")
