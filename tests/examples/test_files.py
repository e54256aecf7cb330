"""What people find in the files, and agents in their environment."""

import json
import os
from pathlib import Path

import pytest

BLOCK = """
devsh orchestrate spawn --agent shell/bash --name first "echo one"
SECOND="devsh orchestrate message head 'half done' --type status; echo two"
devsh orchestrate spawn --agent shell/bash --name second --depends-on first "$SECOND"
devsh orchestrate wait
until grep -q '"idle": true' $DEVSH_MEMORY_DIR/orchestration/views.json; do :; done
"""


@pytest.mark.promise("file.root", "file.plan", "file.plan.tasks", "file.agents", "file.agents.agents")
def test_the_plan_and_the_agents_are_where_and_what_they_are_promised_to_be(terminal):
    ran = terminal.run(BLOCK)
    assert ran.code == 0, ran.err
    directory = Path(os.environ["DEVSH_MEMORY_DIR"]) / "orchestration"
    plan = json.loads((directory / "PLAN.json").read_text())
    assert (plan["version"], plan["status"], plan["headAgent"], plan["isOrchestrationHead"]) == (1, "completed", "cli", True)
    assert plan["description"] == "echo one"
    assert plan["createdAt"].endswith("Z")
    first, second = plan["tasks"]
    assert (first["id"], first["prompt"], first["agentName"], first["status"], first["result"]) == (
        "first",
        "echo one",
        "shell/bash",
        "completed",
        "one\n",
    )
    assert second["dependsOn"] == ["first"]
    agents = json.loads((directory / "AGENTS.json").read_text())
    assert (agents["version"], agents["orchestrationId"]) == (1, plan["orchestrationId"])
    agent = agents["agents"][0]
    assert {key: agent[key] for key in ("orchestrationTaskId", "taskRunId", "agentName", "status", "prompt")} == {
        "orchestrationTaskId": first["orchestrationTaskId"],
        "taskRunId": first["taskRunId"],
        "agentName": "shell/bash",
        "status": "completed",
        "prompt": "echo one",
    }
    assert agent["sandboxId"] == f"local_{first['taskRunId']}_1"
    assert agent["spawnedAt"] <= agent["completedAt"]


@pytest.mark.promise("file.events", "file.events.agent_spawned", "file.events.agent_completed", "file.events.message_sent")
def test_the_events_are_lines_that_say_who_and_what(terminal):
    ran = terminal.run(BLOCK)
    assert ran.code == 0, ran.err
    journal = Path(os.environ["DEVSH_MEMORY_DIR"]) / "orchestration" / "EVENTS.jsonl"
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    assert all({"timestamp", "event", "seq"} <= event.keys() for event in events)
    spawned = [event for event in events if event["event"] == "agent_spawned"]
    completed = [event for event in events if event["event"] == "agent_completed"]
    (sent,) = [event for event in events if event["event"] == "message_sent"]
    ids = [event["orchestrationTaskId"] for event in spawned]
    assert [event["agentName"] for event in spawned] == ["shell/bash", "shell/bash"]
    assert [(event["orchestrationTaskId"], event["status"]) for event in completed] == [(name, "completed") for name in ids]
    assert (sent["from"], sent["to"], sent["type"], sent["message"]) == (ids[1], "head", "status", "half done")


@pytest.mark.promise("env.CMUX_PARENT_TASK_RUN_ID")
def test_an_agent_of_an_agent_knows_its_parent(terminal):
    inner = "echo child of $CMUX_PARENT_TASK_RUN_ID"
    outer = f"echo I am $CMUX_TASK_RUN_ID; devsh orchestrate spawn --agent shell/bash --name child '{inner}'; devsh orchestrate wait child"
    ran = terminal.run('devsh orchestrate spawn --agent shell/bash --name parent "$OUTER" && devsh orchestrate wait', OUTER=outer)
    assert ran.code == 0, ran.err + ran.out
    parent, child = (terminal.json(f"devsh orchestrate status {name}")["result"] for name in ("parent", "child"))
    assert child == f"child of {parent.splitlines()[0].removeprefix('I am ')}\n"
