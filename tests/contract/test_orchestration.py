"""What every answerer of `Orchestration` does, on this machine or elsewhere."""

import anyio
import pytest

from devsh_memory_mcp.domain.requests import BatchRequest, BatchTask, ListRequest, MessageRequest, SpawnRequest, WaitRequest
from devsh_memory_mcp.errors import (
    Conflict,
    IdempotencyConflict,
    InvalidId,
    JournalDamaged,
    NotFound,
    RepositoryUnusable,
    UnknownAgent,
    UnknownDependency,
)
from devsh_memory_mcp.store.reader import JOURNAL_FILE
from tests.contract.conftest import Place
from tests.engine.house import ended, shell

pytestmark = pytest.mark.anyio


async def test_the_main_job(place: Place) -> None:
    async with place.open() as orchestrations:
        request = shell("echo made; echo 'the result'", name="first", priority=3)
        orchestration = await orchestrations.current(create=True, request=request)
        spawned = await orchestration.spawn(request)
        assert (spawned.status, spawned.orchestration_id, spawned.task_id) == ("pending", orchestration.orchestration_id, "first")
        waited = await orchestration.wait(WaitRequest(ids=("first",)))
        assert (waited.status, waited.finished, waited.timed_out) == ("completed", True, False)
        for name in (spawned.orchestration_task_id, spawned.task_run_id, "first"):
            record = await orchestration.status(name)
            assert (record.id, record.status, record.exit_code, record.priority) == ("first", "completed", 0, 3)
        assert record.result is not None
        assert "the result" in record.result
        results = await orchestration.results()
        assert (results.status, results.total_tasks, [each.id for each in results.results]) == ("completed", 1, ["first"])
        rows = await orchestration.list_tasks(ListRequest(status="completed"))
        assert [row.orchestration_task_id for row in rows.result] == [spawned.orchestration_task_id]
        assert (await orchestration.list_tasks(ListRequest(status="running"))).result == ()
        summary = await orchestration.summary()
        assert (summary.all_tasks_complete, summary.status.completed, summary.has_failures) == (True, 1, False)
        assert (await orchestration.plan())["orchestrationId"] == orchestration.orchestration_id
        assert "first" in await orchestration.brief()
        assert (await orchestration.explain("first")).because
        assert (await orchestration.work("first")).status == "completed"
        assert "".join([text async for text in orchestration.output("first")]) == "made\nthe result\n"
        printed = [piece async for piece in orchestration.printed("first")]
        assert b"".join(piece.content for piece in printed if not piece.is_error) == b"made\nthe result\n"


async def test_changes_are_told_from_where_one_stands_without_gap_or_repeat(place: Place) -> None:
    async with place.open() as orchestrations:
        orchestration = await orchestrations.begin("of the test")
        start = await orchestration.position()
        task = (await orchestration.spawn(shell("true"))).orchestration_task_id
        await ended(orchestration, task)
        end = await orchestration.position()
        found = []
        async for change in orchestration.changes(start):
            found.append(change)
            if change.seq == end:
                break
        assert [change.seq for change in found] == list(range(start + 1, end + 1))
        assert found[0].event == "agent_spawned"
        assert (found[-1].task is None) or found[-1].task.orchestration_task_id == task
        assert "agent_completed" in [change.event for change in found]


async def test_output_is_followed_to_the_end(place: Place) -> None:
    gate = place.house.gate()
    async with place.open() as orchestrations:
        request = shell(f"echo before; {gate.pass_through}; echo after")
        orchestration = await orchestrations.current(create=True, request=request)
        task = (await orchestration.spawn(request)).orchestration_task_id
        said = ""
        async for text in orchestration.output(task, follow=True):
            said += text
            if said == "before\n":
                gate.open()
        assert said == "before\nafter\n"


async def test_a_batch_is_admitted_whole_and_waited_for_one_by_one(place: Place) -> None:
    async with place.open() as orchestrations:
        tasks = tuple(
            BatchTask(id=name, prompt="true", agent_name="shell/bash", repo="none", depends_on=needs)
            for name, needs in (("a", ()), ("b", ("a",)))
        )
        request = BatchRequest(tasks=tasks)
        orchestration = await orchestrations.current(create=True, request=request)
        answer = await orchestration.spawn_batch(request)
        assert [task.task_id for task in answer.tasks] == ["a", "b"]
        first = await orchestration.wait(WaitRequest(ids=("a", "b"), mode="any"))
        assert first.finished
        both = await orchestration.wait(WaitRequest(ids=("a", "b")))
        assert [row.status for row in both.tasks] == ["completed", "completed"]


