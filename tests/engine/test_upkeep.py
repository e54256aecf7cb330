"""Hand edits under a living runner: whatever stands in their way, none is lost and no runner ends by it."""

import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import anyio
import pytest

from devsh_memory_mcp.domain.events import OrchestrationCreated
from devsh_memory_mcp.engine.desk import Desk
from devsh_memory_mcp.engine.preparation import choose
from devsh_memory_mcp.engine.upkeep import keep_views
from devsh_memory_mcp.store.journal import FileJournal, create
from devsh_memory_mcp.store.lock import try_lock
from devsh_memory_mcp.store.views import Views
from devsh_memory_mcp.wiring import SystemClock
from tests.engine.house import House, ended, events_of, shell, view


class Told:
    """What a dispatcher would be told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.has_logged, self.has_woken = anyio.Event(), anyio.Event()

    def log(self, text: str) -> None:
        self.lines.append(text)
        self.has_logged.set()

    def wake(self, _orchestration_id: str) -> None:
        self.has_woken.set()

    def show(self, _orchestration_id: str) -> None:
        """Nobody leads it."""


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    directory, clock = tmp_path / "orch_test", SystemClock()
    create(directory, OrchestrationCreated(orchestration_id="orch_test"), clock.now())
    journal = FileJournal(directory, clock, patience=0.02)
    desk = Desk("orch_test", directory, journal, Views(directory, clock, choose), "rn_test", lambda: None)
    state = await desk.take_over(os.getpid())
    desk.views.write(state, journal.offset, {})
    yield desk
    await journal.aclose()


async def test_a_busy_journal_loses_no_edit_ends_no_runner_and_is_logged_once(desk: Desk) -> None:
    path, told = desk.directory / "PLAN.json", Told()
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"color": "green"}), encoding="utf-8")
    busy = try_lock(desk.directory / "journal.lock")
    assert busy is not None
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keep_views, desk, told, SystemClock())
            desk.views_due.set()
            await told.has_logged.wait()
            assert (await desk.journal.read()).unknown == {}
            os.close(busy)
            await told.has_woken.wait()
            tasks.cancel_scope.cancel()
    assert (await desk.journal.read()).unknown == {"color": "green"}
    assert [line.partition(":")[0] for line in told.lines] == ["views of orch_test"]


async def test_an_edit_that_a_killed_runner_had_put_aside_is_taken_in_by_the_next(house: House) -> None:
    async with house.opened() as orchestration:
        await ended(orchestration, (await orchestration.spawn(shell("true"))).orchestration_task_id)
        await orchestration.pull()
        house.end_runner()
        directory = orchestration.directory or Path()
        edited = view(orchestration, "PLAN.json") | {"color": "green"}
        edited["tasks"] = [{"id": "mine", "prompt": "echo mine", "agentName": "shell/sh", "size": 3}]
        (directory / "PLAN.json.edited-1").write_text(json.dumps(edited), encoding="utf-8")
        (directory / "views.json").unlink()
        assert (await orchestration.pull()).synced
        assert view(orchestration, "PLAN.json")["color"] == "green"
        assert (await orchestration.status("mine")).waiting_for == "held: written into PLAN.json by hand; spawn it to start it"
        await orchestration.spawn(shell("echo mine", name="mine"))
        assert (await ended(orchestration, "mine")).result == "mine\n"
        await orchestration.pull()
    told = [event for event in events_of(orchestration) if event.name == "plan_edited"]
    assert len(told) == 1


async def test_a_log_that_has_grown_long_is_put_aside_when_a_runner_is_started(house: House) -> None:
    (house.root / "runner.log").write_bytes(b"x" * 5_000_001)
    async with house.opened() as orchestration:
        await ended(orchestration, (await orchestration.spawn(shell("true"))).orchestration_task_id)
    assert (house.root / "runner.log.1").stat().st_size == 5_000_001
    assert (house.root / "runner.log").stat().st_size < 5_000_001


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
async def test_a_plan_that_is_no_file_is_put_aside_by_a_living_runner(house: House, make: Callable[[Path], None]) -> None:
    async with house.opened() as orchestration:
        await ended(orchestration, (await orchestration.spawn(shell("true"))).orchestration_task_id)
        await orchestration.pull()
        runner, path = house.runner_pid(), (orchestration.directory or Path()) / "PLAN.json"
        path.unlink()
        make(path)
        assert (await orchestration.pull()).synced
        assert view(orchestration, "PLAN.json")["status"] == "completed"
        assert len(list(path.parent.glob("PLAN.json.edited-*"))) == 1
        assert house.runner_pid() == runner
