"""Who is let in, and to what: every route against every token that is not good for it."""

import base64
import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import anyio
import httpx2
import pytest
from starlette.routing import Route

from devsh_memory_mcp.faces.http_compat import COMPATIBLE
from devsh_memory_mcp.faces.http_mcp import mcp_over_http
from devsh_memory_mcp.faces.http_server import build_app
from devsh_memory_mcp.faces.operations import OPERATIONS, STREAMS, Operation, Stream
from devsh_memory_mcp.wiring import hosting
from tests.contract.conftest import KEY, Place, token
from tests.doubles.asgi import InProcess
from tests.engine.house import House, shell

pytestmark = pytest.mark.anyio

EVERY: tuple[Operation | Stream, ...] = (*OPERATIONS, *COMPATIBLE, *STREAMS)
OPEN = {"/", "/health", "/api/health", "/openapi.json"}  # what anybody may see
PAST = datetime.now(UTC) - timedelta(days=2)
BODIES = {
    "spawn": {"prompt": "true", "agentName": "shell/bash", "repo": "none"},
    "spawn_batch": {"tasks": [{"id": "a", "prompt": "true", "agentName": "shell/bash", "repo": "none"}]},
    "message": {"to": "head", "message": "x"},
}


@asynccontextmanager
async def asking(house: House) -> AsyncIterator[httpx2.AsyncClient]:
    async with Place("in process", house, house.directory).served() as (address, transport):
        assert isinstance(transport, InProcess)
        async with httpx2.AsyncClient(transport=transport, base_url=address) as client:
            yield client


async def ask(client: httpx2.AsyncClient, each: Operation | Stream, shown: str, any_id: str, orchestration_id: str) -> httpx2.Response:
    path = each.path.replace("{id}", any_id)
    headers = {"Authorization": f"Bearer {shown}"} if shown else {}
    if each.method == "GET":
        return await client.get(path, headers=headers, params={"orchestrationId": orchestration_id} if orchestration_id else {})
    body = {"wait": {"ids": [any_id or "nsabcdefghij"], "timeout": 0}, **BODIES}.get(each.name, {})
    return await client.post(path, headers=headers, json=body | ({"orchestrationId": orchestration_id} if orchestration_id else {}))


def unsigned() -> str:
    claims = {"taskRunId": "-", "teamId": "local", "userId": "operator", "role": "user", "iat": 0, "exp": 99999999999}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in ({"alg": "none"}, claims)]
    return ".".join((*parts, ""))


@pytest.mark.promise("http.rights")
async def test_of_all_routes_of_the_app_only_those_are_open_that_tell_nothing(house: House) -> None:
    app = build_app(KEY, hosting(house.root, dict(os.environ)), lambda: datetime.now(UTC), [mcp_over_http])
    routes = [route for route in app.routes if isinstance(route, Route)]
    assert len(routes) > 40
    bad = ["", token(exp=PAST), token(key=b"another key, which is long enough too"), unsigned()]
    async with app.router.lifespan_context(app), anyio.create_task_group() as tasks:
        async with httpx2.AsyncClient(transport=InProcess(app, tasks), base_url="http://localhost") as client:
            for route in routes:
                path = re.sub(r"{\w+(:\w+)?}", "orch_abcdefghijkl", route.path)
                for method in (route.methods or set()) - {"HEAD"}:
                    for shown in bad:
                        headers = {"Authorization": f"Bearer {shown}"} if shown else {}
                        answer = await client.request(method, path, headers=headers)
                        assert answer.status_code == (200 if path in OPEN else 401), (method, path, answer.text)
        tasks.cancel_scope.cancel()


@pytest.mark.promise("http.rights")
async def test_no_route_answers_without_a_token_that_is_good(house: House) -> None:
    bad = {
        "none": "",
        "no token": "Bearer",
        "expired": token(exp=PAST),
        "of another key": token(key=b"another key, which is long enough too"),
        "unsigned": unsigned(),
    }
    async with asking(house) as client:
        for each in EVERY:
            for why, shown in bad.items():
                answer = await ask(client, each, shown, "nsabcdefghij", "")
                assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), (each.name, why)
                assert answer.headers["www-authenticate"] == "Bearer"
                assert len(shown) < 20 or shown not in answer.text


@pytest.mark.parametrize("header", ["Authorization", "X-Task-Run-JWT", "x-cmux-token"])
async def test_a_token_is_shown_in_any_of_three_ways(house: House, header: str) -> None:
    shown = f"Bearer {token()}" if header == "Authorization" else token()
    async with asking(house) as client:
        assert (await client.get("/api/orchestrate/list", headers={header: shown})).status_code == 200


