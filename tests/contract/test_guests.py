"""A guest of a server: his own orchestrations, walls around everything, and nothing of its user."""

import os
from pathlib import Path

import httpx2
import pytest

from devsh_memory_mcp.domain.requests import SpawnRequest
from devsh_memory_mcp.engine.restraint import restrained
from devsh_memory_mcp.errors import InvalidId, NotAllowed, NotFound, RepositoryUnusable
from devsh_memory_mcp.store.guests import guest_environment, guest_root
from devsh_memory_mcp.wiring import hosting
from tests.contract.conftest import Place, token
from tests.engine.house import House, ended, shell

pytestmark = pytest.mark.anyio


@pytest.mark.promise("http.guests")
async def test_a_guest_sees_his_own_orchestrations_and_nobody_sees_his(house: House) -> None:
    place = Place("in process", house, house.directory)
    async with house.opened() as orchestration:
        mine = (await orchestration.spawn(shell("true"))).orchestration_task_id
        await ended(orchestration, mine)
    found = {}
    for owner in ("anna", "otto"):
        async with place.open(token=token(user_id=owner)) as orchestrations:
            assert list(await orchestrations.active(everything=True)) == []
            with pytest.raises(NotFound):
                await orchestrations.holding(mine)
            with pytest.raises(NotFound):
                await orchestrations.named(orchestration.orchestration_id)
            found[owner] = (await orchestrations.begin(owner)).orchestration_id
    async with place.open(token=token(user_id="anna")) as orchestrations:
        assert [one.orchestration_id for one in await orchestrations.active(everything=True)] == [found["anna"]]
    async with place.open() as orchestrations:
        assert [one.orchestration_id for one in await orchestrations.active(everything=True)] == [orchestration.orchestration_id]
        with pytest.raises(NotFound):
            await orchestrations.named(found["otto"])


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"sandbox": "none"}, NotAllowed), ({"mounts": ["/etc"]}, NotAllowed), ({"repo": "/srv/code"}, RepositoryUnusable),
        ({"repo": "ssh://git.example.org/a"}, NotAllowed), ({"repo": "git@example.org:a/b"}, NotAllowed),
        ({"repo": "file:///srv/code"}, NotAllowed), ({"repo": "http://example.org/a.git"}, NotAllowed),
        ({"repo": "ext::sh -c id"}, RepositoryUnusable),
    ],
)  # fmt: skip
async def test_what_a_guest_may_not_is_refused(house: House, fields: dict[str, object], refused: type[Exception]) -> None:
    request = shell("true", **fields)
    async with Place("in process", house, house.directory).open(token=token(user_id="anna")) as orchestrations:
        with pytest.raises(refused):
            await orchestrations.current(create=True, request=request)
        assert list(await orchestrations.active(everything=True)) == []
    with pytest.raises(NotAllowed):  # whoever calls in his memory root: a head of his too, who is on this machine
        restrained(request, house.caller(), guest_root(house.root, "anna"))


def test_his_agents_are_behind_walls_whatever_is_asked(house: House) -> None:
    for sandbox in (None, "auto", "required"):
        asked = SpawnRequest(prompt="x", repo="owner/repo", sandbox=sandbox)
        assert restrained(asked, house.caller(), guest_root(house.root, "anna")).sandbox == "required"
        assert restrained(asked, house.caller(), house.root) is asked


async def test_a_guest_is_given_nothing_secret_and_no_home_of_the_users(house: House) -> None:
    environment = {**os.environ, "ANTHROPIC_API_KEY": "hush", "SSH_AUTH_SOCK": "/x", "GH_TOKEN": "hush", "CMUX_TASK_RUN_JWT_SECRET": "hush"}
    given = hosting(house.root, environment).environment("anna")
    assert not {"ANTHROPIC_API_KEY", "SSH_AUTH_SOCK", "GH_TOKEN", "CMUX_TASK_RUN_JWT_SECRET"} & set(given)
    assert "hush" not in str(given)
    home = Path(given["HOME"])
    assert home != Path(os.environ["HOME"])
    assert given["XDG_CONFIG_HOME"].startswith(str(home))
    assert hosting(house.root, environment).environment(None)["ANTHROPIC_API_KEY"] == "hush"
    for name in ("../x", "a/b", "", ".."):
        with pytest.raises(InvalidId):
            guest_environment(environment, name)


async def test_a_path_is_refused_from_elsewhere_and_without_a_repository_there_is_none(house: House, repository: Path) -> None:
    async with Place("in process", house, house.directory).served() as (address, transport):
        headers = {"Authorization": f"Bearer {token()}"}
        async with httpx2.AsyncClient(transport=transport, base_url=address, headers=headers) as client:
            for path in (str(repository), ".", "~/code"):
                refused = await client.post("/api/orchestrate/spawn", json={"prompt": "x", "agent": "shell/bash", "repo": path})
                assert (refused.status_code, refused.json()["code"]) == (400, "repository_unusable")
                assert "server's machine" in refused.json()["message"]
            spawned = await client.post("/api/orchestrate/spawn", json={"prompt": "true", "agent": "shell/bash"})
            assert (spawned.status_code, spawned.json()["repo"]) == (202, None)
    async with house.opened(spawned.json()["orchestrationId"]) as orchestration:
        await ended(orchestration, spawned.json()["orchestrationTaskId"])
