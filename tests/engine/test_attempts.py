"""An attempt in a runner's hands: held, launched, written to, heard and ended, over a journal in memory and shims on paper."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup

from devsh_memory_mcp.domain.events import (
    AgentSpawned,
    AgentStarted,
    AttemptStarted,
    CancelRequested,
    Event,
    MessageSent,
    OrchestrationCreated,
    RunnerStarted,
)
from devsh_memory_mcp.domain.records import Credential, TaskSpec
from devsh_memory_mcp.domain.state import Task
from devsh_memory_mcp.engine.attempts import Attempts
from devsh_memory_mcp.engine.briefing import Setting, make_run
from devsh_memory_mcp.engine.desk import Attempt, Desk
from devsh_memory_mcp.engine.desks import Desks
from devsh_memory_mcp.engine.limits import Limits
from devsh_memory_mcp.engine.refusals import Refusals
from devsh_memory_mcp.engine.vault import Vault, fingerprint
from devsh_memory_mcp.errors import CommitUnknown, DevshError, DiskFull
from devsh_memory_mcp.ports import Committed, Decide
from devsh_memory_mcp.shim import rundir
from devsh_memory_mcp.shim.rundir import Letter
from tests.doubles.memory_journal import LoopClock, MemoryJournal
from tests.doubles.shims import Shims

TASK, KEY = "ns0000000001", "ANTHROPIC_API_KEY"
LENT = {KEY: "hush"}
FULL, FAILING = DiskFull("There is no room."), CommitUnknown("The disk fails.")
SPEC = TaskSpec(prompt="p", agent_name="claude/haiku-4.5", credential=Credential(variable=KEY, fingerprint=fingerprint("hush")))


class FullJournal(MemoryJournal):
    """Refuses as many commits as there are `refusals`, with those; `told` is what was committed, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.refusals: list[DevshError] = []
        self.told: list[str] = []

    async def transact(self, decide: Decide[Any]) -> Committed[Any]:
        if self.refusals:
            raise self.refusals.pop()
        return await super().transact(decide)

    def tell(self, event: Event) -> int:
        self.told.append(event.name)
        return super().tell(event)


class Stage:
    """One task that was given a place, by a runner that has died since or by this one."""

    def __init__(self, root: Path, tasks: TaskGroup) -> None:
        self.journal, self.shims, self.vault = FullJournal(), Shims(), Vault(LoopClock())
        self.desk = Desk("orch_1", root, self.journal, None, "rn_1", self._wake)  # type: ignore[arg-type]
        self.wakes = 0
        self.desk.tasks = tasks
        desks = Desks(lambda _text: None)
        desks.open["orch_1"] = self.desk
        self.desks = desks
        self.setting = Setting(root, "socket", ("false",), ("false",))
        known, limits = {"vault": self.vault, "refusals": Refusals(self.vault)}, Limits(again=0.0, hello=0.0)
        self.attempts = Attempts(desks, self.shims, LoopClock(), self.setting, limits=limits, **known)  # type: ignore[arg-type]
        spawned = AgentSpawned(orchestration_task_id=TASK, task_run_id="tr_1", id="t", agent_name=SPEC.agent_name, spec=SPEC)
        started = AttemptStarted(orchestration_task_id=TASK, task_run_id="tr_1", attempt=1)
        first = OrchestrationCreated(orchestration_id="orch_1"), RunnerStarted(runner_id="rn_1", pid=1, version="1")
        for event in (*first, spawned, started):
            self.journal.tell(event)
        self.journal.told.clear()

    def _wake(self) -> None:
        self.wakes += 1

    @property
    def task(self) -> Task:
        return self.journal.state.tasks[TASK]

    def directory(self) -> Path:
        path = Path(self.desk.attempt_directory(self.task))
        path.mkdir(parents=True, exist_ok=True)
        return path

    def begin(self, *, is_inherited: bool = True) -> Attempt:
        self.attempts.begin(self.desk, self.journal.state, self.task, is_inherited=is_inherited)
        return self.desk.attempts[TASK]

    async def running(self) -> Attempt:
        self.vault.lend(LENT)
        attempt = self.begin()
        await self.shims.begun.wait()
        return attempt

    def message(self) -> int:
        return self.journal.tell(MessageSent(sender="head", to=TASK, type="request", message="words"))

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            await self.journal.wait()


@asynccontextmanager
async def staged(root: Path) -> AsyncIterator[Stage]:
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            stage = Stage(root, tasks)
            yield stage
            tasks.cancel_scope.cancel()


@pytest.fixture(params=[False, True], ids=["nothing was written", "run.json was written"])
def writes(request: pytest.FixtureRequest) -> Callable[[Stage], None]:
    """How far the runner had come that died before it launched the attempt."""

    def write(stage: Stage) -> None:
        if request.param:
            run = make_run(stage.journal.state, stage.task, stage.setting)
            rundir.write_json(f"{stage.directory()}/{rundir.RUN_FILE}", run)

    return write


@pytest.mark.parametrize("refusals", [[], [FULL]], ids=["", "full disk"])
async def test_one_that_was_never_launched_and_whose_credential_is_gone_is_held_and_says_so(
    tmp_path: Path, writes: Callable[[Stage], None], refusals: list[DevshError]
) -> None:
    async with staged(tmp_path) as stage:
        writes(stage)
        stage.journal.refusals = [*refusals]
        stage.begin()
        await stage.until(lambda: stage.task.waiting_for)
        assert (KEY in (stage.task.waiting_for or ""), stage.shims.started) == (True, [])
        stage.vault.lend({KEY: "another's"})
        await anyio.lowlevel.checkpoint()
        assert stage.shims.started == []
        stage.vault.lend(LENT)
        await stage.shims.begun.wait()
        assert stage.shims.started == [LENT]


