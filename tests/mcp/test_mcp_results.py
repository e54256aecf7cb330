"""No result is larger than 8 KB, whatever is in it; what is cut says so, and where the rest is."""

import json
from typing import Any

import pytest
from doubles.mcp_client import Connect, text_of
from doubles.orchestrations import NOW, Canned, record, row
from hypothesis import given, settings
from hypothesis import strategies as st

from devsh_memory_mcp.domain import answers
from devsh_memory_mcp.domain.requests import ListRequest
from devsh_memory_mcp.faces.mcp_result import LIMIT, dumped, fits, fitted

HUGE = 'ein Wörtchen 🦆 "und" \n' * 20_000
COUNTS = answers.StatusCounts()


def many(count: int, text: str = HUGE) -> tuple[answers.MessageRecord, ...]:
    own: dict[str, Any] = {"sender": "ns0123456789", "to": "head", "type": "request", "timestamp": NOW}
    return tuple(answers.MessageRecord(id=number, message=text, **own) for number in range(1, count + 1))


def page(request: ListRequest) -> answers.ListAnswer:
    start = int(request.cursor or 0)
    rows = tuple(row(number, prompt="p" * 200, result="ü" * 200) for number in range(start, min(start + request.limit, 120)))
    end = start + len(rows)
    return answers.ListAnswer(result=rows, next_cursor=str(end) if end < 120 else None)


async def answered(connect: Connect, tool: str, given: dict[str, Any], **prepared: Any) -> dict[str, Any]:
    async with connect(Canned(**prepared)) as client:
        answer = await client.call_tool(tool, given)
    assert len(text_of(answer).encode()) <= LIMIT
    assert answer.structured_content is not None
    return answer.structured_content


async def test_a_long_result_is_cut_and_names_the_file_that_has_it_all(connect: Connect) -> None:
    whole = record(prompt=HUGE, result=HUGE, error_message=HUGE, run_directory="/runs/tr_1/1")
    cut = await answered(connect, "get_agent_status", {"orchestrationTaskId": "ns1"}, status=whole)
    assert cut["resultTruncated"]
    assert cut["promptTruncated"]
    assert cut["resultPath"] == "/runs/tr_1/1"
    assert HUGE.endswith(cut["result"].removeprefix("…"))
    assert len(cut["result"]) > 500
    assert cut["orchestrationTaskId"] == "ns0123456789"


async def test_the_result_path_that_is_known_is_kept(connect: Connect) -> None:
    whole = record(result=HUGE, result_path="/runs/tr_1/1/result.md")
    cut = await answered(connect, "get_agent_status", {"orchestrationTaskId": "ns1"}, status=whole)
    assert cut["resultPath"] == "/runs/tr_1/1/result.md"


async def test_what_fits_is_not_touched(connect: Connect) -> None:
    shown = await answered(connect, "get_agent_status", {"orchestrationTaskId": "ns1"}, status=record(result="r" * 7000))
    assert shown["result"] == "r" * 7000
    assert not shown["resultTruncated"]


async def test_a_long_list_is_reached_page_by_page(connect: Connect) -> None:
    seen: list[str] = []
    async with connect(Canned(list_tasks=page)) as client:
        cursor = None
        while True:
            answer = await client.call_tool("list_spawned_agents", {"limit": 500, **({"cursor": cursor} if cursor else {})})
            assert len(text_of(answer).encode()) <= LIMIT
            seen += [each["id"] for each in json.loads(text_of(answer))]
            cursor = answer.structured_content["nextCursor"]
            if cursor is None:
                break
    assert seen == [f"task{number}" for number in range(120)]


async def test_one_row_that_is_too_large_is_cut(connect: Connect) -> None:
    shown = await answered(connect, "list_spawned_agents", {}, list_tasks=answers.ListAnswer(result=(row(error_message=HUGE),)))
    assert len(shown["result"]) == 1


async def test_as_many_messages_are_asked_for_as_one_result_holds(connect: Connect) -> None:
    def messages(*, max_bytes: int, **_: Any) -> answers.MessagesAnswer:
        return answers.MessagesAnswer(messages=many(max_bytes // 420, "m" * 300), cursor=1)

    shown = await answered(connect, "get_my_messages", {}, messages=messages)
    assert len(shown["messages"]) > 10
    assert {message["message"] for message in shown["messages"]} == {"m" * 300}


async def test_a_huge_message_is_cut_and_the_journal_is_named(connect: Connect) -> None:
    shown = await answered(connect, "get_my_messages", {}, messages=answers.MessagesAnswer(messages=many(1), cursor=1))
    assert shown["messages"][0]["messageTruncated"]
    assert shown["rest"].endswith("EVENTS.jsonl")


async def test_summary_pull_and_wait_stay_within_bounds(connect: Connect) -> None:
    active = tuple(answers.ActiveAgent(orchestration_task_id=f"ns{n:010}", id=f"task{n}", agent_name="shell/bash") for n in range(500))
    ends = tuple(
        answers.Completion(id="t", orchestration_task_id="ns1", status="failed", prompt=HUGE, error_message=HUGE) for _ in range(5)
    )
    summary = answers.SummaryAnswer(
        orchestration_id="orch_1", status=COUNTS, active_agents=("shell/bash",) * 500, active_agent_count=500, agents=active,
        recent_completions=ends, all_tasks_complete=False, has_failures=True,
    )  # fmt: skip
    shown = await answered(connect, "get_orchestration_summary", {}, summary=summary)
    assert shown["activeAgentCount"] == 500
    assert len(shown["recentCompletions"]) == 5
    pulled = tuple(
        answers.PulledTask(id=f"t{n}", orchestration_task_id="ns1", status="running", agent_name="shell/sh", result="r" * 200)
        for n in range(500)
    )
    pull = answers.PullAnswer(
        synced=True, orchestration_id="orch_1", tasks=pulled, messages=many(50), aggregated_status=COUNTS, plan_path="/o/PLAN.json"
    )
    shown = await answered(connect, "pull_orchestration_updates", {}, pull=pull)
    assert shown["tasksOmitted"] + len(shown["tasks"]) == 500
    assert shown["rest"] == "/o/PLAN.json"


async def test_tasks_that_ended_are_the_last_to_be_left_out() -> None:
    rows = [{"id": f"t{n}", "status": "completed" if n == 499 else "running", "prompt": "p" * 40} for n in range(500)]
    cut = fitted({"status": "running", "tasks": [*rows]})
    assert any(each["status"] == "completed" for each in cut["tasks"])


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=3000),
    lambda inner: st.lists(inner, max_size=60) | st.dictionaries(st.text(max_size=12), inner, max_size=20),
    max_leaves=200,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(["result", "prompt", "tasks", "messages", "branch", "resultPath", "x"]), _JSON, max_size=7))
def test_whatever_it_is_it_fits(value: dict[str, Any]) -> None:
    cut = fitted(value, rest="/runs/result.md")
    assert fits(cut)
    assert json.loads(dumped(cut)) == cut
    if fits(value):
        assert cut == value


@pytest.mark.parametrize("size", [LIMIT - 30, LIMIT, LIMIT + 1, 10 * LIMIT])
def test_the_limit_is_exact(size: int) -> None:
    assert len(dumped(fitted({"result": "r" * size})).encode()) <= LIMIT
