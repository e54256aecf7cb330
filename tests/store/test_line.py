"""The journal's lines: whatever stands in the file, whole commits and nothing else are found."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devsh_memory_mcp.domain.events import Event, ForeignLines, MessageDelivered, MessageSent, PlanEdited
from devsh_memory_mcp.domain.state import State
from devsh_memory_mcp.store.line import encode, scan
from tests.doubles.clock import START
from tests.store.conftest import CREATED

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=15)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
MESSAGES = st.builds(
    MessageSent,
    sender=st.sampled_from(["head", "ns1"]),
    to=st.sampled_from(["head", "*"]),
    type=st.sampled_from(["request", "status"]),
    message=TEXT,
    metadata=st.dictionaries(TEXT, JSON, max_size=2),
)
EDITS = st.builds(PlanEdited, kept=TEXT, unknown=st.dictionaries(TEXT, JSON, max_size=2))
EVENTS: st.SearchStrategy[Event] = (
    MESSAGES | EDITS | st.builds(MessageDelivered, message_ids=st.just((2,)), reader=st.just("head"), via=st.just("pull"))
)
COMMITS = st.lists(st.lists(EVENTS, min_size=1, max_size=2), min_size=1, max_size=4)


def journal_of(commits: list[list[Event]]) -> tuple[bytes, list[int]]:
    """The bytes and, for each commit, where it ends."""
    content, seq, ends = encode((CREATED,), 1, START), 2, []
    for commit in commits:
        content += encode(commit, seq, START + timedelta(seconds=seq))
        seq += len(commit)
        ends.append(len(content))
    return content, ends


@settings(max_examples=50)
@given(COMMITS)
def test_what_is_written_is_read_back(commits: list[list[Event]]) -> None:
    found = scan(journal_of(commits)[0], 0)
    assert [entry.event for entry in found.entries[1:]] == [event for commit in commits for event in commit]
    assert [entry.seq for entry in found.entries] == list(range(1, len(found.entries) + 1))
    assert not found.damage


@settings(max_examples=50)
@given(COMMITS)
def test_the_fold_of_what_is_read_is_the_fold_of_what_was_decided(commits: list[list[Event]]) -> None:
    decided, read = State(), State()
    for entry in scan(journal_of(commits)[0], 0).entries:
        read.apply(entry.seq, entry.timestamp, entry.event)
        original = CREATED if entry.seq == 1 else [event for commit in commits for event in commit][entry.seq - 2]
        decided.apply(entry.seq, entry.timestamp, original)
    assert decided == read
    assert read.copy() == read


@settings(max_examples=50)
@given(COMMITS, st.data())
def test_a_file_cut_anywhere_keeps_exactly_its_whole_commits(commits: list[list[Event]], data: st.DataObject) -> None:
    content, ends = journal_of(commits)
    cut = data.draw(st.integers(0, len(content)))
    found = scan(content[:cut], 0)
    whole = [end for end in ends if end <= cut]
    first = content.index(b"\n") + 1
    assert found.end == (whole[-1] if whole else first if cut >= first else 0)
    assert not found.damage


@settings(max_examples=50)
@given(COMMITS, st.binary(max_size=60).filter(lambda raw: b'"seq"' not in raw), st.data())
def test_foreign_lines_between_commits_change_nothing(commits: list[list[Event]], foreign: bytes, data: st.DataObject) -> None:
    content, ends = journal_of(commits)
    place = data.draw(st.sampled_from(ends))
    found = scan(content[:place] + foreign + b"\n" + content[place:], 0)
    assert found.entries == scan(content, 0).entries
    assert not found.damage
    assert found.foreign.count == foreign.count(b"\n") + 1


@given(st.binary(max_size=300))
def test_no_bytes_make_a_reader_fail(raw: bytes) -> None:
    scan(raw, 0)
    scan(journal_of([])[0] + raw + b"\n", 0)


@pytest.mark.parametrize(
    "raw", [b"[" * 100_000, b'{"seq":' + b"9" * 5000 + b"}", b"\xff\xfe\x00", b"x" * 16_000_000, b"\r", b"NaN", b'{"seq":true}']
)
def test_a_strange_line_is_foreign(raw: bytes) -> None:
    found = scan(journal_of([])[0] + raw + b"\n", 0)
    assert (len(found.entries), found.foreign.count, found.damage) == (1, 1, "")


def test_windows_line_ends_and_a_byte_order_mark_are_read() -> None:
    content, _ = journal_of([[MessageSent(sender="head", to="*", type="status", message="hi")]])
    found = scan(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"), 0)
    assert (len(found.entries), found.damage) == (2, "")


def test_foreign_lines_that_were_told_are_not_told_again() -> None:
    content, _ = journal_of([])
    told = encode((ForeignLines(count=1, after=1),), 2, START)
    assert scan(content + b"hello\n" + told, 0).foreign.count == 0
    assert scan(content + b"hello\n" + told + b"again\n", 0).foreign == scan(b"again\n", 2).foreign


def test_blocks_that_a_power_loss_left_empty_are_a_torn_end() -> None:
    content, _ = journal_of([])
    lost = encode((MessageSent(sender="head", to="*", type="status", message="hi"),), 2, START)
    behind = encode((MessageSent(sender="head", to="*", type="status", message="ho"),), 3, START)
    found = scan(content + b"\0" * (len(lost) - 1) + b"\n" + behind, 0)
    assert (found.end, found.damage, found.foreign.count) == (len(content), "", 0)


def test_a_hole_with_later_writes_behind_it_is_damage_and_no_torn_end() -> None:
    content, _ = journal_of([])
    behind = [encode((MessageSent(sender="head", to="*", type="status", message="ho"),), 3 + n, START + timedelta(n)) for n in range(2)]
    found = scan(content + b"\0" * 99 + b"\n" + b"".join(behind), 0)
    assert (found.end, found.damage) == (len(content), "there is a hole of NUL bytes behind the event 1, with whole events behind it")
