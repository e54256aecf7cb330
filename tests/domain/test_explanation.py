"""Why a task is where it is, in sentences that need no glossary."""

from datetime import UTC, datetime, timedelta

import pytest

from devsh_memory_mcp.domain.explanation import Look, sentences
from devsh_memory_mcp.domain.records import TaskSpec, Totals, Traffic
from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.domain.status import Status

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def task(state: State, name: str, status: Status = Status.PENDING, *, after: tuple[str, ...] = (), **fields: object) -> Task:
    spec = TaskSpec(prompt="p", agent_name="shell/bash", depends_on=after)
    state.tasks[name] = found = Task(name, name, f"tr_{name}", spec, len(state.tasks), NOW, status=status, **fields)  # type: ignore[arg-type]
    return found


def said(state: State, of: Task, **waiting: str) -> tuple[str, ...]:
    return sentences(state, of, Look(NOW, waiting, (), lambda _task: "runs pytest", lambda _task: None))


def test_a_waiting_task_says_of_each_dependency_what_that_one_does_or_waits_for() -> None:
    state = State()
    task(state, "lint", Status.COMPLETED)
    task(state, "unit", Status.RUNNING, attempt_started_at=NOW - timedelta(seconds=90), agent_started=True)
    task(state, "docs", after=("unit",))
    task(state, "stuck", Status.RUNNING, needs_input="It may not run curl")
    last = task(state, "ship", after=("lint", "unit", "docs", "stuck"))
    assert said(state, last, ship="dependencies: unit, docs, stuck", docs="dependencies: unit") == (
        "It starts when 3 tasks it depends on have ended: unit, docs, stuck.",
        "lint has completed.",
        "unit is at work for 1m30s: runs pytest.",
        "docs has not begun: it waits for unit.",
        "stuck needs help: It may not run curl.",
    )


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        ("a free place: 8 of 8 are taken", "It waits for a free place: 8 of 8 are taken."),
        (
            "held: written into PLAN.json by hand; spawn it to start it",
            "It does not start by itself: written into PLAN.json by hand; spawn",
        ),
        ("the credential X: the runner was restarted", "It waits for the credential X: the runner was restarted."),
        ("", "Nothing stands in its way; it is about to start."),
    ],
)
def test_what_else_stands_in_its_way_is_a_sentence(reason: str, sentence: str) -> None:
    state = State()
    assert said(state, task(state, "one"), one=reason)[0].startswith(sentence)


def test_a_failure_says_what_failed_and_why_and_no_code_word() -> None:
    state = State()
    one = task(state, "one", Status.FAILED, reason="exit", error_message="bash: exit code 3: why", totals=Totals(failure="auth"))
    assert said(state, one) == (
        "It failed: bash: exit code 3: why.",
        "That is so because the provider does not accept the login (auth).",
    )
    late = task(state, "late", Status.FAILED, reason="timeout", error_message="It was ended after 5 s, its time limit.", attempt=2)
    assert said(state, late) == ("It took too long in attempt 2, the last: It was ended after 5 s, its time limit.",)
    behind = task(state, "two", Status.FAILED, after=("one",), reason="dependency", error_message="Dependency one failed")
    assert said(state, behind) == ("It never started, because its dependency one failed: bash: exit code 3: why.",)


def test_an_attempt_that_is_held_before_its_agent_starts_says_what_it_waits_for() -> None:
    state = State()
    held = task(state, "one", Status.RUNNING, started_at=NOW, waiting_for="the credential X: the runner was restarted")
    assert said(state, held) == ("It waits for the credential X: the runner was restarted.",)
    assert said(state, task(state, "two", after=("one",)))[1] == "one waits for the credential X: the runner was restarted."


def test_the_time_that_is_told_is_that_of_the_attempt_and_the_first_one_is_told_apart() -> None:
    state = State()
    began = {"started_at": NOW - timedelta(seconds=300), "attempt_started_at": NOW - timedelta(seconds=20)}
    again = task(state, "one", Status.RUNNING, agent_started=True, attempt=2, **began)
    assert said(state, again) == ("It is at work for 20s, in attempt 2 (the first began 5m ago): runs pytest.",)


def test_what_its_walls_kept_from_it_is_told_with_what_would_let_it() -> None:
    state = State()
    refused = Traffic(requests=2, refused={"github.com:443": 3, "192.0.2.1:80": 1})
    one = task(state, "one", Status.FAILED, reason="exit", error_message="exit code 128", totals=Totals(network=refused))
    assert said(state, one)[1] == (
        "Its sandbox did not let it reach github.com:443, 192.0.2.1:80: "
        "--network allow:HOST,… names what it may, a private address by its number."
    )
    assert len(said(state, task(state, "two", Status.FAILED, totals=Totals(network=Traffic(requests=2))))) == 1
