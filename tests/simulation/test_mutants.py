"""Each rule can fail: an engine in which it is broken is found out."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.simulation.checker import Broken
from tests.simulation.mutants import MUTANTS
from tests.simulation.storm import MINUTE, Storm, Weather
from tests.simulation.watch import Watch
from tests.simulation.world import in_memory, open_world

SHORT = Weather(
    tasks=60,
    batch=20,
    places=3,
    works=20 * MINUTE,
    pause=20 * MINUTE,
    timeouts=(None, 60_000, 600_000, 3_600_000),
    near=12,
    deaf=0.15,
    shuffles_places=True,
)
SEEDS = range(3, 9)


async def broken_in(seed: int) -> Broken | None:
    """What is found in one storm."""
    with in_memory() as directory:
        try:
            async with open_world(Path(directory), seed) as world:
                await Storm(Watch(world), SHORT, seed).blow()
        except BaseExceptionGroup as group:
            found = group.subgroup(Broken)
            if found is None:
                raise
            return first_of(found)
    return None


def first_of(group: BaseExceptionGroup[Broken]) -> Broken:
    first = group.exceptions[0]
    return first_of(first) if isinstance(first, BaseExceptionGroup) else first


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
async def test_a_broken_engine_is_found_out(monkeypatch: pytest.MonkeyPatch, mutant: Callable[[pytest.MonkeyPatch], None]) -> None:
    mutant(monkeypatch)
    for seed in SEEDS:
        if (found := await broken_in(seed)) is not None:
            assert found.rule in MUTANTS[mutant], str(found)
            return
    pytest.fail("nothing was found")


@pytest.mark.parametrize("seed", SEEDS[:3])
async def test_in_the_same_storms_the_engine_breaks_no_rule(seed: int) -> None:
    assert await broken_in(seed) is None
