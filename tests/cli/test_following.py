import json

import pytest

from tests.doubles.orchestration import AT

DONE = {"status": "completed", "result": "all good", "completed_at": AT}


@pytest.mark.promise("cli.status")
def test_status_shows_one_task_and_where_its_files_are(devsh, orchestration):
    orchestration.add("ns1", branch="dev/do-it-12345", base_branch="main", base_commit="abc", prompt="# Fix it\ntrue")
    said = devsh("orchestrate", "status", "ns1")
    assert said.code == 0
    assert "dev/do-it-12345 from main (abc)" in said.out
    assert "Fix it" in said.out
    assert said.out.rstrip().endswith("/memory/orchestrations/orch_abc123")


def test_status_tells_what_an_agent_does_needs_may_and_has_cost(devsh, orchestration):
    orchestration.add(
        "ns1", agent_name="claude/opus", activity="edits src/\x1b[2Japp.py", needs_input="It may not run `curl`.", session_id="5e55",
        cost_usd=0.42, cost_basis="subscription", usage={"inputTokens": 12000, "turns": 1}, permissions="bypass", failure="rate_limit",
        isolation="guard",
    )  # fmt: skip
    said = devsh("orchestrate", "status", "ns1").out
    for line in (
        "doing     edits src/app.py",
        "needs     It may not run `curl`.",
        "cost      ~$0.42 at list price, which a subscription is not billed; 12,000 input tokens, 1 turn\n",
        "session   5e55",
        "may       do everything unasked, with your rights (bypass)",
        "because   the provider's limit is reached (rate_limit)",
    ):
        assert line in said


@pytest.mark.promise("cli.status.json")
@pytest.mark.parametrize("any_id", ["ns1", "docs", "tr_ns1"])
def test_status_with_json_is_one_flat_object_for_any_id(devsh, orchestration, any_id):
    orchestration.add("ns1", id="docs")
    answer = json.loads(devsh("orchestrate", "status", any_id, "--json").out)
    assert (answer["orchestrationTaskId"], answer["status"], answer["createdAt"]) == ("ns1", "running", "2025-02-23T12:00:00.000Z")
    assert {"prompt", "result", "errorMessage"} <= answer.keys()


@pytest.mark.parametrize("unset", [[], [""]])
def test_without_an_id_status_is_the_board_of_the_current_orchestration(devsh, orchestration, unset):
    orchestration.add("ns1").add("ns2", "failed", error_message="exit code 3")
    said = devsh("orchestrate", "status", *unset)
    assert said.code == 0
    assert "1 running, 1 failed" in said.out
    assert "exit code 3" in said.out


@pytest.mark.promise("cli.status.watch", "cli.status.interval")
def test_watch_prints_a_line_per_change_that_begins_with_the_id_and_ends_with_the_task(devsh, orchestration):
    orchestration.add("ns1").script = [("ns1", DONE)]
    said = devsh("orchestrate", "status", "ns1", "--watch", "--interval", "5")
    assert said.code == 0
    lines = said.out.splitlines()
    assert all(line.startswith("ns1") for line in lines)
    assert "completed" in lines[-1]
    assert "all good" in lines[-1]


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_watch_ends_with_one_when_the_task_did_not_complete(devsh, orchestration, end):
    orchestration.add("ns1").script = [("ns1", {"status": end})]
    assert devsh("orchestrate", "status", "ns1", "-w").code == 1


def test_watch_without_an_id_ends_when_all_have_ended(devsh, orchestration):
    orchestration.add("ns1").add("ns2", "pending").script = [("ns1", DONE), ("ns2", {"status": "running"}), ("ns2", DONE)]
    said = devsh("orchestrate", "status", "--watch")
    assert said.code == 0
    assert {line.split()[0] for line in said.out.splitlines()} == {"ns1", "ns2", "Files:"}


def test_watch_with_json_is_one_object_a_line_and_the_last_is_final(devsh, orchestration):
    orchestration.add("ns1").script = [("ns1", DONE)]
    said = devsh("orchestrate", "status", "ns1", "--watch", "--json")
    assert [json.loads(line)["status"] for line in said.out.splitlines()][-1] == "completed"


@pytest.mark.promise("cli.wait")
@pytest.mark.parametrize(("status", "code"), [("completed", 0), ("failed", 1), ("cancelled", 1), ("running", 3)])
def test_wait_tells_the_end_by_its_exit_code(devsh, orchestration, status, code):
    orchestration.add("ns1", status)
    said = devsh("orchestrate", "wait", "ns1")
    assert said.code == code
    assert status in said.out


@pytest.mark.promise("cli.wait.json", "cli.wait.timeout")
def test_wait_with_json_says_that_the_time_was_over(devsh, orchestration):
    orchestration.add("ns1")
    said = devsh("orchestrate", "wait", "ns1", "--timeout", "0", "--json")
    answer = json.loads(said.out)
    assert (said.code, answer["status"], answer["timedOut"]) == (3, "running", True)


def test_wait_for_any_is_over_with_the_first_and_for_all_with_the_last(devsh, orchestration):
    orchestration.add("ns1", "completed").add("ns2")
    assert devsh("orchestrate", "wait", "ns1", "ns2", "--any").code == 0
    assert devsh("orchestrate", "wait", "ns1", "ns2").code == 3
    assert devsh("orchestrate", "wait").code == 3


def test_a_negative_timeout_is_refused(devsh, orchestration):
    orchestration.add("ns1")
    said = devsh("orchestrate", "wait", "ns1", "--timeout", "-5")
    assert said.code == 2
    assert "negative" in said.err


def test_what_jq_printed_for_a_failed_spawn_is_explained(devsh):
    said = devsh("orchestrate", "status", "null", "--watch")
    assert said.code == 4
    assert "jq prints null" in said.err
