"""Random work and all that can come over it, from a seed; everything that happens is watched."""

import random
from dataclasses import dataclass
from typing import Any

import anyio
from anyio.abc import TaskGroup

from devsh_memory_mcp.domain.requests import BatchRequest, SpawnRequest, WaitRequest
from tests.simulation.backend import Act, script
from tests.simulation.watch import Watch

MINUTE, HOUR = 60.0, 3600.0
ENDS = ("ok",) * 12 + ("fail",) * 3 + ("lost", "limit", "setup")


@dataclass(frozen=True)
class Weather:
    """How much there is of it. `works` is the mean of how long an agent works, `pause` the longest between two disturbances, in seconds."""

    tasks: int
    batch: int
    places: int
    works: float
    pause: float
    timeouts: tuple[int | None, ...]
    near: int = 60  # how far back dependencies go
    deaf: float = 0.05  # how many shims heed nothing
    shuffles_places: bool = False


def act(chance: random.Random, weather: Weather) -> Act:
    return Act(
        chance.uniform(0.1, 60),
        chance.expovariate(1 / weather.works),
        chance.choice(ENDS),
        chance.random() >= weather.deaf,
        chance.random() < 0.1,
        chance.choice((0,) * 20 + (1, 2, 3)),
    )


def batch(chance: random.Random, weather: Weather, first: int) -> BatchRequest:
    """Tasks that depend on some of those before them, in the same batch or in an earlier one."""
    tasks = []
    for number in range(first, first + weather.batch):
        few = chance.choice((0, 0, 1, 1, 2, 3))
        nearest = range(max(0, number - weather.near), number)
        tasks.append(
            {
                "id": f"t{number}",
                "prompt": script(*(act(chance, weather) for _ in range(3))),
                "agentName": chance.choice(("shell/bash", "claude/haiku-4.5")),
                "repo": "none",
                "dependsOn": [f"t{one}" for one in chance.sample(nearest, min(few, len(nearest)))],
                "priority": chance.randrange(11),
                "retries": chance.choice((0, 0, 1, 3)),
                "timeoutMs": chance.choice(weather.timeouts),
                "onDependencyFailure": chance.choice(("fail", "run", "run", "run")),
            }
        )
    return BatchRequest.model_validate({"tasks": tasks, "maxConcurrent": weather.places})


class Storm:
    """One run of it."""

    def __init__(self, watch: Watch, weather: Weather, seed: int) -> None:
        self._watch, self._weather = watch, weather
        self._chance = random.Random(seed)

    async def blow(self) -> None:
        """Until all tasks have ended, and everybody who waits was told."""
        weather, watch = self._weather, self._watch
        async with anyio.create_task_group() as tasks:
            for first in range(0, weather.tasks, weather.batch):
                await watch.world.face().spawn_batch(batch(self._chance, weather, first))
                watch.look()
                is_last = first + weather.batch >= weather.tasks
                while len(self._unfinished()) > (0 if is_last else weather.batch / 2):
                    await self._disturb(tasks)
        watch.look()
        await watch.come_to_an_end()

    def _unfinished(self) -> list[str]:
        return [name for name, task in self._watch.checker.tasks.items() if not task.is_over]

    async def _disturb(self, tasks: TaskGroup) -> None:
        watch, chance, weather = self._watch, self._chance, self._weather
        left = self._unfinished()
        some = tuple(chance.sample(left, min(3, len(left))))
        request = WaitRequest(ids=some, mode=chance.choice(("any", "all")), timeout=chance.choice((0, 500, 60_000, 2 * 3_600_000)))
        await watch.wait(tasks, request, is_shell=chance.random() < 0.8)
        match chance.randrange(16):
            case 0 | 1:
                await watch.cancel(some[0], cascade=chance.random() < 0.5)
            case 2 | 3 | 4:
                await watch.world.replace_runner(is_dead=chance.random() < 0.5)
            case 5 | 6 | 7 | 8:
                for name in some:
                    await watch.message(name)
            case 9:
                await watch.write_to_head(some[0])
            case 10 | 11:
                await watch.read_mail()
            case 12 | 13:
                await watch.world.kill_a_shim(chance.random())
            case 14 | 15 if weather.shuffles_places:
                await self._change_places(tasks)
        await anyio.sleep(chance.choice((0.0, 1.0, weather.pause)) * chance.random())
        watch.look()

    async def _change_places(self, tasks: TaskGroup) -> None:
        """While others start."""
        for places in (self._weather.places * 2, 1, self._weather.places):
            more: dict[str, Any] = {"prompt": script(Act(works=1.0)), "agent_name": "shell/bash", "repo": "none", "priority": 0}
            tasks.start_soon(self._watch.world.face().spawn, SpawnRequest(**more, max_concurrent=places))
            await anyio.sleep(self._chance.uniform(0, 0.03))
