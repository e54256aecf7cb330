"""Which task starts, which never will, and why the others wait."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from devsh_memory_mcp.domain import events
from devsh_memory_mcp.domain.instants import instant_text
from devsh_memory_mcp.domain.schedule import assess, choose, retry_delay
from tests.domain.plans import Plan
from tests.doubles.clock import START


def ready(plan: Plan) -> list[str]:
    return [task.orchestration_task_id for task in assess(plan.state, plan.now).ready]


def chosen(plan: Plan, limit: int = 8) -> list[str]:
    plan.state.max_concurrent = limit
    return [task.orchestration_task_id for task in choose(plan.state, assess(plan.state, plan.now).ready, plan.now)]


def test_a_task_is_ready_when_its_dependencies_are_completed() -> None:
    plan = Plan()
    plan.spawn("a")
    plan.spawn("b", "a")
    assert ready(plan) == ["a"]
    assert assess(plan.state, plan.now).waiting == {"b": "dependencies: plan-a"}
    plan.complete("a")
    assert ready(plan) == ["b"]


def test_a_failed_or_cancelled_dependency_dooms_a_task() -> None:
    plan = Plan()
    for name, dependency in (("a", ""), ("b", ""), ("c", "a"), ("d", "b")):
        plan.spawn(name, *filter(None, [dependency]))
    plan.fail("a")
    plan.cancel("b")
    doomed = [(task.orchestration_task_id, cause.orchestration_task_id) for task, cause in assess(plan.state, plan.now).doomed]
    assert doomed == [("c", "a"), ("d", "b")]


def test_a_task_that_runs_on_failure_is_ready_after_one() -> None:
    plan = Plan()
    plan.spawn("a")
    plan.spawn("b", "a", on_dependency_failure="run")
    plan.fail("a")
    assert ready(plan) == ["b"]


def test_the_most_urgent_task_starts_first_and_of_equals_the_oldest() -> None:
    plan = Plan()
    for name, priority in (("a", 5), ("b", 0), ("c", 5), ("d", 10)):
        plan.spawn(name, priority=priority)
    assert chosen(plan) == ["b", "a", "c", "d"]


def test_a_task_gains_a_step_of_priority_for_each_minute_it_waits() -> None:
    plan = Plan()
    plan.spawn("old", priority=10)
    plan.now = START + timedelta(minutes=6)
    plan.spawn("new", priority=5)
    assert chosen(plan, 1) == ["old"]


def test_an_orchestration_takes_no_more_than_its_limit() -> None:
    plan = Plan()
    for name in "abcd":
        plan.spawn(name)
    plan.start("a")
    assert chosen(plan, limit=3) == ["b", "c"]


def test_a_back_off_is_waited_for_unless_the_clock_was_set_back_before_it() -> None:
    plan = Plan()
    plan.spawn("a")
    plan.start("a")
    plan.end_attempt("a")
    later = instant_text(START + timedelta(seconds=2))
    plan.tell(events.RetryScheduled(orchestration_task_id="a", attempt=2, reason="exit", not_before=later, delay_ms=2000))
    assessed = assess(plan.state, START)
    assert assessed.waiting["a"].startswith("back-off: attempt 2")
    assert assessed.wake_at == START + timedelta(seconds=2)
    assert [task.id for task in assess(plan.state, START + timedelta(seconds=2)).ready] == ["plan-a"]
    assert [task.id for task in assess(plan.state, START - timedelta(days=400)).ready] == ["plan-a"]


def test_a_paused_plan_and_a_held_task_start_nothing() -> None:
    plan = Plan()
    plan.spawn("a")
    plan.tell(events.PlanEdited(kept="x", paused=True))
    plan.tell(events.PlanTaskFound(orchestration_task_id="h", task_run_id="tr_h", id="h", agent_name="a/b", prompt="p"))
    assessed = assess(plan.state, plan.now)
    assert not assessed.ready
    assert assessed.waiting["h"].startswith("held")
    assert "paused" in assessed.waiting["a"]


@given(st.integers(1, 1000), st.floats(0, 1))
def test_a_retry_waits_longer_each_time_and_never_much_over_five_minutes(attempts: int, jitter: float) -> None:
    assert timedelta(seconds=1.6) <= retry_delay(attempts, jitter) <= timedelta(minutes=6)
    assert retry_delay(attempts, jitter) <= retry_delay(attempts + 1, jitter)


@given(st.lists(st.tuples(st.integers(0, 10), st.integers(0, 600)), max_size=20), st.integers(0, 12))
def test_never_more_start_than_there_are_places(tasks: list[tuple[int, int]], limit: int) -> None:
    plan = Plan()
    for number, (priority, age) in enumerate(tasks):
        plan.now = START - timedelta(seconds=age)
        plan.spawn(f"t{number}", priority=priority)
    plan.now = START
    names = chosen(plan, limit)
    assert len(names) == len(set(names)) == min(len(tasks), limit)
