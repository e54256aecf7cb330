"""What a state looks like from outside."""

import pytest

from devsh_memory_mcp.domain import events
from devsh_memory_mcp.domain.documents import agents_document, plan_document
from devsh_memory_mcp.domain.records import Totals
from devsh_memory_mcp.domain.summary import cut, overall_status, summary, task_record, task_row
from tests.domain.plans import Plan


@pytest.mark.parametrize(
    ("ends", "overall", "shown"),
    [
        ("", "pending", "pending"),
        ("p", "running", "running"),
        ("cp", "running", "running"),
        ("cc", "completed", "completed"),
        ("ff", "failed", "failed"),
        ("fx", "failed", "failed"),
        ("cf", "partial", "failed"),
        ("cx", "partial", "failed"),
    ],
)
def test_the_status_of_a_whole_follows_from_its_tasks(ends: str, overall: str, shown: str) -> None:
    plan = Plan()
    for number, end in enumerate(ends):
        plan.spawn(f"t{number}")
        {"p": lambda _name: None, "c": plan.complete, "f": plan.fail, "x": plan.cancel}[end](f"t{number}")
    assert overall_status(plan.state) == overall
    assert plan_document(plan.state, {})["status"] == shown


def test_a_paused_plan_says_so() -> None:
    plan = Plan()
    plan.tell(events.PlanEdited(kept="x", paused=True))
    assert plan_document(plan.state, {})["status"] == "paused"


def test_a_row_names_dependencies_as_the_plan_does() -> None:
    plan = Plan()
    plan.spawn("a")
    plan.spawn("b", "a")
    assert task_row(plan.state, plan.state.get_task("b")).depends_on == ("plan-a",)


def test_the_summary_counts_and_shows_the_last_five_ends() -> None:
    plan = Plan()
    for number in range(7):
        plan.spawn(f"t{number}")
        plan.complete(f"t{number}")
    found = summary(plan.state, {})
    assert (found.status.completed, found.all_tasks_complete, found.has_failures) == (7, True, False)
    assert [ended.orchestration_task_id for ended in found.recent_completions] == ["t6", "t5", "t4", "t3", "t2"]


def test_long_texts_are_cut() -> None:
    assert cut("x" * 201) == "x" * 199 + "…"
    assert cut("x" * 200) == "x" * 200


def test_what_is_reported_for_an_ended_task_changes_nothing() -> None:
    plan = Plan()
    plan.spawn("a")
    plan.complete("a")
    before = task_row(plan.state, plan.state.get_task("a"))
    plan.tell(events.AgentFailed(orchestration_task_id="a", reason="lost"))
    plan.cancel("a")
    assert task_row(plan.state, plan.state.get_task("a")) == before


def test_a_broadcast_is_unread_for_everyone_but_its_sender() -> None:
    plan = Plan()
    plan.tell(events.MessageSent(sender="ns1", to="*", type="status", message="done"))
    plan.tell(events.MessageSent(sender="head", to="*", type="status", message="hear"))
    assert [message.text for message in plan.state.unread.values()] == ["done"]


@pytest.mark.parametrize("verified", [True, False, None])
def test_whether_work_was_verified_is_told_of_a_task_that_has_ended(verified: bool | None) -> None:
    plan = Plan()
    plan.spawn("a", retries=1)
    plan.start("a")
    totals = Totals(verified=verified, tool_calls=3, commands=1, active_ms=900, stop_reason="end_turn")
    plan.tell(events.AttemptEnded(orchestration_task_id="a", task_run_id="tr_a", attempt=1, reason="verify", totals=totals))
    assert task_record(plan.state, plan.state.tasks["a"]).verified is None
    plan.tell(events.AgentFailed(orchestration_task_id="a", reason="verify", error_message="no"))
    record = task_record(plan.state, plan.state.tasks["a"])
    assert (record.verified, record.tool_calls, record.commands, record.active_ms, record.stop_reason) == (verified, 3, 1, 900, "end_turn")
    (agent,) = agents_document(plan.state)["agents"]
    assert (agent.get("verified"), agent["toolCalls"], agent["commands"]) == (verified, 3, 1)