async def test_a_wait_that_is_over_too_soon_says_so_and_cancels_nothing(place: Place) -> None:
    pipe = place.house.pipe()
    async with place.open() as orchestrations:
        request = shell(f"cat {pipe.path}")
        orchestration = await orchestrations.current(create=True, request=request)
        task = (await orchestration.spawn(request)).orchestration_task_id
        for timeout in (0, 50):
            answer = await orchestration.wait(WaitRequest(ids=(task,), timeout=timeout))
            assert (answer.timed_out, answer.finished) == (True, False)
        assert (await orchestration.status(task)).status in ("pending", "running")
        cancelled = await orchestration.cancel(task)
        assert (cancelled.ok, cancelled.cancelled, cancelled.cancelled_count, cancelled.status) == (True, True, 1, "cancelled")
        again = await orchestration.cancel(task)
        assert (again.ok, again.cancelled, again.cancelled_count) == (True, False, 0)


async def test_cancelling_takes_dependents_along_where_it_is_asked_to(place: Place) -> None:
    pipe = place.house.pipe()
    async with place.open() as orchestrations:
        request = shell(f"cat {pipe.path}", name="first")
        orchestration = await orchestrations.current(create=True, request=request)
        await orchestration.spawn(request)
        await orchestration.spawn(shell("true", name="second", depends_on=["first"]))
        assert (await orchestration.cancel("first", cascade=True)).cancelled_count == 2
        assert (await orchestration.status("second")).status == "cancelled"


async def test_messages_come_again_until_the_next_call_says_that_they_arrived(place: Place) -> None:
    async with place.open() as orchestrations:
        orchestration = await orchestrations.begin()
        task = (await orchestration.spawn(shell("true"))).orchestration_task_id
        await ended(orchestration, task)
        for text in ("one", "two"):
            sent = await orchestration.message(MessageRequest(to="head", message=text, correlation_id=text))
        first = await orchestration.messages()
        assert [record.message for record in first.messages] == ["one", "two"]
        assert first.cursor == sent.message_id
        assert [record.message for record in (await orchestration.messages(after=first.messages[0].id)).messages] == ["two"]
        assert [record.message for record in (await orchestration.messages(include_read=True, correlation_id="one")).messages] == ["one"]
        assert (await orchestration.messages()).messages == ()


async def test_a_wait_ends_early_for_mail_and_the_mail_is_there(place: Place) -> None:
    pipe = place.house.pipe()
    async with place.open(is_shell=False) as orchestrations:
        request = shell(f"cat {pipe.path}")
        orchestration = await orchestrations.current(create=True, request=request)
        task = (await orchestration.spawn(request)).orchestration_task_id
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(orchestration.message, MessageRequest(to="head", message="look"))
            answer = await orchestration.wait(WaitRequest(ids=(task,)))
        assert (answer.finished, answer.timed_out, answer.unread_messages) == (False, False, 1)
        assert [record.message for record in (await orchestration.messages()).messages] == ["look"]
        await orchestration.cancel(task)


async def test_a_pull_tells_what_changed_since_the_last(place: Place) -> None:
    async with place.open() as orchestrations:
        orchestration = await orchestrations.begin()
        one = (await orchestration.spawn(shell("true"))).orchestration_task_id
        await ended(orchestration, one)
        await orchestration.message(MessageRequest(to="head", message="unread"))
        first = await orchestration.pull()
        assert [(task.orchestration_task_id, task.status) for task in first.tasks] == [(one, "completed")]
        assert ([each.message for each in first.messages], first.aggregated_status.completed) == (["unread"], 1)
        two = (await orchestration.spawn(shell("true"))).orchestration_task_id
        await ended(orchestration, two)
        assert [task.orchestration_task_id for task in (await orchestration.pull()).tasks] == [two]
        assert (await orchestration.pull()).tasks == ()
        assert len((await orchestration.pull(full=True)).tasks) == 2


