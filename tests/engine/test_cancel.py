"""A cancel ends what runs, wherever it hides, keeps its work, and tells the truth at every moment."""

import os
import signal
from pathlib import Path

import pytest

from devsh_memory_mcp.domain.events import AttemptStarted, RetryScheduled
from tests.doubles.processes import await_end
from tests.engine.house import House, ended, events_of, git, reported_pid, shell, until_event

TREE = "trap '' TERM; (setsid sh -c 'sleep 1000 & sleep 1000' &); setsid sleep 1000 & "


async def test_a_cancelled_tree_is_gone_and_its_work_is_under_the_salvage_ref(house: House, repository: Path) -> None:
    pipe = house.pipe()
    async with house.opened() as orchestration:
        script = f"exec 9>{pipe.path}; {TREE} echo draft > draft; echo here >&9; sleep 1000"
        spawned = await orchestration.spawn(shell(script, repo=None))
        dependent = await orchestration.spawn(shell("true", depends_on=(spawned.orchestration_task_id,), repo=None))
        await pipe.lines(1)
        answer = await orchestration.cancel(spawned.orchestration_task_id)
        assert (answer.ok, answer.cancelled, answer.cancelled_count, answer.status) == (True, True, 1, "cancelled")
        assert await pipe.end() == ["here"]
        record = await orchestration.status(spawned.orchestration_task_id)
        explained = await orchestration.explain(spawned.orchestration_task_id)
        waited = await ended(orchestration, spawned.orchestration_task_id, dependent.orchestration_task_id)
        behind = await orchestration.status(dependent.orchestration_task_id)
        why = await orchestration.explain(dependent.orchestration_task_id)
    assert (record.status, record.reason, record.branch) == ("cancelled", "cancelled", None)
    assert [git(repository, "show", f"{ref}:draft") for ref in record.salvage_refs] == ["draft"]
    assert explained.because[1] == f"Its work was saved: git checkout {record.salvage_refs[0]}"
    assert waited.status == "cancelled"
    assert (behind.status, behind.error_message) == ("failed", f"Dependency {spawned.orchestration_task_id} failed")
    assert behind.cancelled_dependency == spawned.orchestration_task_id
    assert why.because == (f"It never started, because its dependency {spawned.orchestration_task_id} was cancelled.",)
    house.checks.append(lambda: git(repository, "for-each-ref", "refs/heads/dev", "refs/devsh/base") == "")


async def test_a_cascade_cancels_running_and_pending_dependents_and_nobody_fails(house: House) -> None:
    pipe = house.pipe()
    async with house.opened() as orchestration:
        first = await orchestration.spawn(shell(f"exec 9>{pipe.path}; echo here >&9; sleep 1000", name="first"))
        await orchestration.spawn(shell("true", name="second", depends_on=("first",)))
        await orchestration.spawn(shell("true", name="third", depends_on=("second",), on_dependency_failure="run"))
        await pipe.lines(1)
        answer = await orchestration.cancel(first.orchestration_task_id, cascade=True)
        assert (answer.cancelled, answer.cancelled_count) == (True, 3)
        assert await pipe.end() == ["here"]
        rows = (await ended(orchestration, "first", "second", "third")).tasks
        explained = await orchestration.explain("second")
    assert [row.status for row in rows] == ["cancelled"] * 3
    told = "It depends on first, which was cancelled with all that depend on it."
    assert [row.error_message for row in rows] == ["Cancelled.", told, told]
    assert explained.because == ("It was cancelled.", told)


async def test_a_pending_task_is_cancelled_in_one_commit_and_is_never_started(house: House) -> None:
    gate, started = house.gate(), house.pipe()
    async with house.opened() as orchestration:
        await orchestration.spawn(shell(f"echo . > {started.path}; {gate.pass_through}", name="first", max_concurrent=1))
        waiting = await orchestration.spawn(shell("true"))
        await started.lines(1)
        explained = await orchestration.explain(waiting.orchestration_task_id)
        answer = await orchestration.cancel(waiting.orchestration_task_id)
        assert explained.because == ("It waits for a free place: 1 of 1 are taken.",)
        assert (answer.cancelled, answer.cancelled_count, answer.status) == (True, 1, "cancelled")
        gate.open()
        await ended(orchestration, "first")
        started_ids = {event.orchestration_task_id for event in events_of(orchestration) if isinstance(event, AttemptStarted)}
        assert waiting.orchestration_task_id not in started_ids