async def test_one_that_was_launched_is_taken_up_though_its_credential_is_gone(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        (stage.directory() / rundir.REPORT_FILE).touch()
        stage.begin()
        await stage.shims.begun.wait()
        assert (stage.shims.started, stage.task.waiting_for) == ([{}], None)


async def test_one_that_had_begun_is_not_launched_again_though_its_report_and_lock_were_removed(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.journal.tell(AgentStarted(orchestration_task_id=TASK, task_run_id="tr_1", attempt=1, n=4, agent_name=SPEC.agent_name))
        stage.vault.lend(LENT)
        stage.begin()
        await stage.until(lambda: stage.task.reason)
        assert (stage.shims.started, stage.task.reason) == ([], "lost")


async def test_a_cancel_ends_one_that_waits_for_its_credential_and_nothing_is_launched(
    tmp_path: Path, writes: Callable[[Stage], None]
) -> None:
    async with staged(tmp_path) as stage:
        writes(stage)
        attempt = stage.begin()
        await stage.until(lambda: stage.task.waiting_for)
        seq = stage.journal.tell(CancelRequested(orchestration_task_id=TASK))
        await stage.attempts.cancel(stage.desk, attempt, seq)
        assert (stage.task.status.value, stage.task.reason, stage.shims.sent) == ("cancelled", "cancelled", [])
        assert not stage.desk.attempts
        stage.vault.lend(LENT)
        await anyio.wait_all_tasks_blocked()
        assert stage.shims.started == []


@pytest.mark.parametrize("refusals", [[], [FULL], [FAILING, FULL, FULL]], ids=["no runner heard it", "a full disk refused it", "thrice"])
async def test_what_a_shim_reported_is_committed_before_its_end_so_that_what_was_read_is_not_called_undeliverable(
    tmp_path: Path, refusals: list[DevshError]
) -> None:
    async with staged(tmp_path) as stage:
        attempt = await stage.running()
        had, missed = stage.message(), stage.message()
        stage.shims.report("needs_input", facts={"kind": "permission", "message": "It may not."})
        stage.shims.report("delivered", message_id=had)
        stage.journal.told.clear()
        stage.journal.refusals = [*refusals]
        await stage.attempts.finish(stage.desk, attempt)
        messages = stage.journal.state.messages
    assert stage.journal.told == ["agent_needs_input", "message_delivered", "attempt_ended", "agent_failed", "message_failed"]
    assert (TASK in messages[had].readers, messages[had].failed, messages[missed].failed is None) == (True, None, False)


async def test_what_finds_no_room_is_delivered_with_a_later_turn_and_the_rest_at_once(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        attempt = await stage.running()
        letters = [Letter(number, "message") for number in (7, 8)]
        attempt.sent.update(letter.id for letter in letters)
        stage.shims.full, wakes = 1, stage.wakes
        await stage.attempts.deliver(stage.desk, attempt, letters)
        assert (stage.shims.sent, attempt.sent, stage.wakes - wakes) == ([8], {8}, 1)


async def test_one_that_an_earlier_runner_may_have_started_is_not_called_failed_for_what_this_one_cannot_do(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        rundir.write_json(f"{stage.directory()}/{rundir.RUN_FILE}", make_run(stage.journal.state, stage.task, stage.setting))
        stage.shims.refused = 2
        await stage.running()
        assert (stage.journal.told, stage.shims.refused) == ([], 0)


@pytest.mark.parametrize(("refusals", "is_cancelled", "reason"), [(1000, False, "spawn"), (1000, True, "cancelled"), (70, False, None)])
async def test_one_that_an_earlier_runner_may_have_started_and_nobody_can_is_not_tried_for_ever(
    tmp_path: Path, refusals: int, is_cancelled: bool, reason: str | None
) -> None:
    async with staged(tmp_path) as stage:
        stage.vault.lend(LENT)
        stage.shims.refused = refusals
        if reason is None:
            stage.shims.report("started")  # it has begun: only its lock says that it has ended
        attempt = stage.begin()
        if is_cancelled:
            while not attempt.is_launched:
                await anyio.lowlevel.checkpoint()
            await stage.attempts.cancel(stage.desk, attempt, stage.journal.tell(CancelRequested(orchestration_task_id=TASK)))
        if reason is None:
            await stage.shims.begun.wait()
        else:
            await stage.until(lambda: stage.task.reason)
        assert (stage.task.reason, stage.shims.refused > 0) == (reason, reason is not None)


async def test_one_that_cannot_be_started_fails_and_says_why(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.shims.refused = 1
        stage.vault.lend(LENT)
        stage.begin(is_inherited=False)
        await stage.until(lambda: stage.task.reason)
        assert (stage.task.reason, stage.shims.started) == ("spawn", [])


async def test_who_dies_before_it_is_a_shim_is_started_again_and_not_for_ever(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        attempt = await stage.running()
        stage.shims.unbegun = 9
        for _ in range(2):
            await stage.attempts.finish(stage.desk, attempt)
            assert stage.journal.told == []
        await stage.attempts.finish(stage.desk, attempt)
        assert (len(stage.shims.started), stage.journal.told) == (3, ["attempt_ended", "agent_failed"])


async def test_reports_that_cannot_be_read_are_read_again_and_the_orchestration_is_kept(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        attempt = await stage.running()
        stage.shims.unreadable = 3
        assert not await stage.attempts.read_reports(stage.desk, attempt)
        await stage.attempts.finish(stage.desk, attempt)
        assert stage.journal.told == ["attempt_ended", "agent_failed"]
