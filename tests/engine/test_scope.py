"""Which orchestration is meant, and what may be removed of it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from devsh_memory_mcp.domain.requests import BatchRequest, BatchTask, ListRequest, SpawnRequest
from devsh_memory_mcp.engine.garbage import Collected
from devsh_memory_mcp.engine.link import open_link
from devsh_memory_mcp.engine.orchestrations import LocalOrchestrations
from devsh_memory_mcp.engine.preparation import choose
from devsh_memory_mcp.engine.sites import Sites
from devsh_memory_mcp.errors import Conflict, InvalidId, NotFound, RepositoryUnusable, UnknownAgent, UnknownDependency
from devsh_memory_mcp.store.root import MemoryRoot
from devsh_memory_mcp.wiring import collect_garbage, open_orchestrations, runner_command
from tests.doubles.clock import StoppedClock
from tests.engine.house import House, ended, git, shell

NOW = timedelta(0)


async def test_a_project_has_one_orchestration_wherever_in_it_the_shell_stands(house: House, repository: Path) -> None:
    below = repository / "src"
    below.mkdir()
    async with house.opened() as here, house.opened(directory=below) as inside, house.opened(directory=house.root.parent) as outside:
        assert here.orchestration_id == inside.orchestration_id != outside.orchestration_id
        link = house.root / "orchestration"
        assert link.resolve() == outside.directory


async def test_a_session_has_its_own_and_a_shell_sees_them_all(house: House) -> None:
    async with (
        house.opened(session="s1", is_shell=False) as first,
        house.opened(session="s2", is_shell=False) as second,
        house.opened(session="s1", is_shell=False) as again,
        house.opened() as shared,
    ):
        ids = [one.orchestration_id for one in (first, second, again, shared)]
        assert (ids[0], len(set(ids))) == (ids[2], 3)
        spawned = await second.spawn(shell("true"))
        async with open_orchestrations(house.root, house.caller()) as orchestrations:
            assert (await orchestrations.holding(spawned.orchestration_task_id)).orchestration_id == ids[1]
            assert {one.orchestration_id for one in await orchestrations.active()} == set(ids)
            assert (await orchestrations.current()).orchestration_id == ids[3]
            with pytest.raises(NotFound):
                await orchestrations.holding("nsnobody")
            with pytest.raises(InvalidId):
                await orchestrations.holding("../../etc/passwd")
            with pytest.raises(NotFound):
                await orchestrations.named("orch_nope")
            with pytest.raises(InvalidId):
                await orchestrations.named("../x")
        await ended(second, spawned.orchestration_task_id)


async def test_nothing_is_made_by_looking(house: House) -> None:
    async with open_orchestrations(house.root, house.caller()) as orchestrations:
        with pytest.raises(NotFound, match="Nothing has been spawned"):
            await orchestrations.current()
        assert await orchestrations.active() == []
    assert list((house.root / "orchestrations").iterdir()) == []


async def test_a_new_orchestration_becomes_the_current_one_and_the_link_points_at_it(house: House) -> None:
    async with open_orchestrations(house.root, house.caller()) as orchestrations:
        old = await orchestrations.current(create=True)
        new = await orchestrations.begin("The second", max_concurrent=3)
        assert (await orchestrations.current()).orchestration_id == new.orchestration_id != old.orchestration_id
    async with house.opened() as orchestration:
        assert orchestration.orchestration_id == new.orchestration_id
        assert (house.root / "orchestration").resolve() == new.directory
        assert (await orchestration.list_tasks(ListRequest())).result == ()


async def test_a_shell_begins_anew_when_all_tasks_have_been_over_for_an_hour(house: House) -> None:
    async with house.opened() as orchestration:
        await ended(orchestration, (await orchestration.spawn(shell("true"))).orchestration_task_id)
    over = datetime.now(UTC)
    found = []
    for later in (timedelta(minutes=50), timedelta(minutes=61)):
        clock = StoppedClock(over + later)
        place = MemoryRoot(house.root, clock, choose, {})
        async with open_link(house.root, runner_command(house.root), lent={}) as link:
            orchestrations = LocalOrchestrations(place, Sites(link, clock), house.caller(), clock)
            found.append((await orchestrations.current(create=True)).orchestration_id)
            await orchestrations.aclose()
    assert (found[0], found[1] == found[0]) == (orchestration.orchestration_id, False)


def checkouts(collected: Collected) -> set[str]:
    return {found.orchestration_task_id for found in collected.removed if found.path.name == "workspace"}


async def test_only_checkouts_whose_work_is_safe_are_removed(house: House, repository: Path) -> None:
    async with house.opened() as orchestration:
        requests = {
            "saved": shell("echo new > new", repo=None),
            "unchanged": shell("true", repo=None),
            "kept": shell("echo kept > kept", repo=None, keep=True),
            "loose": shell("echo loose > loose"),
            "empty": shell("true"),
            "unsafe": shell("echo unsafe > unsafe", repo=None),
        }
        spawned = {name: await orchestration.spawn(request) for name, request in requests.items()}
        ids = {name: answer.orchestration_task_id for name, answer in spawned.items()}
        await ended(orchestration, *ids.values())
        (ref,) = (await orchestration.status(ids["unsafe"])).salvage_refs
        git(repository, "update-ref", "-d", ref)
        mine = orchestration.orchestration_id
        assert (await collect_garbage(house.root, mine)).removed == []  # none has been over for a day
        named = checkouts(await collect_garbage(house.root, mine, older_than=NOW, dry_run=True))
        workspaces = {name: (await orchestration.status(task_id)).workspace for name, task_id in ids.items()}
        assert all(path and Path(path).is_dir() for path in workspaces.values())
        removed = checkouts(await collect_garbage(house.root, mine, older_than=NOW))
        left = {name for name, task_id in ids.items() if (await orchestration.status(task_id)).workspace}
        there = {name for name, path in workspaces.items() if path and Path(path).exists()}
    assert named == removed == {ids["saved"], ids["unchanged"], ids["empty"]}
    assert left == there == {"kept", "loose", "unsafe"}
    assert git(repository, "show", f"{spawned['saved'].branch}:new") == "new"
    house.expected = {"salvage_ref_missing"}


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (shell("true", agent_name="nobody/x"), UnknownAgent),
        (shell("true", repo="./nowhere"), RepositoryUnusable),
        (shell("true", depends_on=("nothing",)), UnknownDependency),
        (BatchRequest(tasks=(BatchTask(id="a", prompt="true", agent_name="shell/bash", depends_on=("b",)),)), UnknownDependency),
    ],
)
async def test_a_refused_first_spawn_begins_nothing(house: House, wrong: SpawnRequest | BatchRequest, error: type[Exception]) -> None:
    async with open_orchestrations(house.root, house.caller()) as orchestrations:
        with pytest.raises(error):
            await orchestrations.current(create=True, request=wrong)
        assert list((house.root / "orchestrations").iterdir()) == []
        right = shell("true", name="good")
        orchestration = await orchestrations.current(create=True, request=right)
        spawned = await orchestration.spawn(right)
        await ended(orchestration, spawned.orchestration_task_id)
        assert len(list((house.root / "orchestrations").iterdir())) == 1


async def test_what_was_tried_before_is_tried_again_where_another_was_first(house: House) -> None:
    mine = shell("true", name="same")
    async with open_orchestrations(house.root, house.caller()) as orchestrations:
        orchestration = await orchestrations.current(create=True, request=mine)
        async with house.opened() as other:
            theirs = await other.spawn(shell("true", name="same"))
            await ended(other, theirs.orchestration_task_id)
        with pytest.raises(Conflict, match="named 'same' already"):
            await orchestration.spawn(mine)
