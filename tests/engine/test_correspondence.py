"""Who may be written to, and what becomes of what cannot be delivered, decided from a state alone."""

import pytest

from devsh_memory_mcp.domain.events import AgentFailed, MessageDelivered, MessageFailed, MessageSent
from devsh_memory_mcp.domain.requests import MessageRequest
from devsh_memory_mcp.domain.state import State
from devsh_memory_mcp.engine.correspondence import decide_message, does_interrupt, letters_for, mark_read
from devsh_memory_mcp.engine.endings import doom
from devsh_memory_mcp.errors import Conflict, IdempotencyConflict, NotFound
from tests.domain.plans import Plan


def sent(sender: str, to: str, text: str = "hello") -> MessageSent:
    return MessageSent(sender=sender, to=to, type="request", message=text)


def unread(state: State, reader: str) -> list[str]:
    return [letter.text for letter in letters_for(state, reader, include_read=False, type_=None, correlation_id=None)]


@pytest.mark.parametrize("change", [{"to": "head"}, {"message": "b"}, {"metadata": {"a": 1}}, {"type": "status"}, {"reply_to": 2}])
def test_a_key_is_for_one_message_of_one_sender(change: dict[str, object]) -> None:
    plan = Plan()
    request = MessageRequest(to="*", message="a", idempotency_key="k")
    (event,) = decide_message(plan.state, request, "head").events
    plan.tell(event)
    assert decide_message(plan.state, request, "head").value == plan.state.seq
    with pytest.raises(IdempotencyConflict):
        decide_message(plan.state, request.model_copy(update=change), "head")
    with pytest.raises(IdempotencyConflict):
        decide_message(plan.state, request, "somebody else")


def test_only_somebody_who_listens_can_be_written_to() -> None:
    plan = Plan()
    for name in ("over", "script"):
        plan.spawn(name, agent_name="shell/sh")
    plan.complete("over")
    for to, error in (("over", Conflict), ("script", Conflict), ("shell/sh", Conflict), ("nobody", NotFound), ("", NotFound)):
        with pytest.raises(error):
            decide_message(plan.state, MessageRequest.model_construct(to=to, message="a", type="status"), "head")


def test_a_reader_has_what_is_for_him_and_a_stranger_has_nothing() -> None:
    plan = Plan()
    for name in ("one", "two"):
        plan.spawn(name)
    for event in (sent("one", "*", "all"), sent("head", "two", "two alone"), sent("two", "head", "up")):
        plan.tell(event)
    assert [unread(plan.state, reader) for reader in ("head", "one", "two", "tr_foreign")] == [
        ["all", "up"], [], ["all", "two alone"], [],
    ]  # fmt: skip


def test_only_ones_own_unread_messages_are_marked() -> None:
    plan = Plan()
    plan.spawn("one")
    plan.tell(sent("head", "one"))
    plan.tell(sent("one", "head"))
    theirs, ours = plan.state.messages
    (event,) = mark_read(plan.state, "head", (theirs, ours, 999), "pull").events
    assert event == MessageDelivered(message_ids=(ours,), reader="head", via="pull")
    plan.tell(event)
    assert mark_read(plan.state, "head", (ours,), "pull").events == ()


def test_a_doomed_task_and_all_behind_it_fail_once_and_so_do_the_messages_to_them() -> None:
    plan = Plan()
    for name, *after in (("bad",), ("worse",), ("next", "bad", "worse"), ("last", "next")):
        plan.spawn(name, *after)
    plan.tell(sent("head", "last"))
    tasks = plan.state.tasks
    events = doom(plan.state, ((tasks["next"], tasks["bad"]), (tasks["next"], tasks["worse"]), (tasks["last"], tasks["next"])))
    assert [event.orchestration_task_id for event in events if isinstance(event, AgentFailed)] == ["next", "last"]
    assert [event.message_id for event in events if isinstance(event, MessageFailed)] == [next(iter(plan.state.messages))]
    assert len(events) == 3


@pytest.mark.parametrize(("interrupt", "runs"), [(True, True), (True, False), (False, True)])
def test_a_message_interrupts_only_who_is_at_work_and_was_meant_to_be(interrupt: bool, runs: bool) -> None:
    plan = Plan()
    plan.spawn("one", agent_name="claude/opus")
    if runs:
        plan.start("one")
    request = MessageRequest(to="one", message="Stop", type="request", interrupt=interrupt)
    plan.tell(*decide_message(plan.state, request, "head").events)
    assert does_interrupt(plan.state, plan.state.seq) is (interrupt and runs)
