"""The documented examples, called as they are printed, with scripts in place of models: a real server, a real runner, real git."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from doubles.mcp_client import TESTS
from mcp import Client, StdioServerParameters

BOUND = 90  # s; a hang, not a slow machine
SCRIPT = {"agentName": "shell/bash"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with one commit."""
    place = tmp_path / "project"
    place.mkdir()
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "First"]):
        (place / "README").write_text("A project\n", encoding="utf-8")
        subprocess.run(["git", *command], cwd=place, check=True)
    return place


class Tools:
    """The tools as functions."""

    def __init__(self, client: Client) -> None:
        self._client = self.client = client

    def __getattr__(self, tool: str) -> Any:
        async def called(**arguments: Any) -> dict[str, Any]:
            answer = await self._client.call_tool(tool, arguments)
            assert not answer.is_error, answer.content
            return answer.structured_content or {}

        return called


@asynccontextmanager
async def tools_in(project: Path, mode: str, **environment: str) -> AsyncIterator[Tools]:
    path = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    known = {name: os.environ[name] for name in ("HOME", "PATH", "DEVSH_MEMORY_DIR", "DEVSH_SANDBOX", "GIT_CONFIG_NOSYSTEM")}
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "devsh_memory_mcp"],
        env={**known, "PYTHONPATH": path, "CLAUDE_PROJECT_DIR": str(project), **environment},
    )
    with anyio.fail_after(BOUND):
        async with Client(command, mode=mode) as client:
            yield Tools(client)


async def in_parallel(*calls: Any) -> list[Any]:
    results: list[Any] = [None] * len(calls)

    async def run(place: int, call: Any) -> None:
        results[place] = await call

    async with anyio.create_task_group() as tasks:
        for place, call in enumerate(calls):
            tasks.start_soon(run, place, call)
    return results


eras = pytest.mark.parametrize("mode", ["legacy", "auto"])


@eras
@pytest.mark.promise("mcp.example.parallel")
async def test_parallel_task_execution(project: Path, mode: str) -> None:
    async with tools_in(project, mode) as tools:
        task1 = await tools.spawn_agent(prompt="echo endpoints > auth.ts; echo Implemented auth endpoints", **SCRIPT)
        task2 = await tools.spawn_agent(prompt="echo migrations > db.sql; echo Wrote migrations", **SCRIPT)
        result1, result2 = await in_parallel(
            tools.wait_for_agent(orchestrationTaskId=task1["orchestrationTaskId"]),
            tools.wait_for_agent(orchestrationTaskId=task2["orchestrationTaskId"]),
        )
        assert (result1["status"], result2["status"]) == ("completed", "completed")
        assert "Implemented auth endpoints" in result1["result"]
        task3 = await tools.spawn_agent(
            prompt="cat auth.ts db.sql", dependsOn=[task1["orchestrationTaskId"], task2["orchestrationTaskId"]], **SCRIPT
        )
        result3 = await tools.wait_for_agent(orchestrationTaskId=task3["orchestrationTaskId"])
        assert (result3["status"], result3["finished"], result3["timedOut"]) == ("completed", True, False)
        assert "endpoints" in result3["result"]
        assert "migrations" in result3["result"]
        summary = await tools.get_orchestration_summary()
        assert summary["status"] == {"total": 3, "completed": 3, "running": 0, "failed": 0, "pending": 0, "cancelled": 0}
        assert summary["allTasksComplete"] is True
        assert summary["hasFailures"] is False
        listed = await tools.list_spawned_agents(status="completed")
        assert len(listed["result"]) == 3


@eras
@pytest.mark.promise("mcp.example.pipeline")
async def test_sequential_pipeline(project: Path, mode: str) -> None:
    async with tools_in(project, mode) as tools:
        impl = await tools.spawn_agent(prompt="echo 'export const role = 1' > role.ts", **SCRIPT)
        await tools.wait_for_agent(orchestrationTaskId=impl["orchestrationTaskId"])
        tests = await tools.spawn_agent(
            prompt="test -s role.ts && echo 'assert(role)' > role.test.ts", dependsOn=[impl["orchestrationTaskId"]], **SCRIPT
        )
        await tools.wait_for_agent(orchestrationTaskId=tests["orchestrationTaskId"])
        review = await tools.spawn_agent(prompt="ls; echo Reviewed", dependsOn=[tests["orchestrationTaskId"]], **SCRIPT)
        reviewed = await tools.wait_for_agent(orchestrationTaskId=review["orchestrationTaskId"])
        assert reviewed["status"] == "completed"
        assert {"role.ts", "role.test.ts", "Reviewed"} <= set(reviewed["result"].split())
        status = await tools.get_agent_status(orchestrationTaskId=tests["orchestrationTaskId"])
        assert status["branch"].startswith("dev/")
    assert not (project / "role.ts").exists()