async def test_a_task_that_has_ended_stays_what_it_is(house: House) -> None:
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell("true"))
        await ended(orchestration, spawned.orchestration_task_id)
        before = len(events_of(orchestration))
        answer = await orchestration.cancel(spawned.orchestration_task_id, cascade=True)
        assert (answer.ok, answer.cancelled, answer.cancelled_count, answer.status) == (True, False, 0, "completed")
        assert len(events_of(orchestration)) == before


async def test_what_ended_by_itself_before_the_cancel_is_not_called_cancelled(house: House) -> None:
    pipe, gate = house.pipe(), house.gate()
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell(f"exec 9>{pipe.path}; echo here >&9; {gate.pass_through}"))
        await pipe.lines(1)
        await until_event(orchestration, "agent_started")
        shim = await reported_pid(orchestration, spawned.orchestration_task_id, "started")
        os.kill(shim, signal.SIGSTOP)
        gate.open()
        await pipe.end()
        assert await_end(await reported_pid(orchestration, spawned.orchestration_task_id, "guard"), 5.0)
        async with house.cancelling(orchestration, spawned.orchestration_task_id) as answers:
            await until_event(orchestration, "cancel_requested")
            os.kill(shim, signal.SIGCONT)
    (answer,) = answers
    assert (answer.ok, answer.cancelled, answer.cancelled_count, answer.status) == (True, False, 0, "completed")


async def test_a_second_cancel_of_a_running_task_is_the_same_cancel(house: House) -> None:
    pipe = house.pipe()
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell(f"trap '' TERM; exec 9>{pipe.path}; echo here >&9; while :; do sleep 1000; done"))
        await pipe.lines(1)
        async with house.cancelling(orchestration, spawned.orchestration_task_id) as answers:
            await until_event(orchestration, "cancel_requested")
            meanwhile = await orchestration.status(spawned.orchestration_task_id)
            explained = await orchestration.explain(spawned.orchestration_task_id)
            second = await orchestration.cancel(spawned.orchestration_task_id)
        assert [event.name for event in events_of(orchestration)].count("cancel_requested") == 1
    assert (meanwhile.status, meanwhile.cancel_requested) == ("running", True)
    assert explained.because[0] == "Its cancellation was asked for; it keeps its place until its processes are gone."
    assert [(answer.cancelled, answer.status) for answer in (*answers, second)] == [(True, "cancelled")] * 2


async def test_a_cancel_right_behind_the_spawn_leaves_nothing_running(house: House) -> None:
    async with house.opened() as orchestration:
        spawned = [await orchestration.spawn(shell("sleep 1000")) for _ in range(3)]
        answers = [await orchestration.cancel(one.orchestration_task_id) for one in spawned]
        assert [(answer.cancelled, answer.status) for answer in answers] == [(True, "cancelled")] * 3


async def test_a_cancel_while_a_retry_is_awaited_ends_the_task_at_once(house: House, repository: Path) -> None:
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell("echo half > half; exit 1", retries=3, repo=None))
        await until_event(orchestration, "retry_scheduled")
        explained = await orchestration.explain(spawned.orchestration_task_id)
        answer = await orchestration.cancel(spawned.orchestration_task_id)
        assert explained.because[0].startswith("It is tried again after a pause: attempt 2 starts at ")
        assert explained.because[1] == "The attempt before ended so: bash: exit code 1."
        assert (answer.cancelled, answer.cancelled_count, answer.status) == (True, 1, "cancelled")
        record = await orchestration.status(spawned.orchestration_task_id)
        await orchestration.pull()
        events = events_of(orchestration)
    assert [git(repository, "show", f"{ref}:half") for ref in record.salvage_refs] == ["half"]
    assert len([event for event in events if isinstance(event, RetryScheduled)]) == 1
    house.checks.append(lambda: git(repository, "for-each-ref", "refs/devsh/base") == "")


@pytest.mark.parametrize("cascade", [True, False])
async def test_an_unknown_task_cannot_be_cancelled(house: House, cascade: bool) -> None:
    async with house.opened() as orchestration:
        with pytest.raises(Exception, match="No task 'nope'") as caught:
            await orchestration.cancel("nope", cascade=cascade)
    assert getattr(caught.value, "code", "") == "not_found"
