"""The existing implementation's clients work with our server, unmodified."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import anyio
import httpx2
import pytest

from devsh_memory_mcp.config import OPERATOR
from devsh_memory_mcp.domain.requests import MessageRequest
from devsh_memory_mcp.faces.http_server import build_app
from devsh_memory_mcp.faces.tokens import NOBODY, TEAM, Claims, Role, mint
from devsh_memory_mcp.wiring import hosting
from tests.compat.original import GoCli, McpServer
from tests.doubles.asgi import InProcess
from tests.engine.house import House, ended, house, shell, until_event

__all__ = ["house"]

KEY = b"a key of the tests, and of nobody else"


def token(role: Role = "user", run: str = NOBODY, orchestration_id: str | None = None) -> str:
    now = datetime.now(UTC)
    return mint(KEY, Claims(run, TEAM, OPERATOR, orchestration_id, role, now, now + timedelta(hours=1)))


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx2.AsyncClient]:
    with anyio.fail_after(60):
        async with served(house) as made:
            yield made


@asynccontextmanager
async def served(house: House) -> AsyncIterator[httpx2.AsyncClient]:
    app = build_app(KEY, hosting(house.root, dict(os.environ)), lambda: datetime.now(UTC))
    async with app.router.lifespan_context(app), anyio.create_task_group() as tasks:
        async with httpx2.AsyncClient(transport=InProcess(app, tasks), base_url="http://localhost") as made:
            yield made
        tasks.cancel_scope.cancel()


async def test_its_mcp_server_spawns_watches_pulls_and_cancels(house: House, client: httpx2.AsyncClient) -> None:
    gate = house.gate()
    async with house.opened() as own:
        mcp = McpServer(client, token(), own.orchestration_id)
        first = await mcp.spawn_agent(gate.pass_through, "shell/bash", repo="none")
        assert first["status"] in ("pending", "running")
        await until_event(own, "agent_started")
        second = await mcp.spawn_agent("echo next", "shell/bash", repo="none", dependsOn=[first["orchestrationTaskId"]])
        status = await mcp.get_agent_status(second["orchestrationTaskId"])
        assert status["taskRun"] is None
        assert status["task"]["_id"] == second["orchestrationTaskId"]
        assert status["task"]["dependencies"] == [first["orchestrationTaskId"]]
        assert abs(status["task"]["createdAt"] / 1000 - datetime.now(UTC).timestamp()) < 60
        await own.message(MessageRequest(to="head", message="look here", type="status"))
        pulled = await mcp.pull()
        assert [task["id"] for task in pulled["tasks"]] == [first["orchestrationTaskId"], second["orchestrationTaskId"]]
        assert pulled["tasks"][1]["dependsOn"] == [first["orchestrationTaskId"]]
        assert [(message["from"], message["to"], message["message"]) for message in pulled["messages"]] == [("head", "*", "look here")]
        assert isinstance(pulled["messages"][0]["id"], str)
        assert pulled["aggregatedStatus"]["total"] == 2
        assert (await mcp.pull())["messages"] == pulled["messages"]
        assert await mcp.cancel_agent(first["orchestrationTaskId"], cascade=True) == {"ok": True, "cancelled": True, "cancelledCount": 2}
        assert [task["status"] for task in await mcp.list_spawned_agents()] == ["cancelled", "cancelled"]
        assert await mcp.list_spawned_agents(status="running") == []
        status = await mcp.get_agent_status(first["orchestrationTaskId"])
        assert status["taskRun"]["id"] == first["taskRunId"]


async def test_its_push_updates_what_the_head_did_and_its_head_hears_of_ends(house: House, client: httpx2.AsyncClient) -> None:
    async with house.opened() as own:
        mcp = McpServer(client, token(), own.orchestration_id)
        mine = {"id": "mine", "status": "pending", "prompt": "Think"}
        assert (await mcp.push(headAgentStatus="running", tasks=[mine]))["tasksUpdated"] == 1
        answer = await mcp.push(tasks=[{"id": "mine", "status": "completed", "result": "thought"}])
        assert (answer["success"], answer["tasksUpdated"]) == (True, 1)
        assert (await mcp.pull())["tasks"][0]["result"] == "thought"
        path = f"/api/v1/cmux/orchestration/{own.orchestration_id}/sync"
        wrong = await client.post(path, headers={"x-cmux-token": token()}, json={"orchestrationId": "orch_other", "message": "x"})
        assert (wrong.status_code, "Orchestration ID mismatch" in wrong.json()["error"]) == (400, True)
        missing = await client.get("/api/v1/cmux/orchestration/orch_nobody/sync", headers={"x-cmux-token": token()})
        assert missing.status_code == 404


async def test_its_command_line_lists_waits_sends_and_cancels(house: House, client: httpx2.AsyncClient) -> None:
    gate = house.gate()
    cli = GoCli(client, token())
    assert (await cli.get("/api/orchestrate/tasks")) == []
    spawned = await cli.post(
        "/api/orchestrate/spawn", prompt=gate.pass_through, agent="shell/bash", repo="none", isCloudMode=True, permissionMode="plan"
    )
    assert any("permissionMode" in warning for warning in spawned["warnings"])
    task = spawned["orchestrationTaskId"]
    dependent = await cli.post("/api/orchestrate/spawn", prompt="true", agent="shell/bash", repo="none", dependsOn=[task])
    listed = (await cli.get("/api/orchestrate/list"))["tasks"]
    assert {found["_id"] for found in listed} == {task, dependent["orchestrationTaskId"]}
    waiting = {found["_id"]: found for found in await cli.get("/api/orchestrate/tasks")}[dependent["orchestrationTaskId"]]
    assert [found["_id"] for found in waiting["dependencyInfo"]["blockedBy"]] == [task]
    assert (await cli.get(f"/api/orchestrate/tasks/{task}"))["prompt"] == gate.pass_through
    sent = await cli.post("/api/orchestrate/message", taskRunId="*", message="also the tests", messageType="request")
    assert (sent["ok"], sent["message"]) == (True, "Message sent to agent")
    body = {"taskRunId": spawned["taskRunId"], "message": "also the tests", "messageType": "request", "teamSlugOrId": "team"}
    refused = await client.post("/api/orchestrate/message", headers={"x-cmux-token": token()}, json=body)
    assert (refused.status_code, "cannot be spoken to" in refused.json()["error"]) == (409, True)
    metrics = await cli.get("/api/orchestrate/metrics")
    assert (metrics["totalTasks"], metrics["tasksByStatus"]["pending"] + metrics["tasksByStatus"]["running"]) == (2, 2)
    cancelled = await cli.post(f"/api/orchestrate/tasks/{task}/cancel", cascade=True)
    assert (cancelled["ok"], cancelled["cancelledCount"]) == (True, 2)
    assert (await cli.post(f"/api/orchestrate/cancel/{task}"))["success"] is True
    results = await cli.get(f"/api/orchestrate/results/{spawned['orchestrationId']}")
    assert {found["status"] for found in results["results"]} == {"cancelled"}
    assert (await cli.get("/api/orchestrate/list", status="cancelled"))["isDone"] is True


async def test_it_asks_for_agents_and_health(house: House, client: httpx2.AsyncClient) -> None:
    cli = GoCli(client, token())
    assert {"name": "shell/bash", "command": "bash"} in (await cli.get("/api/agents"))["agents"]
    assert {"shell/sh"} <= {model["name"] for model in (await cli.get("/api/models"))["models"]}
    assert "claude" in (await cli.get("/api/providers"))["providers"]
    assert (await client.get("/api/health")).json()["status"] == "healthy"
    for path in ("/api/agents", "/api/models", "/api/providers"):
        assert (await client.get(path)).status_code == 401


async def test_a_worker_is_shown_its_own_mail_and_may_not_push(house: House, client: httpx2.AsyncClient) -> None:
    gate = house.gate()
    async with house.opened() as own:
        spawned = await own.spawn(shell(gate.pass_through))
        await own.message(MessageRequest(to="*", message="for you"))
        await own.message(MessageRequest(to="head", message="not for you"))
        shown = token("worker", spawned.task_run_id, own.orchestration_id)
        mcp = McpServer(client, shown, own.orchestration_id)
        assert [message["message"] for message in (await mcp.pull())["messages"]] == ["for you"]
        path = f"/api/v1/cmux/orchestration/{own.orchestration_id}/sync"
        assert (await client.post(path, headers={"x-cmux-token": shown}, json={"message": "x"})).status_code == 403
        gate.open()
        await ended(own, spawned.orchestration_task_id)


async def test_a_page_of_another_site_may_ask_with_a_token(client: httpx2.AsyncClient) -> None:
    asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    answer = await client.options("/api/orchestrate/spawn", headers=asked)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, "*")
    assert "Last-Event-ID" in answer.headers["access-control-allow-headers"]
    answer = await client.get("/api/orchestrate/list", headers={"Origin": "https://app.example", "Authorization": f"Bearer {token()}"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")


async def test_it_waits_for_events_as_they_come(house: House) -> None:
    async with house.opened() as own, served(house) as client, anyio.create_task_group() as tasks:
        mcp = McpServer(client, token(), own.orchestration_id)
        told: list[dict[str, object]] = []

        async def wait() -> None:
            told.append(await mcp.wait_for_events("task_completed"))

        tasks.start_soon(wait)
        spawned = await mcp.spawn_agent("exit 3", "shell/bash", repo="none")
        await ended(own, spawned["orchestrationTaskId"])
        while not told:
            await anyio.lowlevel.checkpoint()
        assert (told[0]["taskId"], told[0]["status"]) == (spawned["orchestrationTaskId"], "failed")
