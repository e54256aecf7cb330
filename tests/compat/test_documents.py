"""Our answers as the documents that the existing implementation's clients read."""

from datetime import UTC, datetime

from doubles.orchestrations import NOW, record, row

from devsh_memory_mcp.domain import answers
from devsh_memory_mcp.faces import http_catalogue as catalogue
from devsh_memory_mcp.faces import http_documents as documents
from devsh_memory_mcp.inventory import KINDS, AgentCli

MS = round(NOW.timestamp() * 1000)
LATER = datetime(2026, 1, 2, 3, 5, 5, tzinfo=UTC)


def test_a_task_has_an_id_milliseconds_and_no_key_without_a_value() -> None:
    task = row(1, status="completed", result="done", attempt=3, depends_on=("task0",), started_at=NOW, completed_at=LATER)
    document = documents.task_document(task, {"task0": "ns0000000000"})
    assert document == {
        "_id": "ns0000000001", "teamId": "local", "userId": "operator", "prompt": "p", "status": "completed", "priority": 5,
        "dependencies": ["ns0000000000"], "assignedAgentName": "shell/bash", "assignedSandboxId": "local_tr_0123456789ab_3",
        "taskId": "ns0000000001", "taskRunId": "tr_0123456789ab", "metadata": {"orchestrationId": "orch_1", "localTaskId": "task1"},
        "result": "done", "createdAt": MS, "updatedAt": MS + 60_000, "assignedAt": MS, "startedAt": MS, "completedAt": MS + 60_000,
        "retryCount": 2,
    }  # fmt: skip


def test_status_has_the_task_and_its_run_once_there_is_one() -> None:
    assert documents.beside_status(record(status="pending"))["taskRun"] is None
    shown = documents.beside_status(record(attempt=1, exit_code=0, branch="dev/x", started_at=NOW))
    assert shown["taskRun"] == {
        "_id": "tr_0123456789ab", "id": "tr_0123456789ab", "taskId": "ns0123456789", "agent": "shell/bash", "agentName": "shell/bash",
        "status": "running", "prompt": "p", "newBranch": "dev/x", "exitCode": 0, "createdAt": MS, "updatedAt": MS,
    }  # fmt: skip


def test_what_a_task_waits_for_is_told() -> None:
    rows = [row(2, depends_on=("task0", "task1")), row(1, prompt="x" * 80), row(0, status="completed")]
    first = documents.dependent_documents(rows)[0]
    blocked = [{"_id": "ns0000000001", "status": "running", "prompt": "x" * 50}]
    assert first["dependencyInfo"] == {"totalDeps": 2, "completedDeps": 1, "pendingDeps": 1, "blockedBy": blocked}


def test_a_heads_mail_is_addressed_as_its_own_client_calls_it() -> None:
    message = {"id": 7, "from": "ns1", "to": "head", "type": "status", "message": "hi", "timestamp": "2026-01-02T03:04:05.000Z"}
    for head, name in (("claude/opus-4.6", "claude/opus-4.6"), ("cli", "*"), ("claude-code", "*")):
        assert documents.sync_mail({"headAgent": head, "messages": [message]}) == [message | {"id": "7", "to": name}]


def test_tasks_of_a_plan_have_the_ids_that_can_be_spawned_behind() -> None:
    one = {"id": "a", "orchestrationTaskId": "ns1", "prompt": "p", "agentName": "shell/sh", "status": "completed", "priority": 5}
    two = {**one, "id": "b", "orchestrationTaskId": "ns2", "dependsOn": ["a", "elsewhere"]}
    assert documents.sync_tasks({"tasks": [one, two]})[1] == {
        "id": "ns2", "prompt": "p", "agentName": "shell/sh", "status": "completed", "priority": 5, "dependsOn": ["ns1", "elsewhere"],
    }  # fmt: skip


def test_a_list_says_whether_there_are_more() -> None:
    assert documents.beside_list(answers.ListAnswer(result=(row(1),)))["isDone"] is True
    assert documents.beside_list(answers.ListAnswer(result=(row(1),), next_cursor="1"))["isDone"] is False


def test_agents_are_those_that_are_there_and_models_all_with_what_is_missing() -> None:
    claude, *others = KINDS
    found = (AgentCli(claude, "/usr/bin/claude", ()), *(AgentCli(kind, None, ()) for kind in others))
    agents = [agent["name"] for agent in catalogue.agents_document(found)]
    assert agents == ["claude/haiku-4.5", "claude/haiku", "claude/sonnet", "claude/opus", "shell/bash", "shell/sh"]
    models = {model["name"]: model for model in catalogue.models_document(found)}
    assert models["claude/haiku"]["disabled"] is False
    assert models["gemini/default"]["disabled"] is True
    assert models["claude/haiku"]["requiredApiKeys"] == ["ANTHROPIC_API_KEY"]
    assert catalogue.providers_document(found)["codex"] == {"available": False, "configured": False}
