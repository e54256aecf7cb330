"""A desk on which the runner has not yet looked at what an earlier one started."""

import os
from pathlib import Path

import anyio
import pytest

from devsh_memory_mcp.domain.events import AgentSpawned, OrchestrationCreated
from devsh_memory_mcp.domain.records import TaskSpec
from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.engine.desk import Desk
from devsh_memory_mcp.engine.desks import Desks
from devsh_memory_mcp.engine.dispatch import Dispatcher
from devsh_memory_mcp.engine.limits import Limits
from devsh_memory_mcp.engine.preparation import choose
from devsh_memory_mcp.engine.refusals import Refusals
from devsh_memory_mcp.engine.vault import Vault
from devsh_memory_mcp.errors import CommitUnknown
from devsh_memory_mcp.ports import Decision
from devsh_memory_mcp.store.journal import FileJournal, create
from devsh_memory_mcp.store.views import Views
from devsh_memory_mcp.wiring import SystemClock

CLOCK = SystemClock()
VAULT = Vault(CLOCK)


class Begun:
    """Stands for the attempts; says on which desk one has begun."""

    def __init__(self) -> None:
        self.desks: list[str] = []
        self.one_more = anyio.Event()

    def begin(self, desk: Desk, _state: State, _task: Task) -> None:
        self.desks.append(desk.orchestration_id)
        self.one_more.set()


async def desk_with_a_task(root: Path, name: str) -> Desk:
    directory = root / name
    create(directory, OrchestrationCreated(orchestration_id=name), CLOCK.now())
    desk = Desk(name, directory, FileJournal(directory, CLOCK), Views(directory, CLOCK, choose), "rn_test", lambda: None)
    await desk.take_over(os.getpid())
    spec = TaskSpec(prompt="true", agent_name="shell/bash")
    spawned = AgentSpawned(orchestration_task_id="ns0000000001", task_run_id="tr_1", id="t", agent_name=spec.agent_name, spec=spec)
    await desk.journal.transact(lambda _state, _now: Decision((spawned,), None))
    return desk


async def test_nothing_is_started_there_however_often_it_is_rung_for(tmp_path: Path) -> None:
    opening, ready = [await desk_with_a_task(tmp_path, name) for name in ("orch_opening", "orch_ready")]
    ready.is_taken_over = True
    begun = Begun()

    async def changed(_orchestration_id: str) -> None: ...

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            desks = Desks(print)
            opening.tasks = ready.tasks = tasks
            desks.open = {desk.orchestration_id: desk for desk in (opening, ready)}
            dispatcher = Dispatcher(tmp_path, desks, begun, CLOCK, vault=VAULT, refusals=Refusals(VAULT), limits=Limits(), changed=changed)  # type: ignore[arg-type]
            tasks.start_soon(dispatcher.serve, lambda: True)
            dispatcher.wake("orch_opening")
            dispatcher.wake("orch_ready")
            await begun.one_more.wait()
            assert begun.desks == ["orch_ready"]
            begun.one_more = anyio.Event()
            opening.is_taken_over = True
            dispatcher.wake("orch_opening")
            await begun.one_more.wait()
            assert begun.desks == ["orch_ready", "orch_opening"]
            tasks.cancel_scope.cancel()
    for desk in (opening, ready):
        await desk.journal.aclose()


async def test_a_start_that_may_be_in_the_journal_closes_the_desk_so_that_it_is_taken_up_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, unknown = await desk_with_a_task(tmp_path, "orch_1"), CommitUnknown("The disk fails.")
    desk.is_taken_over = True

    async def fail(_decide: object) -> None:
        raise unknown

    async def changed(_orchestration_id: str) -> None: ...

    async def take_over() -> None:
        monkeypatch.setattr(desk, "transact", fail)
        desks.begin(desk, dispatcher.serve, lambda: True)
        dispatcher.wake("orch_1")

    desks = Desks(print)
    dispatcher = Dispatcher(tmp_path, desks, Begun(), CLOCK, vault=VAULT, refusals=Refusals(VAULT), limits=Limits(), changed=changed)  # type: ignore[arg-type]
    with anyio.fail_after(20):
        assert await desks.keep(desk, take_over) == [unknown]
