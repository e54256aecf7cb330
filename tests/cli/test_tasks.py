import json
import subprocess
import sys

import pytest

from devsh_memory_mcp.domain.answers import BranchConflict
from devsh_memory_mcp.domain.records import DiffStat
from tests.doubles.orchestration import FakeOrchestration


@pytest.mark.promise("cli.list.json")
def test_list_with_json_is_a_bare_array_newest_first(devsh, orchestration):
    orchestration.add("ns1").add("ns2", "completed")
    assert [task["orchestrationTaskId"] for task in json.loads(devsh("orchestrate", "list", "--json").out)] == ["ns2", "ns1"]


@pytest.mark.promise("cli.list.status")
def test_list_filters_by_status(devsh, orchestration):
    orchestration.add("ns1").add("ns2", "completed")
    found = json.loads(devsh("orchestrate", "ls", "--status", "running", "--json").out)
    assert [task["orchestrationTaskId"] for task in found] == ["ns1"]


@pytest.mark.promise("cli.list")
def test_list_for_people_ends_with_the_path(devsh, orchestration):
    orchestration.add("ns1", prompt="Fix the auth bug")
    said = devsh("orchestrate", "list")
    assert "Fix the auth bug" in said.out
    assert said.out.rstrip().endswith("/memory/orchestrations/orch_abc123")


def test_where_nothing_was_spawned_list_is_empty_and_no_error(devsh):
    devsh.world.all.clear()
    said = devsh("orchestrate", "list", "--json")
    assert (said.code, json.loads(said.out)) == (0, [])


@pytest.mark.promise("cli.results", "cli.spawn.gh-hint")
def test_results_end_with_the_lines_to_type_next(devsh, orchestration):
    done = {
        "branch": "dev/do-it-00001",
        "base_branch": "main",
        "commits": 1,
        "diff_stat": DiffStat(files=1, insertions=4),
        "result": "Done.",
    }
    orchestration.add("ns1", "completed", pr_title="It's done", **done)
    orchestration.add("ns2", "failed", salvage_refs=("refs/devsh/salvage/ns2/1",), error_message="boom", workspace="/w")
    orchestration.add("ns3", "completed", **{**done, "branch": "dev/other-00003"}, session_id="s")
    said = devsh("orchestrate", "results", "orch_abc123")
    for line in (
        "devsh orchestrate diff ns1",
        "devsh orchestrate diff ns3",
        "devsh orchestrate merge ns1 ns3",
        "gh pr create --head dev/do-it-00001 --title 'It'\"'\"'s done'",
        "git checkout refs/devsh/salvage/ns2/1",
        "devsh orchestrate open ns2",
        'devsh orchestrate spawn --resume ns3 "…"',
        "1 commit, 1 file, +4 -0",
        "│ Done.",
    ):
        assert line in said.out
    assert said.out.rstrip().endswith("/memory/orchestrations/orch_abc123")


@pytest.mark.promise("cli.results.json")
def test_results_with_json_are_an_object_also_for_one_task(devsh, orchestration):
    orchestration.add("ns1", "completed").add("ns2")
    assert len(json.loads(devsh("orchestrate", "results", "--json").out)["results"]) == 2
    answer = json.loads(devsh("orchestrate", "results", "ns1", "--json").out)
    assert (answer["status"], answer["totalTasks"], answer["completedTasks"]) == ("completed", 1, 1)


@pytest.mark.promise("cli.results.conflicts")
def test_results_name_the_branches_that_conflict_for_one_task_only_its_own(devsh, orchestration):
    orchestration.add("ns1", "completed", branch="dev/a").add("ns2", "completed", branch="dev/b").add("ns3", "completed", branch="dev/c")
    files = tuple(f"file{number}" for number in range(8))
    orchestration.conflicts = [BranchConflict(branches=("dev/a", "dev/b"), orchestration_task_ids=("ns1", "ns2"), files=files)]
    said = devsh("orchestrate", "results")
    assert "dev/a and dev/b in file0, file1, file2, file3, file4 and 3 more" in said.out
    assert "conflict" not in devsh("orchestrate", "results", "ns3").out
    answer = json.loads(devsh("orchestrate", "results", "ns2", "--json").out)
    assert answer["conflicts"] == [{"branches": ["dev/a", "dev/b"], "orchestrationTaskIds": ["ns1", "ns2"], "files": list(files)}]
    assert "`devsh orchestrate merge ns2`" in answer["next"]


@pytest.mark.promise("cli.message", "cli.message.type")
def test_a_message_needs_its_type_and_reaches_the_task(devsh, orchestration):
    orchestration.add("ns1")
    assert devsh("orchestrate", "message", "tr_ns1", "Please also update the tests").code == 2
    assert devsh("orchestrate", "message", "tr_ns1", "Please also update the tests", "--type", "request").code == 0
    assert (orchestration.requests[0].to, orchestration.requests[0].type) == ("tr_ns1", "request")


