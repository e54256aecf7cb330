"""More than ten thousand agent-hours at simulated time: every rule of the checker holds, and everybody comes to an end."""

from collections import Counter
from pathlib import Path

import pytest

from tests.simulation.storm import HOUR, Storm, Weather
from tests.simulation.watch import Watch
from tests.simulation.world import in_memory, open_world

LONG = Weather(tasks=480, batch=60, places=16, works=40 * HOUR, pause=40 * HOUR, timeouts=(None, None, 48 * 3_600_000))


@pytest.mark.usefixtures("anyio_backend")
async def test_ten_thousand_agent_hours_break_no_rule() -> None:
    with in_memory() as directory:
        async with open_world(Path(directory)) as world:
            watch = Watch(world)
            await Storm(watch, LONG, seed=0).blow()
            assert all(shim.over.is_set() for shim in world.backend.shims.values())
    checker = watch.checker
    ends = Counter(task.status for task in checker.tasks.values())
    assert len(checker.tasks) == LONG.tasks
    assert checker.hours > 10_000
    assert checker.most_live == LONG.places
    assert min(ends["completed"], ends["failed"], ends["cancelled"]) > 10
    assert max(task.attempts for task in checker.tasks.values()) == 4
