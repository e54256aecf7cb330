"""The line for status lines: what it says of tasks, and that nothing it is given on stdin can stop it."""

import json
import subprocess
import sys

import pytest

from devsh_memory_mcp.cli.board import Line
from devsh_memory_mcp.cli.status_line import line_of


def row(status, **fields):
    return Line("ns1", "ns1", status, "shell/bash", "p", "orch_1", **fields)


@pytest.mark.promise("cli.status.line")
@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ([], ""),
        ([row("completed")], "devsh 1 done"),
        (
            [
                *[row("running")] * 2, row("running", needs_input="Bash was refused", cost_usd=0.4, cost_basis="api"), row("pending"),
                row("completed", cost_usd=0.021, cost_basis="api", needs_input="over"), row("completed"),
            ],
            "devsh 3 running · 1 waiting · 2 done · 1 needs input · $0.42",
        ),
        ([row("failed", cost_usd=0.001), row("cancelled")], "devsh 1 failed · 1 cancelled · ~<$0.01"),
        ([row("running", cost_usd=1, cost_basis="unknown"), row("running", cost_usd=0.5, cost_basis="api")], "devsh 2 running · ~$1.50"),
    ],
)  # fmt: skip
def test_it_counts_what_a_person_asks_for(rows, line):
    assert line_of(rows) == line


def begin(root, name, project, session, *statuses):
    """An orchestration as its files show it."""
    place = root / "orchestrations" / name
    place.mkdir(parents=True)
    first = {"seq": 1, "timestamp": name, "orchestrationId": name, "project": str(project), "session": session}
    (place / "EVENTS.jsonl").write_text(json.dumps(first) + "\n")
    ids = [f"{name}{number}" for number, _ in enumerate(statuses)]
    tasks = [
        {"id": one, "orchestrationTaskId": one, "taskRunId": one, "prompt": "p", "agentName": "a", "status": status}
        for one, status in zip(ids, statuses, strict=True)
    ]
    (place / "PLAN.json").write_text(json.dumps({"orchestrationId": name, "tasks": tasks, "updatedAt": "2020-01-01T00:00:00.000Z"}))
    (place / "AGENTS.json").write_text(json.dumps({"agents": []}))


def test_a_client_is_shown_its_own_session_else_the_orchestration_that_status_shows(devsh, tmp_path, monkeypatch):
    begin(tmp_path, "orch_1", tmp_path, "mine", "running")
    begin(tmp_path, "orch_2", tmp_path, "other", "running", "pending")
    begin(tmp_path, "orch_3", tmp_path, None, "completed")  # long ago
    begin(tmp_path, "orch_4", "/another/project", None, "running")
    (tmp_path / "said").write_text(json.dumps({"session_id": "mine", "cwd": str(tmp_path)}))
    with (tmp_path / "said").open() as said:
        monkeypatch.setattr("sys.stdin", said)
        assert devsh("orchestrate", "status", "--line").out == "devsh 1 running\n"
    assert devsh("orchestrate", "status", "--line").out == "", "what the shells share has ended long ago"
    begin(tmp_path, "orch_5", tmp_path, None, "running", "pending", "pending")
    assert devsh("orchestrate", "status", "--line").out == "devsh 1 running · 2 waiting\n"
    assert devsh("orchestrate", "status", "--line", "--orchestration-id", "orch_4").out == "devsh 1 running\n"
    (tmp_path / "orchestrations/orch_5/AGENTS.json").write_text('{"agents": [1]}')
    assert devsh("orchestrate", "status", "--line").out == ""


def test_its_sum_is_the_boards(devsh, orchestration, tmp_path):
    orchestration.add("ns1", "completed", cost_usd=0.004, cost_basis="subscription").add("ns2", "running", cost_usd=1.2, cost_basis="api")
    begin(tmp_path, "orch_1", tmp_path, None, "completed", "running")
    costs = [{"costUsd": 0.004, "costBasis": "subscription"}, {"costUsd": 1.2, "costBasis": "api"}]
    agents = [{"orchestrationTaskId": f"orch_1{number}", "attempt": 1, **cost} for number, cost in enumerate(costs)]
    (tmp_path / "orchestrations/orch_1/AGENTS.json").write_text(json.dumps({"agents": agents}))
    assert devsh("orchestrate", "status", "--line").out == "devsh 1 running · 1 done · ~$1.20\n"
    assert "~$1.20 at list price" in devsh("orchestrate", "status").out


@pytest.mark.parametrize("words", [["ns1"], ["--watch"], ["--all"], ["--json"]])
def test_it_stands_alone(devsh, words):
    said = devsh("orchestrate", "status", "--line", *words)
    assert (said.code, "--line stands alone" in said.err) == (2, True)


@pytest.mark.promise("cli.status.line")
def test_it_starts_without_anything_heavy(tmp_path):
    program = "import sys; from devsh_memory_mcp.cli.main import run; run(sys.argv[1:]); print(*sys.modules)"
    words = [sys.executable, "-c", program, "orchestrate", "status", "--line", "--dir", str(tmp_path)]
    ran = subprocess.run(words, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    assert len(ran.stdout.splitlines()) == 1, "and says nothing where nothing was spawned"
    assert {"pydantic", "asyncio", "anyio", "rich", "mcp", "subprocess"}.isdisjoint(ran.stdout.split())