def test_a_message_that_interrupts_says_that_it_does(devsh, orchestration):
    orchestration.add("ns1")
    words = ("orchestrate", "message", "ns1", "Stop", "--type", "request")
    assert devsh(*words).out == "Message 7 to ns1: in its mailbox.\n"
    assert devsh(*words, "--interrupt").out == "Message 7 to ns1: sent; it interrupts what the agent does, which reads it at once.\n"


def test_a_task_behind_a_cancelled_one_says_so_wherever_people_look(devsh, orchestration):
    orchestration.add("ns1", "failed", error_message="Dependency first failed", reason="dependency", cancelled_dependency="first")
    for words in (("status", "ns1"), ("status",), ("list",), ("results",), ("wait", "ns1")):
        said = devsh("orchestrate", *words).out
        assert ("its dependency first was cancelled" in said, "Dependency first failed" in said) == (True, False)
    assert json.loads(devsh("orchestrate", "status", "ns1", "--json").out)["errorMessage"] == "Dependency first failed"


def test_lines_to_type_call_tasks_by_name_where_that_means_them_and_by_id_elsewhere(devsh, orchestration):
    done = {"status": "completed", "branch": "dev/x", "attempt": 1}
    orchestration.add("ns1", id="lint", **done)
    assert "devsh orchestrate merge lint\n" in devsh("orchestrate", "results").out
    assert "devsh orchestrate logs lint\n" in devsh("orchestrate", "status", "ns1").out
    assert "devsh orchestrate merge ns1\n" in devsh("orchestrate", "results", "--orchestration-id", "orch_abc123").out
    devsh.world.all.insert(0, FakeOrchestration("orch_new").add("ns2", id="lint", **(done | {"status": "running"})))
    assert "devsh orchestrate merge ns1\n" in devsh("orchestrate", "results", "orch_abc123").out
    assert "devsh orchestrate logs ns1\n" in devsh("orchestrate", "status", "ns1").out
    assert "logs -f lint " in devsh("orchestrate", "status").out
    assert "`devsh orchestrate merge" not in (json.loads(devsh("orchestrate", "results", "--json").out)["next"] or "")


@pytest.mark.promise("cli.cancel")
def test_cancel_says_what_became_true(devsh, orchestration):
    orchestration.add("ns1", salvage_refs=("refs/devsh/salvage/ns1/1",)).add("ns2", "completed")
    said = devsh("orchestrate", "cancel", "ns1")
    assert (said.code, "git checkout refs/devsh/salvage/ns1/1" in said.out) == (0, True)
    assert json.loads(devsh("orchestrate", "cancel", "ns2", "--json").out)["cancelled"] is False


@pytest.mark.parametrize("command", [["cancel", ""], ["explain", ""], ["message", "", "x", "--type", "status"]])
def test_an_empty_id_never_means_everything(devsh, command):
    said = devsh("orchestrate", *command)
    assert said.code == 2
    assert "empty" in said.err


def test_logs_are_whole_lines_with_the_id_where_there_are_several(devsh, orchestration):
    orchestration.add("ns1").add("ns2")
    assert devsh("orchestrate", "logs", "ns1").out == "one\ntwo\n"
    assert devsh("orchestrate", "logs").out == "ns1  one\nns1  two\nns2  one\nns2  two\n"


def test_raw_logs_are_the_bytes_of_one_task_on_the_streams_where_they_were_printed(devsh, orchestration):
    orchestration.add("ns1").add("ns2")
    said = devsh("orchestrate", "logs", "ns1", "--raw")
    assert (said.out, said.err) == ("one\r\n\x1b[31m", "oh")
    assert devsh("orchestrate", "logs", "--raw").code == 2
    assert devsh("orchestrate", "logs", "ns1", "--raw", "--json").code == 2


def test_explain_gives_sentences(devsh, orchestration):
    orchestration.add("ns1")
    assert "It runs." in devsh("orchestrate", "explain", "ns1").out


def test_new_begins_an_orchestration(devsh):
    assert json.loads(devsh("orchestrate", "new", "Release", "--json").out)["orchestrationId"] == "orch_new"


@pytest.mark.parametrize("plan", ["[1, 2", "just words", "tasks: [{id: a, prompt: x, agent: shell/bash}]", "tasks: []"])
def test_a_batch_that_cannot_be_read_is_refused_in_words(devsh, tmp_path, plan):
    file = tmp_path / "plan.yaml"
    file.write_text(plan)
    said = devsh("orchestrate", "spawn-batch", file)
    assert said.code == 2
    assert "agentName" in said.err or "agent:" not in plan


@pytest.mark.parametrize(
    "command",
    ["spawn", "spawn-batch", "status", "list", "wait", "results", "diff", "merge", "open", "message", "cancel", "logs", "explain", "new"],
)
def test_every_command_teaches_by_example(devsh, command):
    said = devsh("orchestrate", command, "--help")
    assert said.code == 0
    assert f"  devsh orchestrate {command}" in said.out


def test_the_version_needs_nothing_heavy():
    program = "import sys; from devsh_memory_mcp.cli.main import run; run(['--version']); print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert {"pydantic", "asyncio", "mcp"}.isdisjoint(ran.stdout.split())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(devsh, shell):
    assert "_DEVSH_COMPLETE" in devsh("completion", shell).out
