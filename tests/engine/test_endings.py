"""What an outcome makes of a task: decided without a file or a process."""

from datetime import datetime, timedelta

import pytest

from devsh_memory_mcp.domain.events import RetryScheduled
from devsh_memory_mcp.engine.endings import end_attempt
from devsh_memory_mcp.shim.rundir import FORMAT, Outcome
from tests.domain.plans import Plan

DAY = timedelta(days=1)


def limited(plan: Plan, retry_at: float | None) -> timedelta:
    """How long a task with retries is held back whose agent has met a limit that is over at that instant."""
    at = plan.now.isoformat()
    outcome = Outcome(FORMAT, "tr_a", 1, "exit", False, at, at, 0, 0, failure="rate_limit", retry_at=retry_at)
    (retry,) = (each for each in end_attempt(plan.state, plan.now, "a", outcome, jitter=0.0).events if isinstance(each, RetryScheduled))
    delay = datetime.fromisoformat(retry.not_before) - plan.now
    assert retry.delay_ms == delay / timedelta(milliseconds=1)
    return delay


@pytest.fixture
def plan() -> Plan:
    made = Plan()
    made.spawn("a", retries=1)
    made.start("a")
    return made


def test_a_limit_is_waited_for_until_it_is_over(plan: Plan) -> None:
    assert limited(plan, plan.now.timestamp() + 3600) == timedelta(hours=1)


@pytest.mark.parametrize(
    ("retry_at", "most"),
    [(float("nan"), 60), (float("inf"), 60), (float("-inf"), 60), (-1e300, 60), (0.0, 60), (1e300, 86400), (1e12, 86400)],
)
def test_an_instant_that_means_nothing_holds_nobody_back_for_longer_than_a_day(plan: Plan, retry_at: float, most: int) -> None:
    assert timedelta(0) < limited(plan, retry_at) <= timedelta(seconds=most) <= DAY
