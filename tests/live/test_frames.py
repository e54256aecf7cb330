"""What a journal says as frames: every change and every end is told, once, whatever a client had before."""

import json
from collections.abc import Callable

import pytest
from doubles.chronicled import BEGAN, Chronicled
from doubles.listener import Told, frames_of
from hypothesis import given
from hypothesis import strategies as st

from devsh_memory_mcp.domain import events
from devsh_memory_mcp.faces import http_frames as frames
from devsh_memory_mcp.faces.http_frames import Cursor, Dialect, Fold, Step
from devsh_memory_mcp.ports import Change

MOVES: dict[str, Callable[[Chronicled, int], int]] = {
    "spawn": Chronicled.spawn,
    "start": Chronicled.start,
    "complete": Chronicled.complete,
    "fail": Chronicled.fail,
    "cancel": Chronicled.cancel,
    "retry": Chronicled.retry,
}
NEXT = {"": ["spawn"], "spawn": ["start", "cancel", "fail"], "start": ["complete", "fail", "cancel"]}


@st.composite
def journals(draw: st.DrawFn) -> Chronicled:
    """Several tasks that live their lives in any order."""
    journal, last = Chronicled(), {}
    for number in draw(st.lists(st.integers(0, 3), max_size=12)):
        if (moves := NEXT.get(last.get(number, ""))) is not None:
            last[number] = draw(st.sampled_from(moves))
            MOVES[last[number]](journal, number)
    return journal


def steps_of(journal: Chronicled) -> list[Step]:
    fold = Fold()
    return [fold.take(Change(seq, event.name, None, event, BEGAN)) for seq, event in enumerate(journal.journal, 1)]


def told(journal: Chronicled, dialect: Dialect = Dialect.STATUS) -> list[Told]:
    return frames_of(b"".join(frames.rendered(step, dialect) for step in steps_of(journal)))


@pytest.mark.promise("sse.task_status", "sse.task_completed")
def test_each_change_is_a_status_and_each_end_is_told_as_one() -> None:
    journal = Chronicled()
    for number in range(4):
        journal.spawn(number)
    for number in range(3):
        journal.start(number)
    journal.retry(0)
    journal.start(0, 2)
    journal.complete(0, "x" * 500, 2)
    journal.fail(1)
    journal.cancel(2)
    journal.cancel(3)
    seen = told(journal)
    statuses = [frame.data["status"] for frame in seen if frame.name == "task_status" and frame.data["taskId"] == "ns0000000000"]
    assert statuses == ["pending", "running", "pending", "running", "completed"]
    ends = {frame.data["planId"]: frame.data for frame in seen if frame.name == "task_completed"}
    assert [ends[f"task{number}"]["status"] for number in range(4)] == ["completed", "failed", "cancelled", "cancelled"]
    assert (ends["task0"]["result"], ends["task1"]["errorMessage"]) == ("x" * 500, "no luck")
    assert all(isinstance(end["completedAt"], int) for end in ends.values())
    last = seen[-1]
    assert (last.name, last.data["status"]) == ("orchestration_completed", "partial")
    assert last.data["aggregatedStatus"] == {"total": 4, "completed": 1, "running": 0, "failed": 1, "pending": 0, "cancelled": 2}


def test_the_last_frame_of_an_event_has_its_number_and_ids_only_grow() -> None:
    journal = Chronicled()
    journal.spawn(1)
    assert [(frame.id, frame.name) for frame in told(journal)] == [("1.1", "task_spawn_requested"), ("2", "task_status")]
    journal.start(1)
    journal.complete(1)
    ids = [float(frame.id or -1) for frame in told(journal)]
    assert ids == sorted(set(ids))


@given(journals(), st.sampled_from(Dialect), st.data())
def test_a_client_that_comes_back_with_any_id_gets_exactly_the_rest(journal: Chronicled, dialect: Dialect, data: st.DataObject) -> None:
    whole = told(journal, dialect)
    ids = [frame.id for frame in whole]
    assert len(set(ids)) == len(ids)
    cut = data.draw(st.integers(0, len(whole)))
    cursor = frames.read_id(ids[cut - 1] or "") if cut else Cursor(0)
    assert cursor is not None
    rest = b"".join(
        frames.rendered(step, dialect, cursor.part if step.seq == cursor.seq + 1 else 0)
        for step in steps_of(journal)
        if step.seq > cursor.seq
    )
    assert whole[:cut] + frames_of(rest) == whole


@given(journals())
def test_every_end_is_followed_by_one_word_of_it(journal: Chronicled) -> None:
    seen = told(journal)
    ended = [step.task.orchestration_task_id for step in steps_of(journal) if step.task and step.is_new_status and step.completed_at]
    assert [frame.data["taskId"] for frame in seen if frame.name == "task_completed"] == ended


def test_the_typed_stream_says_from_what_to_what() -> None:
    journal = Chronicled()
    journal.spawn(1)
    journal.start(1)
    moved = [frame.data for frame in told(journal, Dialect.TYPED) if frame.name == "task_status_changed"]
    assert [(data["previousStatus"], data["newStatus"]) for data in moved] == [(None, "pending"), ("pending", "running")]
    assert all(frame.data["type"] == frame.name for frame in told(journal, Dialect.TYPED))


def test_messages_and_what_an_agent_needs_are_told() -> None:
    journal = Chronicled()
    journal.spawn(1)
    journal.start(1)
    text = "line\nbreak \u2028 and \ud800"
    journal.happen(events.MessageSent(sender="head", to="ns0000000001", type="request", message=text))
    journal.happen(events.AgentNeedsInput(orchestration_task_id="ns0000000001", attempt=1, n=2, kind="permission", message="may I"))
    *_, message, needed = told(journal)
    assert (message.name, message.data["to"], message.data["content"]) == (
        "worker_message",
        "ns0000000001",
        "line\nbreak \u2028 and \ud800",
    )
    assert (needed.name, needed.data["action"]) == ("approval_required", "may I")


def test_our_own_client_is_told_every_event_in_one_small_frame() -> None:
    journal = Chronicled()
    journal.spawn(1)
    journal.happen(events.MessageSent(sender="head", to="*", type="request", message="x" * 10_000))
    journal.happen(events.RunnerStarted(runner_id="r", pid=1, version="1"))
    seen = told(journal, Dialect.CHANGES)
    names = ["orchestration_created", "agent_spawned", "message_sent", "runner_started"]
    assert [(frame.id, frame.data["event"]) for frame in seen] == [(str(number), name) for number, name in enumerate(names, 1)]
    assert seen[1].data["task"]["status"] == "pending"
    assert (seen[2].data["from"], seen[2].data["to"]) == ("head", "*")
    assert all(len(json.dumps(frame.data)) < 2000 for frame in seen)
    assert "environment" not in json.dumps([frame.data for dialect in Dialect for frame in told(journal, dialect)])


@pytest.mark.parametrize("text", ["", "x", "-1", "1.", "1.2.3", "9" * 16, "١", "1 "])
def test_what_is_no_id_of_ours_names_no_place(text: str) -> None:
    assert frames.read_id(text) is None
