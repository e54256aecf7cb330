"""The end of a wait, told to whoever looked away."""

import json
import os
import pathlib

import pytest

from devsh_memory_mcp.cli import notice
from tests.doubles.processes import await_end

TOLD = 'printf \'%s|\' "$DEVSH_STATUS" "$DEVSH_TASK_ID" "$DEVSH_ORCHESTRATION_ID" "$DEVSH_SUMMARY" > told; echo for people'


@pytest.fixture
def typed(devsh, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return lambda *words: devsh("orchestrate", *words, environment=dict(os.environ))


def told() -> str:
    return pathlib.Path("told").read_text()


@pytest.mark.promise("cli.wait.notify")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ns1"], "completed|ns1|orch_abc123|1 completed|"),
        (["ns1", "ns2"], "failed|ns1 ns2|orch_abc123|1 completed, 1 failed|"),
        (["ns3"], "cancelled|ns3|orch_abc123|1 cancelled|"),
        (["ns1", "ns4", "--any"], "completed|ns1 ns4|orch_abc123|1 running, 1 completed|"),
        (["ns4", "--timeout", "0"], "timeout|ns4|orch_abc123|1 running|"),
    ],
)
def test_a_command_is_told_the_outcome_of_a_wait(typed, orchestration, words, expected):
    orchestration.add("ns1", "completed").add("ns2", "failed").add("ns3", "cancelled").add("ns4")
    said = typed("wait", *words, "--notify", TOLD, "--json")
    assert (told(), "for people" in said.err) == (expected, True)
    json.loads(said.out)


@pytest.mark.promise("cli.status.notify")
def test_a_command_is_told_the_outcome_of_a_watch(typed, orchestration):
    orchestration.add("ns1").script = [("ns1", {"status": "failed"})]
    assert typed("status", "ns1", "--watch", "--notify", TOLD).code == 1
    assert told() == "failed|ns1|orch_abc123|1 failed|"


def test_a_command_that_fails_changes_nothing_and_is_told(typed, orchestration):
    orchestration.add("ns1", "completed")
    said = typed("wait", "ns1", "--notify", "exit 3")
    assert (said.code, "--notify has failed with exit code 3" in said.err) == (0, True)


def test_a_command_that_does_not_end_is_ended_with_all_it_started(capfd, tmp_path):
    command = f"sleep 1000 & echo $! > {tmp_path}/pid; wait"
    notice.tell_end(command, [], 0, dict(os.environ), as_json=False, seconds=0.5)
    assert "--notify was ended after 0.5 s." in capfd.readouterr().err
    assert await_end(int((tmp_path / "pid").read_text()), 5.0)


def test_notify_belongs_to_something_that_ends(typed, orchestration):
    orchestration.add("ns1")
    said = typed("status", "ns1", "--notify", "true")
    assert (said.code, "give --watch too" in said.err) == (2, True)