async def test_a_heads_token_is_good_for_its_orchestration_alone(house: House) -> None:
    async with house.opened() as other:
        elsewhere = (await other.spawn(shell("true"))).orchestration_task_id
    async with house.opened(session="b", is_shell=False) as parent:
        pipe = house.pipe()
        leader = await parent.spawn(shell(f"cat {pipe.path}"))
    async with house.opened(session="c", is_shell=False) as led:
        mine = (await led.spawn(shell("true"))).orchestration_task_id
    shown = token("head", led.orchestration_id, leader.task_run_id)
    async with asking(house) as client:
        for each in EVERY:
            in_path = "{id}" in each.path
            named = (elsewhere, other.orchestration_id) if in_path else ("", other.orchestration_id)
            if each.name in ("active", "begin", "current", "demand_current"):
                continue  # they name no other: `begin` is tested with the roles
            answers = [await ask(client, each, shown, *named)]
            answers += [await ask(client, each, shown, elsewhere, "")] if in_path else []
            assert [answer.status_code for answer in answers] == [403] * len(answers), (each.name, [answer.text for answer in answers])
        assert (await ask(client, by_name("begin"), shown, "", "")).status_code == 403
        assert (await ask(client, by_name("status"), shown, mine, "")).status_code == 200
        assert (await ask(client, by_name("list"), shown, "", "")).json()["result"][0]["id"] == mine
        assert [one["orchestrationId"] for one in (await ask(client, by_name("active"), shown, "", "")).json()["orchestrations"]] == [
            led.orchestration_id
        ]
    async with house.opened(session="b", is_shell=False) as parent:
        await parent.cancel(leader.orchestration_task_id)


async def test_a_workers_token_reads_and_sends_messages_and_nothing_else_while_its_attempt_lives(house: House) -> None:
    pipe = house.pipe()
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell(f"cat {pipe.path}"))
    async with house.opened(session="b", is_shell=False) as other:
        elsewhere = (await other.spawn(shell("true"))).orchestration_task_id
    run, own, task = spawned.task_run_id, orchestration.orchestration_id, spawned.orchestration_task_id
    shown = token("worker", own, run)
    async with asking(house) as client:
        for each in EVERY:
            answer = await ask(client, each, shown, elsewhere if "{id}" in each.path else "", other.orchestration_id)
            if each.name not in ("active", "current"):
                assert answer.status_code == 403, (each.name, answer.text)
            if "worker" not in each.roles:
                assert (await ask(client, each, shown, task, "")).status_code == 403, each.name
        assert (await ask(client, by_name("status"), shown, task, "")).status_code == 200
        sent = await ask(client, by_name("message"), shown, "", "")
        assert sent.status_code == 200
        async with house.opened() as orchestration:
            messages = (await orchestration.messages()).messages
            assert [(message.sender, message.to) for message in messages] == [(task, "head")]
        for wrong in (
            token("worker", own, "tr_notthere0000"),
            token("worker", other.orchestration_id, run),
            token("worker", own, run, attempt=7),
        ):
            assert (await ask(client, by_name("status"), wrong, task, "")).status_code == 401
        assert (await ask(client, by_name("status"), token("worker", None, run, attempt=1), task, "")).status_code == 200
        async with house.opened() as orchestration:
            await orchestration.cancel(task)
        assert (await ask(client, by_name("status"), shown, task, "")).status_code == 401, "the attempt is over"


def by_name(name: str) -> Operation | Stream:
    return next(each for each in EVERY if each.name == name)


async def test_a_page_of_another_site_and_another_name_get_nothing(house: House) -> None:
    bearer = {"Authorization": f"Bearer {token()}"}
    async with asking(house) as client:
        cases = [
            ({"Host": "evil.example"}, 403), ({"Host": "evil.example", **bearer}, 403), ({"Host": ""}, 403),
            ({"Host": "localhost.evil.example"}, 403), ({"Host": "127.0.0.1:9776"}, 200), ({"Host": "[::1]:9776"}, 200),
            ({"Host": "x.localhost:1"}, 200), ({"Origin": "http://evil.example"}, 403), ({"Origin": "null"}, 403),
            ({"Origin": "http://localhost:3000"}, 200), ({"Origin": "//192.0.2.7"}, 403),
            ({"Origin": "http://app.example", **bearer}, 200),
        ]  # fmt: skip
        for headers, status in cases:
            assert (await client.get("/health", headers=headers)).status_code == status, headers


async def test_what_is_too_much_is_refused(house: House) -> None:
    bearer = {"Authorization": f"Bearer {token()}"}
    async with asking(house) as client:
        many = {f"x-{number}": "1" for number in range(200)}
        assert (await client.get("/health", headers=many)).status_code == 400
        assert (await client.get("/health", params={"x": "y" * 9000})).status_code == 400
        large = await client.post("/api/orchestrate/message", headers=bearer, content=b'{"to": "head", "message": "%s"}' % (b"x" * 2**24))
        assert (large.status_code, large.json()["code"]) == (413, "too_large")
        for content in (b"{", b"[1]", b"[" * 100_000, b'{"to": "head", "message": "x", "orchestrationId": 7}', b"\xff"):
            answer = await client.post("/api/orchestrate/message", headers=bearer, content=content)
            assert answer.status_code == 400, content[:20]
        assert (await client.get("/nothing", headers=bearer)).status_code == 404
        assert (await client.put("/api/orchestrate/spawn", headers=bearer)).status_code == 405