async def test_a_request_with_a_key_is_answered_twice_and_done_once(place: Place) -> None:
    async with place.open() as orchestrations:
        orchestration = await orchestrations.begin()
        request = shell("true", idempotency_key="k1")
        first, second = await orchestration.spawn(request), await orchestration.spawn(request)
        assert first.orchestration_task_id == second.orchestration_task_id
        with pytest.raises(IdempotencyConflict, match="k1"):
            await orchestration.spawn(shell("false", idempotency_key="k1"))
        note = MessageRequest(to="head", message="once", idempotency_key="k2")
        assert (await orchestration.message(note)).message_id == (await orchestration.message(note)).message_id
        await ended(orchestration, first.orchestration_task_id)


@pytest.mark.parametrize(
    ("request_", "refused"),
    [
        (shell("true", agent_name="nobody/nothing"), UnknownAgent),
        (shell("true", depends_on=["ghost"]), UnknownDependency),
        (shell("true", name="tr_mine"), InvalidId),
        (SpawnRequest(prompt="x", agent_name="shell/bash", repo="not a repo"), RepositoryUnusable),
    ],
)
async def test_what_is_refused_is_refused_as_what_it_is_and_leaves_nothing(
    place: Place, request_: SpawnRequest, refused: type[Exception]
) -> None:
    async with place.open() as orchestrations:
        with pytest.raises(refused) as error:
            await orchestrations.current(create=True, request=request_)
        assert str(error.value)
        with pytest.raises(NotFound):
            await orchestrations.current()
        assert list(await orchestrations.active(everything=True)) == []


async def test_what_is_not_there_is_not_found(place: Place) -> None:
    async with place.open() as orchestrations:
        orchestration = await orchestrations.begin()
        for ask in (orchestration.status, orchestration.explain, orchestration.work, orchestration.cancel):
            with pytest.raises(NotFound, match="nsabcdefghij"):
                await ask("nsabcdefghij")
        with pytest.raises(NotFound):
            await orchestration.wait(WaitRequest(ids=("nsabcdefghij",)))
        with pytest.raises(NotFound):
            [line async for line in orchestration.output("nsabcdefghij")]
        with pytest.raises(NotFound):
            await orchestrations.holding("nsabcdefghij")
        with pytest.raises(NotFound):
            await orchestrations.named("orch_nothere00000")
        with pytest.raises(InvalidId):
            await orchestrations.named("../../etc")


async def test_orchestrations_are_found_by_project_session_id_and_task(place: Place) -> None:
    async with place.open() as orchestrations:
        first = await orchestrations.begin("first")
        task = (await first.spawn(shell("true", name="unit"))).orchestration_task_id
        await ended(first, task)
        second = await orchestrations.begin("second", max_concurrent=3)
        assert (await orchestrations.current()).orchestration_id == second.orchestration_id
        assert (await orchestrations.holding(task)).orchestration_id == first.orchestration_id
        assert (await orchestrations.named(first.orchestration_id)).orchestration_id == first.orchestration_id
        everything = [one.orchestration_id for one in await orchestrations.active(everything=True)]
        assert everything == [second.orchestration_id, first.orchestration_id]
    async with place.open(first.orchestration_id) as orchestrations:
        assert (await orchestrations.current()).orchestration_id == first.orchestration_id
    async with place.open(session="of a head", is_shell=False) as orchestrations:
        with pytest.raises(NotFound):
            await orchestrations.current()


async def test_a_task_with_an_ended_one_of_its_name_is_a_conflict(place: Place) -> None:
    async with place.open() as orchestrations:
        orchestration = await orchestrations.begin()
        task = (await orchestration.spawn(shell("true", name="unit"))).orchestration_task_id
        with pytest.raises(Conflict, match="unit"):
            await orchestration.spawn(shell("true", name="unit"))
        await ended(orchestration, task)


async def test_a_damaged_journal_is_told_and_what_is_left_of_it_shown(place: Place) -> None:
    async with place.open() as orchestrations:
        orchestration = await orchestrations.begin()
        task = (await orchestration.spawn(shell("true"))).orchestration_task_id
        await ended(orchestration, task)
    place.house.end_runner()
    journal = place.house.root / "orchestrations" / orchestration.orchestration_id / JOURNAL_FILE
    lines = journal.read_bytes().splitlines(keepends=True)
    whole = journal.read_bytes()
    journal.write_bytes(b"".join((*lines[:-2], lines[-1])))
    async with place.open(orchestration.orchestration_id) as orchestrations:
        damaged = await orchestrations.current()
        with pytest.raises(JournalDamaged):
            await damaged.status(task)
        assert [row.orchestration_task_id for row in await damaged.remains()] == [task]
    journal.write_bytes(whole)
