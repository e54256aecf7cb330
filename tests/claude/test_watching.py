"""What a person sees of real claude at work: what it does now, what it needs, and its output in words."""

import json

import pytest

from devsh_memory_mcp.domain.requests import ListRequest, SpawnRequest
from tests.doubles.model_api import ModelApi
from tests.doubles.model_script import Tool, Turn
from tests.engine.house import ended, until_event


@pytest.fixture
def at_work(model_api: ModelApi) -> ModelApi:
    """A model that is refused a command, and goes on with another when its gate is opened."""
    model_api.route(
        "TASK-W",
        Turn("", [Tool("Bash", {"command": "curl -s https://example.com/"})]),
        Turn("I look elsewhere.", [Tool("Bash", {"command": "ls -a; true"})], hold="gate"),
        Turn("Looked up."),
    )
    return model_api


@pytest.mark.promise("cli.logs", "cli.status.board")
async def test_a_worker_is_seen_at_work_and_its_output_is_told_in_words(house, repository, claude_environment, at_work):
    async with house.opened(environment=claude_environment) as orchestration:
        spawned = await orchestration.spawn(SpawnRequest(prompt="TASK-W: look it up", agent_name="claude/haiku-4.5"))
        task = spawned.orchestration_task_id
        await until_event(orchestration, "agent_needs_input")
        (row,) = (await orchestration.list_tasks(ListRequest())).result
        record = await orchestration.status(task)
        assert row.activity == record.activity == "runs `curl -s https://example.com/`"
        assert "curl -s https://example.com/" in str(row.needs_input)
        assert record.session_id
        at_work.open("gate")
        await ended(orchestration, task)
        told = "".join([text async for text in orchestration.output(task)])
        raw = b"".join([printed.content async for printed in orchestration.printed(task) if not printed.is_error])
    lines = told.splitlines()
    assert lines[0].startswith("* claude-haiku-4-5, permissions: acceptEdits, session ")
    assert [line for line in lines if line.startswith(">")] == ["> runs `curl -s https://example.com/`", "> runs `ls -a; true`"]
    assert any(line.startswith("! may not use Bash: ") for line in lines)
    assert lines[-1].startswith("* done: ")
    assert {json.loads(line)["type"] for line in raw.splitlines()} >= {"system", "assistant", "user", "result"}
