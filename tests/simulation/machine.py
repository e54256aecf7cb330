"""Anything that may be asked of an orchestration, in any order, with time going on between; after each step every rule holds."""

import asyncio
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import anyio
from anyio.abc import TaskGroup
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from devsh_memory_mcp.domain.requests import SpawnRequest, WaitRequest
from tests.doubles.virtual_loop import VirtualLoop
from tests.simulation.backend import Act, script
from tests.simulation.watch import Watch
from tests.simulation.world import World, in_memory, open_world

SETTLES = 0.05  # s of simulated time after a step
MINUTE, HOUR = 60.0, 3600.0

acts = st.builds(
    Act,
    setup=st.sampled_from([0.0, 1.0, 30.0]),
    works=st.sampled_from([0.0, 1.0, 20.0, 5 * MINUTE, 2 * HOUR, None]),
    ends=st.sampled_from(["ok", "ok", "fail", "lost", "limit", "setup"]),
    heeds=st.sampled_from([True, True, True, False]),
    stubborn=st.booleans(),
    stillborn=st.sampled_from([0, 0, 0, 1, 3]),
)
some = st.integers(0, 999)  # any of those that there are
several = st.lists(some, min_size=1, max_size=3)


class Wish(NamedTuple):
    """A task; `after` are some of those before it."""

    priority: int = 5
    after: Sequence[int] = ()
    does: Sequence[Act] = (Act(works=1.0),)
    retries: int = 0
    timeout: int | None = None
    runs_anyway: bool = False
    is_script: bool = True
    max_concurrent: int | None = None


wishes = st.builds(
    Wish,
    priority=st.integers(0, 10),
    after=st.lists(some, max_size=2),
    does=st.lists(acts, min_size=1, max_size=3),
    retries=st.integers(0, 3),
    timeout=st.sampled_from([None, 500, 60_000, 3_600_000]),
    runs_anyway=st.booleans(),
    is_script=st.booleans(),
    max_concurrent=st.none(),
)


class Stage:
    """A world on a loop of its own, for those who are not asynchronous: it goes on only while something is done."""

    def __init__(self) -> None:
        self._directory = in_memory()
        self._loop = VirtualLoop()
        self.is_broken = False  # what was done last failed
        self._leave = asyncio.Event()
        self._is_up = asyncio.Event()
        self.world: World
        self.tasks: TaskGroup
        self._keeper = self._loop.create_task(self._keep())
        self.do(self._is_up.wait())

    async def _keep(self) -> None:
        async with open_world(Path(self._directory.name)) as self.world, anyio.create_task_group() as self.tasks:
            self._is_up.set()
            await self._leave.wait()
            self.tasks.cancel_scope.cancel()

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        async def unless_it_fails() -> Any:
            task = asyncio.ensure_future(work)
            await asyncio.wait([task, self._keeper], return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                task.cancel()
                await self._keeper  # which raises
            return await task

        self.is_broken = True
        answer = self._loop.run_until_complete(unless_it_fails())
        self.is_broken = False
        return answer

    def close(self) -> None:
        self._leave.set()
        try:
            self._loop.run_until_complete(self._keeper)
        finally:
            self._loop.close()
            self._directory.cleanup()


class Orchestrating(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage()
        self.watch = Watch(self.stage.world)
        self.names: list[str] = []

    def one(self, number: int) -> str:
        return self.names[number % len(self.names)]

    @initialize(places=st.integers(1, 3))
    def begin(self, places: int) -> None:
        self._spawn(Wish(max_concurrent=places))

    @rule(wish=wishes)
    def spawn(self, wish: Wish) -> None:
        self._spawn(wish)

    @rule(places=st.integers(1, 4))
    def change_places(self, places: int) -> None:
        self._spawn(Wish(max_concurrent=places))

    def _spawn(self, wish: Wish) -> None:
        after = dict.fromkeys(self.one(number) for number in wish.after)
        request = SpawnRequest(
            prompt=script(*wish.does),
            agent_name="shell/bash" if wish.is_script else "claude/haiku-4.5",
            repo="none",
            priority=wish.priority,
            depends_on=tuple(after),
            retries=wish.retries,
            timeout_ms=wish.timeout,
            on_dependency_failure="run" if wish.runs_anyway else "fail",
            max_concurrent=wish.max_concurrent,
        )
        answer = self.stage.do(self.stage.world.face().spawn(request))
        self.names.append(answer.orchestration_task_id)

    @rule(number=some, cascade=st.booleans())
    def cancel(self, number: int, cascade: bool) -> None:
        self.stage.do(self.watch.cancel(self.one(number), cascade=cascade))

    @rule(number=some)
    def message(self, number: int) -> None:
        self.stage.do(self.watch.message(self.one(number)))

    @rule(number=some)
    def an_agent_writes(self, number: int) -> None:
        self.stage.do(self.watch.write_to_head(self.one(number)))

    @rule()
    def head_reads(self) -> None:
        self.stage.do(self.watch.read_mail())

    @rule(
        numbers=several,
        mode=st.sampled_from(["any", "all"]),
        timeout=st.sampled_from([0, 1, 700, 60_000, 5 * 3_600_000]),
        is_shell=st.booleans(),
    )
    def wait(self, numbers: list[int], mode: Any, timeout: int, is_shell: bool) -> None:
        request = WaitRequest(ids=tuple(self.one(number) for number in numbers), mode=mode, timeout=timeout)
        self.stage.do(self.watch.wait(self.stage.tasks, request, is_shell=is_shell))

    @rule(seconds=st.sampled_from([0.0, 0.5, 3.0, 8.0, 70.0, 20 * MINUTE, 3 * HOUR]))
    def time_passes(self, seconds: float) -> None:
        self.stage.do(anyio.sleep(seconds))

    @rule(number=some)
    def a_shim_dies(self, number: int) -> None:
        self.stage.do(self.stage.world.kill_a_shim(number / 1000))

    @precondition(lambda self: len(self.names) > 1)
    @rule(is_dead=st.booleans())
    def another_runner(self, is_dead: bool) -> None:
        self.stage.do(self.stage.world.replace_runner(is_dead=is_dead))

    @invariant()
    def every_rule_holds(self) -> None:
        self.stage.do(self._settle())

    async def _settle(self) -> None:
        await anyio.sleep(SETTLES)
        self.watch.look()

    def teardown(self) -> None:
        """What has no end by itself is cancelled; then everything ends, and everybody who waits is told."""
        try:
            if not self.stage.is_broken:
                self.stage.do(self.watch.come_to_an_end())
        finally:
            self.stage.close()
