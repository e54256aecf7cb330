"""A limit that one task has hit holds all that are paid by the same account, until it is over."""

from datetime import datetime, timedelta

import pytest

from devsh_memory_mcp.domain import quota
from devsh_memory_mcp.domain.events import ProviderLimited
from devsh_memory_mcp.domain.explanation import Look, sentences
from devsh_memory_mcp.domain.instants import instant_text
from devsh_memory_mcp.domain.records import Credential, TaskSpec
from devsh_memory_mcp.domain.schedule import Assessment, assess, has_work
from devsh_memory_mcp.domain.state import State
from devsh_memory_mcp.engine.endings import end_attempt
from devsh_memory_mcp.shim.rundir import FORMAT, Outcome
from tests.domain.plans import Plan
from tests.doubles.clock import START

HOUR = timedelta(hours=1)
KEY = Credential(variable="ANTHROPIC_API_KEY", fingerprint="0123")


@pytest.fixture
def plan() -> Plan:
    """Of `hit`, which is running, `same` and `other`, which wait, the last one for another account."""
    made = Plan()
    made.spawn("hit", agent_name="claude/opus", retries=0)
    made.start("hit")
    made.spawn("same", agent_name="claude/haiku-4.5")
    made.spawn("key", agent_name="claude/haiku-4.5", credential=KEY)
    made.spawn("script", agent_name="shell/bash")
    return made


def hit(plan: Plan, retry_at: datetime | None, failure: str = "rate_limit") -> None:
    """The running task's end."""
    at = plan.now.isoformat()
    epoch = retry_at.timestamp() if retry_at else None
    outcome = Outcome(FORMAT, "tr_hit", 1, "exit", False, at, at, 0, 0, failure=failure, retry_at=epoch)
    for event in end_attempt(plan.state, plan.now, "hit", outcome, jitter=0.0).events:
        plan.tell(event)


def ready(state: State, now: datetime) -> set[str]:
    return {task.orchestration_task_id for task in assess(state, now).ready}


def explained(plan: Plan, name: str, assessed: Assessment) -> tuple[str, ...]:
    look = Look(plan.now, assessed.waiting, (), lambda _task: None, lambda _task: None)
    return sentences(plan.state, plan.state.tasks[name], look)


def test_nothing_of_the_account_starts_before_its_limit_is_over(plan: Plan) -> None:
    hit(plan, START + HOUR)
    assessed = assess(plan.state, START)
    assert ready(plan.state, START) == {"key", "script"}
    why = f"that of claude is used up, and it starts at {START + HOUR:%H:%M:%S} UTC"
    assert assessed.waiting == {"same": f"limit: {why}"}
    assert assessed.wake_at == START + HOUR
    assert has_work(plan.state, START)
    assert (
        explained(plan, "same", assessed)[0]
        == f"It waits for a limit: that of claude is used up, and it starts at {START + HOUR:%H:%M:%S} UTC."
    )
    assert ready(plan.state, START + HOUR) == {"same", "key", "script"}


def test_a_limit_whose_end_is_not_told_holds_for_a_minute(plan: Plan) -> None:
    hit(plan, None)
    assert assess(plan.state, START).wake_at == START + quota.UNKNOWN_RESET


def test_other_failures_hold_nobody(plan: Plan) -> None:
    hit(plan, START + HOUR, failure="overload")
    assert ready(plan.state, START) == {"same", "key", "script"}


def test_a_clock_that_was_set_back_holds_nobody(plan: Plan) -> None:
    hit(plan, START + HOUR)
    assert "same" in ready(plan.state, START - timedelta(days=400))


def test_a_limit_is_told_to_the_orchestrations_that_would_run_into_it_and_once(plan: Plan) -> None:
    hit(plan, START + HOUR)
    known, other = quota.merged({}, plan.state.limits), Plan()
    other.spawn("a", agent_name="claude/opus")
    other.spawn("b", agent_name="claude/opus")
    specs = [task.spec for task in assess(other.state, START).ready]
    told = quota.unheard(known, other.state.limits, specs, START)
    assert told == [ProviderLimited(account="claude", until=instant_text(START + HOUR))]
    other.tell(told[0])
    assert quota.unheard(known, other.state.limits, specs, START) == []
    assert ready(other.state, START) == set()
    assert quota.unheard(known, {}, specs, START + HOUR) == []
    assert quota.unheard(known, {}, [TaskSpec(prompt="p", agent_name="claude/opus", credential=KEY)], START) == []


def test_of_two_limits_of_an_account_the_longer_one_is_known() -> None:
    short, long = quota.Limited(START, START + HOUR), quota.Limited(START, START + 2 * HOUR)
    assert quota.merged({"claude": short}, {"claude": long}) == quota.merged({"claude": long}, {"claude": short}) == {"claude": long}


def test_a_shorter_limit_does_not_end_a_longer_one(plan: Plan) -> None:
    for wait in (HOUR, timedelta(minutes=1)):
        plan.tell(ProviderLimited(account="claude", until=instant_text(START + wait)))
    assert assess(plan.state, START).wake_at == START + HOUR
    plan.tell(ProviderLimited(account="claude", until=instant_text(START - HOUR)), START - 2 * HOUR)
    assert "same" in ready(plan.state, START - HOUR)
