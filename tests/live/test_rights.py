"""Whose streams are whose: the routes of live events against every token that is not good for them."""

import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import anyio
import httpx2
import pytest

from devsh_memory_mcp.config import OPERATOR
from devsh_memory_mcp.faces import http_feed
from devsh_memory_mcp.faces.http_server import build_app
from devsh_memory_mcp.faces.tokens import NOBODY, TEAM, Claims, Role, mint
from devsh_memory_mcp.wiring import hosting
from tests.doubles.asgi import InProcess
from tests.engine.house import House, ended, house, shell

__all__ = ["house"]

KEY = b"a key of the tests, and of nobody else"
ROUTES = ("/api/orchestrate/events/{id}", "/api/orchestrate/v2/events/{id}", "/api/orchestrate/events/{id}?view=changes")


def token(
    role: Role = "user", run: str = NOBODY, orchestration_id: str | None = None, *, life: float = 3600, key: bytes = KEY, **more: int
) -> str:
    now = datetime.now(UTC)
    return mint(key, Claims(run, TEAM, OPERATOR, orchestration_id, role, now, now + timedelta(seconds=life), **more))


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx2.AsyncClient]:
    app = build_app(KEY, hosting(house.root, dict(os.environ)), lambda: datetime.now(UTC))
    with anyio.fail_after(60):
        async with app.router.lifespan_context(app), anyio.create_task_group() as tasks:
            async with httpx2.AsyncClient(transport=InProcess(app, tasks), base_url="http://localhost") as made:
                yield made
            tasks.cancel_scope.cancel()


async def status(client: httpx2.AsyncClient, path: str, shown: str) -> int:
    headers = {"Authorization": f"Bearer {shown}"} if shown else {}
    async with client.stream("GET", path, headers=headers) as response:
        return response.status_code


@pytest.mark.parametrize("route", ROUTES)
async def test_a_stream_is_open_to_tokens_that_are_good_for_it(house: House, client: httpx2.AsyncClient, route: str) -> None:
    gate = house.gate()
    async with house.opened() as own, house.opened(session="b", is_shell=False) as other:
        spawned = await own.spawn(shell(gate.pass_through))
        path, elsewhere = (route.replace("{id}", each.orchestration_id) for each in (own, other))
        for shown in ("", token(life=-10), token(key=b"another key, which is long enough too"), token()[:-4]):
            assert await status(client, path, shown) == 401
        worker = token("worker", spawned.task_run_id, own.orchestration_id)
        assert [await status(client, path, shown) for shown in (token(), worker)] == [200, 200]
        assert await status(client, elsewhere, token()) == 200
        assert await status(client, elsewhere, worker) == 403
        assert await status(client, route.replace("{id}", "orch_nobody"), token()) == 404
        assert await status(client, path, token("worker", spawned.task_run_id, own.orchestration_id, attempt=7)) == 401
        gate.open()
        await ended(own, spawned.orchestration_task_id)
        assert await status(client, path, worker) == 401


async def names(client: httpx2.AsyncClient, path: str, shown: str, begun: anyio.Event) -> list[str]:
    """What a stream tells until it ends by itself."""
    told = []
    async with client.stream("GET", path, headers={"Authorization": f"Bearer {shown}"}) as response:
        async for event in httpx2.EventSource(response):
            told.append(event.event)
            begun.set()
    return told


async def test_a_workers_stream_ends_with_its_attempt_and_any_with_its_token(house: House, client: httpx2.AsyncClient) -> None:
    gate = house.gate()
    async with house.opened() as own:
        spawned = await own.spawn(shell(gate.pass_through))
        path, begun = f"/api/orchestrate/events/{own.orchestration_id}", anyio.Event()
        told: list[str] = []

        async def listen() -> None:
            told.extend(await names(client, path, token("worker", spawned.task_run_id, own.orchestration_id), begun))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            await begun.wait()
            gate.open()
        assert told[-2:] == ["task_completed", "orchestration_completed"]
        assert (await names(client, path, token(life=2), anyio.Event()))[0] == "connected"


async def test_an_agents_stream_ends_when_its_own_task_elsewhere_has_ended(
    house: House, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_feed, "HEARTBEAT", 0.05)
    gate = house.gate()
    async with house.opened() as parent, house.opened(session="b", is_shell=False) as led:
        leader = await parent.spawn(shell(gate.pass_through))
        begun = anyio.Event()
        shown = token("head", leader.task_run_id, led.orchestration_id)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(names, client, f"/api/orchestrate/events/{led.orchestration_id}", shown, begun)
            await begun.wait()
            gate.open()
            await ended(parent, leader.orchestration_task_id)
