import io
import json

import pytest


@pytest.mark.promise("cli.spawn.json")
def test_spawn_with_json_prints_one_object_and_nothing_else(devsh, orchestration):
    said = devsh("orchestrate", "spawn", "--json", "--agent", "shell/bash", "true")
    answer = json.loads(said.out)
    assert (said.code, answer["status"], answer["agentName"]) == (0, "running", "shell/bash")
    assert answer["orchestrationTaskId"] in orchestration.tasks
    assert {"taskId", "taskRunId", "orchestrationId", "branch", "warnings", "next"} <= answer.keys()


@pytest.mark.promise(
    "cli.spawn.agent", "cli.spawn.repo", "cli.spawn.branch", "cli.spawn.pr-title", "cli.spawn.priority", "cli.spawn.depends-on"
)
def test_every_flag_reaches_the_request(devsh, orchestration):
    orchestration.add("ns1").add("ns2")
    words = "--agent shell/sh --repo owner/repo --branch next --pr-title Title --priority 0 --depends-on ns1 --depends-on ns2 --name mine"
    more = (
        "--retries 2 --timeout 1h30m --setup make --include-dirty --keep --on-dependency-failure run --max-concurrent 3 --idempotency-key k"
        " --permissions bypass --billing api --verify check --stall-timeout 5m --max-turns 30 --max-cost-usd 2.50"
        " --sandbox required --network off --mount /a --mount /b:rw --memory 1.5G --cpus 0.5 --disk 10G --head --on-head-exit cancel"
    )
    assert devsh("orchestrate", "spawn", *words.split(), *more.split(), "--resume", "ns1", "--open-pr", "do it").code == 0
    assert orchestration.requests[0].model_dump() == {
        "prompt": "do it",
        "agent_name": "shell/sh",
        "repo": "owner/repo",
        "branch": "next",
        "depends_on": ("ns1", "ns2"),
        "priority": 0,
        "name": "mine",
        "on_dependency_failure": "run",
        "retries": 2,
        "timeout_ms": 5_400_000,
        "pr_title": "Title",
        "setup": "make",
        "verify": "check",
        "stall_timeout_ms": 300_000,
        "max_turns": 30,
        "max_cost_usd": 2.5,
        "include_dirty": True,
        "keep": True,
        "permissions": "bypass",
        "billing": "api",
        "open_pr": True,
        "resume": "ns1",
        "sandbox": "required",
        "network": "off",
        "mounts": ("/a", "/b:rw"),
        "memory": 3 << 29,
        "cpus": 0.5,
        "disk": 10 << 30,
        "max_concurrent": 3,
        "cloud_workspace": True,
        "on_head_exit": "cancel",
        "idempotency_key": "k",
    }


def test_each_invocation_has_an_idempotency_key_of_its_own(devsh, orchestration):
    devsh("orchestrate", "spawn", "a")
    devsh("orchestrate", "spawn", "a")
    first, second = (request.idempotency_key for request in orchestration.requests)
    assert first
    assert first != second


def test_spawn_returns_at_once_when_it_is_known_why_the_task_cannot_start(devsh, orchestration):
    orchestration.add("ns1")
    said = devsh("orchestrate", "spawn", "--depends-on", "ns1", "b")
    assert said.code == 0
    assert "pending" in said.out
    assert "dependencies: x" in said.out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--depends-on", "--agent", "codex/gpt-5.1-codex-mini", "Write tests"], "--depends-on has no id"),
        (["--depends-on", "", "Write tests"], "--depends-on has no id"),
        (["--depends-on", "null", "Write tests"], "jq prints null"),
        (["--resume", "", "Write tests"], "--resume has no id"),
        (["--resume", "--agent", "x"], "--resume has no id (it took '--agent')"),
        (["Fix", "the", "bug"], "in quotes"),
        ([], "The prompt is missing"),
        (["  "], "The prompt is empty"),
        (["--priority", "11", "x"], "0<=x<=10"),
        (["--timeout", "0", "x"], "more than nothing"),
        (["--disk", "much", "x"], "'much' is no size: write 512M, 4G, 1.5G"),
        (["--disk", "1M", "x"], "less than 16M"),
    ],
)
def test_what_cannot_be_spawned_is_refused_in_words(devsh, orchestration, words, sentence):
    said = devsh("orchestrate", "spawn", *words)
    assert (said.code, said.out, orchestration.requests) == (2, "", [])
    assert sentence in said.err


def test_the_prompt_comes_from_a_file_or_from_stdin(devsh, orchestration, tmp_path, monkeypatch):
    file = tmp_path / "prompt.txt"
    file.write_text("from a file")
    devsh("orchestrate", "spawn", "--prompt-file", file)
    monkeypatch.setattr("sys.stdin", io.StringIO("from stdin"))
    devsh("orchestrate", "spawn", "-")
    assert [request.prompt for request in orchestration.requests] == ["from a file", "from stdin"]


@pytest.mark.promise("env.CMUX_ORCHESTRATION_ID")
def test_directory_and_orchestration_come_from_flags_or_environment(devsh, tmp_path):
    devsh("--dir", tmp_path / "a", "orchestrate", "spawn", "x", "--orchestration-id", "orch_1")
    root, caller, orchestration_id = devsh.world.opened
    assert (root, caller.directory, orchestration_id) == (tmp_path / "a", tmp_path, "orch_1")
    devsh("orchestrate", "list", "--dir", tmp_path / "b", environment={"CMUX_ORCHESTRATION_ID": "orch_abc123"})
    root, _, orchestration_id = devsh.world.opened
    assert (root, orchestration_id) == (tmp_path / "b", "orch_abc123")


@pytest.mark.promise("env.CMUX_HEAD_AGENT")
def test_the_head_agent_is_the_one_that_the_environment_names(devsh):
    devsh("orchestrate", "spawn", "x", environment={"CMUX_HEAD_AGENT": "claude/opus-4.6"})
    assert devsh.world.opened[1].head_agent == "claude/opus-4.6"
