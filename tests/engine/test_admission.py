"""What may be admitted, decided from a state alone."""

import pytest

from devsh_memory_mcp.domain.events import AgentFailed, AgentSpawned, Event, PlanTaskFound, SettingsChanged
from devsh_memory_mcp.domain.records import TaskSpec
from devsh_memory_mcp.domain.requests import BatchRequest, BatchTask, SpawnRequest
from devsh_memory_mcp.domain.state import State
from devsh_memory_mcp.engine.admission import Prepared, admit, check_name, find_repeat, fingerprint, in_order
from devsh_memory_mcp.errors import Conflict, DependencyCycle, IdempotencyConflict, InvalidId, InvalidRequest, UnknownDependency
from tests.domain.plans import Plan
from tests.doubles.clock import START


def prepared(name: str, *depends_on: str, **spec: object) -> Prepared:
    whole = TaskSpec.model_validate({"prompt": "p", "agent_name": "a/b", **spec})
    return Prepared(f"ns-{name}", f"tr-{name}", name, whole, depends_on)


def admitted(state: State, *tasks: Prepared, key: str | None = None, request: str = "r", places: int | None = None) -> tuple[Event, ...]:
    return admit(state, START, tasks, key=key, request=request, max_concurrent=places).events


def batch(**tasks: str) -> tuple[BatchTask, ...]:
    return tuple(BatchTask(id=name, prompt="p", depends_on=tuple(after.split())) for name, after in tasks.items())


def test_tasks_of_one_commit_find_each_other_by_name() -> None:
    first, second = admitted(Plan().state, prepared("a"), prepared("b", "a", "a"))
    assert isinstance(second, AgentSpawned)
    assert (first.name, second.spec.depends_on) == ("agent_spawned", ("ns-a",))


def test_a_dependency_goes_by_any_of_its_ids() -> None:
    plan = Plan()
    plan.spawn("one")
    (event,) = admitted(plan.state, prepared("a", "one", "tr_one", "plan-one"))
    assert isinstance(event, AgentSpawned)
    assert event.spec.depends_on == ("one",)
    with pytest.raises(UnknownDependency, match="There is no task 'two'"):
        admitted(plan.state, prepared("b", "two"))


def test_a_name_is_had_once_unless_it_waits_in_the_plan_to_be_spawned() -> None:
    plan = Plan()
    plan.spawn("one")
    plan.tell(PlanTaskFound(orchestration_task_id="ns0123456789", task_run_id="tr_2", id="draft", agent_name="a/b", prompt="p"))
    with pytest.raises(Conflict, match="a task named 'plan-one' already"):
        admitted(plan.state, prepared("plan-one"))
    (event,) = admitted(plan.state, prepared("draft"))
    assert isinstance(event, AgentSpawned)
    assert (event.orchestration_task_id, event.task_run_id, event.id) == ("ns0123456789", "tr_2", "draft")
    check_name(plan.state, "ns0123456789")


@pytest.mark.parametrize("name", ["head", "*", "orch_", "orch_1", "tr_", "tr_abc", "ns0123456789", "nsabcdefghij", "a b", ""])
def test_a_task_cannot_be_named_like_somebody_else(name: str) -> None:
    with pytest.raises(InvalidId):
        check_name(Plan().state, name)


@pytest.mark.parametrize("name", ["header", "orch", "tr", "ns", "ns012345678", "nsABCDEFGHIJ", "ns-0123456789", "a", "A1_-"])
def test_other_names_are_free(name: str) -> None:
    check_name(Plan().state, name)


@pytest.mark.parametrize("end", ["fail", "cancel"])
def test_what_depends_on_a_task_that_is_over_fails_in_the_commit_that_admits_it(end: str) -> None:
    plan = Plan()
    plan.spawn("one")
    getattr(plan, end)("one")
    spawned, doomed, stubborn = admitted(plan.state, prepared("a", "one"), prepared("b", "one", on_dependency_failure="run"))
    assert isinstance(doomed, AgentFailed)
    assert (spawned.name, doomed.reason, doomed.error_message) == ("agent_spawned", "dependency", "Dependency plan-one failed")
    assert stubborn.name == "agent_spawned"


def test_a_limit_is_told_where_it_changes() -> None:
    plan = Plan()
    first, _ = admitted(plan.state, prepared("a"), places=3)
    assert first == SettingsChanged(max_concurrent=3)
    plan.tell(first)
    assert len(admitted(plan.state, prepared("a"), places=3)) == 1


def test_a_repeat_is_answered_with_the_same_ids_and_another_request_is_refused() -> None:
    plan = Plan()
    for event in admitted(plan.state, prepared("a"), prepared("b"), key="k", request="r"):
        plan.tell(event)
    again = admit(plan.state, START, (prepared("c"),), key="k", request="r", max_concurrent=9)
    assert (again.events, again.value) == ((), ("ns-a", "ns-b"))
    with pytest.raises(IdempotencyConflict):
        find_repeat(plan.state, "k", "another")
    assert find_repeat(plan.state, "another", "r") is find_repeat(plan.state, None, "r") is None


def test_a_fingerprint_is_of_what_was_sent_whatever_the_key() -> None:
    sent = fingerprint(SpawnRequest(prompt="p"))
    assert fingerprint(SpawnRequest(prompt="p", idempotency_key="k")) == sent
    assert fingerprint(SpawnRequest(prompt="q")) != sent
    assert fingerprint(SpawnRequest(prompt="p", retries=0)) != sent


def test_a_batch_is_taken_with_each_task_behind_what_it_depends_on() -> None:
    assert [task.id for task in in_order(batch(c="b known", b="a", a=""), {"known"})] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("tasks", "error", "words"),
    [
        (batch(a="c", b="a", c="b"), DependencyCycle, "circle of dependencies: "),
        (batch(a="a"), DependencyCycle, "a → a"),
        (batch(a="nobody"), UnknownDependency, "Task 'a' depends on 'nobody'"),
        (batch(a="") + batch(a=""), InvalidRequest, "two tasks with the id 'a'"),
    ],
)
def test_a_batch_that_cannot_be_ordered_is_refused(tasks: tuple[BatchTask, ...], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        in_order(tasks, set())


def test_a_task_of_a_batch_has_what_a_single_one_has() -> None:
    alone = {"name", "resume", "max_concurrent", "cloud_workspace", "on_head_exit", "idempotency_key"}
    assert set(BatchTask.model_fields) - {"id"} == set(SpawnRequest.model_fields) - alone
    assert alone - {"name", "resume", "cloud_workspace", "on_head_exit"} == set(BatchRequest.model_fields) - {"tasks", "defaults"}