@eras
@pytest.mark.promise("mcp.pull_orchestration_updates.plan")
@pytest.mark.promise("env.CMUX_ORCHESTRATION_ID")
@pytest.mark.promise("env.CMUX_HEAD_AGENT")
async def test_a_pull_brings_the_plan_up_to_date_with_statuses_messages_and_counts(project: Path, mode: str) -> None:
    async with tools_in(project, mode, CMUX_HEAD_AGENT="claude/opus-4.6") as tools:
        failing = await tools.spawn_agent(prompt="exit 3", **SCRIPT)
        held = await tools.spawn_agent(prompt="sleep 600", name="held", **SCRIPT)
        waited = await tools.wait_for_agent(ids=["held", failing["taskRunId"]], mode="any")
        assert waited["finished"]
        sent = await tools.send_message(to="head", message="note to self", type="status")
        pulled = await tools.pull_orchestration_updates(orchestrationId=failing["orchestrationId"])
        assert pulled["synced"] is True
        assert {task["status"] for task in pulled["tasks"]} >= {"failed"}
        assert [message["message"] for message in pulled["messages"]] == ["note to self"]
        assert pulled["aggregatedStatus"]["failed"] == 1
        plan = json.loads(Path(pulled["planPath"]).read_text(encoding="utf-8"))
        assert plan["headAgent"] == "claude/opus-4.6"
        assert plan["aggregatedStatus"] == pulled["aggregatedStatus"]
        assert [message["message"] for message in plan["messages"]] == ["note to self"]
        mail = await tools.get_my_messages()
        assert [message["id"] for message in mail["messages"]] == [sent["messageId"]] == [mail["cursor"]]
        cancelled = await tools.cancel_agent(orchestrationTaskId=held["orchestrationTaskId"])
        assert (cancelled["ok"], cancelled["cancelled"], cancelled["cancelledCount"]) == (True, True, 1)
    async with tools_in(project, mode, CMUX_ORCHESTRATION_ID=failing["orchestrationId"]) as tools:
        assert (await tools.get_orchestration_summary())["status"]["cancelled"] == 1
        assert (await tools.get_my_messages())["messages"][0]["message"] == "note to self"  # its first answer may not have arrived
        assert (await tools.get_my_messages())["messages"] == []


@eras
async def test_a_short_timeout_answers_the_true_status(project: Path, mode: str) -> None:
    async with tools_in(project, mode) as tools:
        task = await tools.spawn_agent(prompt="sleep 600", **SCRIPT)
        for timeout in (0, 50):
            answer = await tools.wait_for_agent(orchestrationTaskId=task["orchestrationTaskId"], timeout=timeout)
            assert answer["status"] in ("pending", "running")
            assert answer["timedOut"] is True
        await tools.cancel_agent(orchestrationTaskId=task["orchestrationTaskId"])


@pytest.mark.promise("mcp.spawn_batch")
@pytest.mark.promise("mcp.subscriptions")
async def test_a_batch_runs_in_its_order_and_a_subscriber_hears_of_it(project: Path) -> None:
    tasks = [{"id": "use", "prompt": "cat made", "dependsOn": ["make"]}, {"id": "make", "prompt": "echo it > made"}]
    async with tools_in(project, "auto") as tools:
        async with tools.client.listen(resource_subscriptions=["devsh://plan"]) as subscription:
            batch = await tools.spawn_batch(tasks=tasks, defaults=SCRIPT)
            assert await anext(subscription)
        assert [task["taskId"] for task in batch["tasks"]] == ["use", "make"]
        waited = await tools.wait_for_agent(ids=["use", "make"])
        assert [(row["id"], row["status"]) for row in waited["tasks"]] == [("use", "completed"), ("make", "completed")]
        assert waited["result"] == "it\n"
        (page,) = (await tools.client.read_resource("devsh://brief")).contents
        assert "Finished, not merged as far as git shows (1)\n- make: branch dev/" in page.text
        (log,) = (await tools.client.read_resource("devsh://runs/use/log")).contents
        assert log.text == "it\n"
        (plan,) = (await tools.client.read_resource("devsh://plan")).contents
        assert [task["id"] for task in json.loads(plan.text)["tasks"]] == ["make", "use"]
