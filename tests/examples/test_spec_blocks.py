"""The documented shell blocks, command for command as a user types them, unset variables included.

Only agents and prompts are others: shell scripts that do in a moment what the prompts ask for.
"""

import json
import re
import shutil
import subprocess

import pytest

from tests.doubles.walls import needs_sandbox

pytestmark = pytest.mark.skipif(shutil.which("jq") is None, reason="these blocks use jq, which is not installed here")

WRITE = "echo {0} > {0}.txt"
SLOW = "sleep 2; echo {0} > {0}.txt"


@pytest.mark.promise(
    "cli.spawn", "cli.spawn.repo", "cli.status", "cli.status.watch", "cli.results", "cli.wait", "cli.cancel", "cli.message"
)
def test_the_quick_start(terminal, tmp_path):
    subprocess.run(
        ["git", "clone", "--quiet", "--bare", terminal.repository, tmp_path / "hub" / "owner" / "repo.git"], check=True, capture_output=True
    )
    instead = f"url.file://{tmp_path}/hub/.insteadOf"
    assert terminal.run(f"git config --global {instead} https://github.com/; git config --global --add {instead} git@github.com:").code == 0

    spawned = terminal.json('devsh orchestrate spawn --agent shell/bash --repo owner/repo "sleep 1; echo fixed > login.ts; echo Fixed."')
    task, run, orchestration = spawned["orchestrationTaskId"], spawned["taskRunId"], spawned["orchestrationId"]
    watched = terminal.run(f"devsh orchestrate status {task} --watch")
    assert (watched.code, watched.err) == (0, "")
    assert re.search(rf"^{task} .*completed", watched.out, re.MULTILINE)
    results = terminal.run(f"devsh orchestrate results {orchestration}")
    assert results.code == 0
    assert "Fixed." in results.out
    assert terminal.run(f"devsh orchestrate wait {task}").code == 0
    said = terminal.run(f'devsh orchestrate message {run} "Please also update the tests" --type request')
    assert (said.code, "has ended" in said.err) == (5, True)
    cancelled = terminal.run(f"devsh orchestrate cancel {task}")
    assert (cancelled.code, "had ended already" in cancelled.out) == (0, True)


@pytest.mark.promise(
    "cli.spawn.agent", "cli.spawn.depends-on", "cli.spawn.new-branch", "cli.status.interval", "cli.results.json", "cli.list.status"
)
def test_the_examples_of_the_commands(terminal):
    first = terminal.json(f'devsh orchestrate spawn --agent shell/bash "{WRITE.format("validation")}"')["orchestrationTaskId"]
    block = rf"""
devsh orchestrate spawn \
--agent shell/bash \
--depends-on {first} \
"test -f validation.txt"
"""
    assert terminal.run(block).code == 0
    orchestration = terminal.tasks()[0]["orchestrationId"]
    second = terminal.tasks()[0]["orchestrationTaskId"]
    assert terminal.run(f"devsh orchestrate status {second} --watch --interval 5").code == 0
    assert terminal.run(f"devsh orchestrate results {orchestration}").code == 0
    branch = terminal.json(f"devsh orchestrate status {first}")["branch"]
    assert branch == f"dev/echo-validation-validation-txt-{first[-5:]}"
    assert terminal.run(f"git show {branch}:validation.txt").out.startswith("validation\n")
    assert terminal.json(f"devsh orchestrate results {orchestration}")["status"] == "completed"
    assert len(terminal.json("devsh orchestrate list --status completed")) == 2


@pytest.mark.promise("cli.spawn.agent")
def test_an_agent_that_there_is_none_of_is_refused_in_words_at_every_step_of_the_pipeline(terminal):
    ran = terminal.run(PIPELINE.replace("shell/bash", "cursor/composer"))
    assert "There is no agent 'cursor/composer'." in ran.err
    assert "jq prints null" in ran.err


PIPELINE = """
# Step 1: Implement feature
RUN1=$(devsh orchestrate spawn --json --agent shell/bash "sleep 0.3; echo code > auth.txt" | jq -r '.orchestrationTaskId')
# Step 2: Write tests (depends on step 1)
RUN2=$(devsh orchestrate spawn --json --depends-on $RUN1 --agent shell/bash "cat auth.txt > tests.txt" | jq -r '.orchestrationTaskId')
# Step 3: Review (depends on step 2)
devsh orchestrate spawn --depends-on $RUN2 --agent shell/bash "cat auth.txt tests.txt"
# Wait for final task
devsh orchestrate status $RUN3 --watch
"""


@pytest.mark.promise("pattern.pipeline")
def test_the_sequential_pipeline(terminal):
    ran = terminal.run(PIPELINE)
    assert ran.code == 0, ran.err
    assert {task["status"] for task in terminal.tasks()} == {"completed"}
    assert terminal.tasks()[0]["result"].split() == ["code", "code"]


@pytest.mark.promise("pattern.pipeline")
def test_the_sequential_pipeline_at_a_terminal(terminal):
    ran = terminal.typed(PIPELINE)
    assert ran.code == 0, ran.out
    assert "3 completed" in ran.out


FAN_OUT = """
# Spawn multiple agents in parallel
devsh orchestrate spawn --agent shell/bash "sleep 2; echo auth > auth.txt" &
devsh orchestrate spawn --agent shell/bash "sleep 2; echo api > api.txt" &
devsh orchestrate spawn --agent shell/bash "sleep 2; echo db > db.txt" &
wait
# Wait for all to complete using watch mode
for id in $(devsh orchestrate list --status running --json | jq -r '.[].orchestrationTaskId'); do
  devsh orchestrate status $id --watch &
done
wait
"""


@pytest.mark.promise("pattern.fan-out", "status.parallel")
def test_the_parallel_fan_out_ten_times_at_a_terminal_first_on_an_empty_memory_root(terminal):
    for times in range(1, 11):
        ran = terminal.typed(FAN_OUT)
        assert ran.code == 0, ran.out
        tasks = terminal.tasks()
        assert (len(tasks), {task["status"] for task in tasks}) == (3 * times, {"completed"}), ran.out
        assert len({task["orchestrationId"] for task in tasks}) == 1
        newest = {task["orchestrationTaskId"] for task in tasks[:3]}
        ends = re.findall(r"^(ns\w+)  . completed", re.sub(r"\x1b\[[0-9;]*m", "", ran.out), re.MULTILINE)
        assert ends, ran.out
        assert set(ends) <= newest, ran.out
        assert sorted(ends) == sorted(re.findall(r"^\+ devsh orchestrate status (ns\w+) --watch$", ran.out, re.MULTILINE)), ran.out
        assert not re.search(r"\x1b\[\d*[AJK]", ran.out), "a background job moved the cursor"


@pytest.mark.promise("pattern.review-loop")
def test_the_review_loop(terminal):
    block = r"""
# Implement
RUN1=$(devsh orchestrate spawn --json --agent shell/bash "echo feature > x.txt" | jq -r '.orchestrationTaskId')
# Wait for implementation
devsh orchestrate status $RUN1 --watch
# Review
devsh orchestrate spawn --agent shell/bash \
"# Review the changes from task $RUN1. Check for bugs, security issues, and code quality.
branch=\$(devsh orchestrate status $RUN1 --json | jq -r .branch)
git diff --stat HEAD...origin/\$branch"
"""
    ran = terminal.run(block)
    assert ran.code == 0, ran.err
    assert terminal.run("devsh orchestrate wait").code == 0
    assert "x.txt" in terminal.tasks()[0]["result"]


@needs_sandbox
@pytest.mark.promise("pattern.leader-worker", "cli.spawn.cloud-workspace", "cli.spawn.use-env-jwt", "cli.results.use-env-jwt")
@pytest.mark.parametrize("sandbox", ["required", "none"])
def test_leader_and_workers(terminal, tmp_path, sandbox):
    """The head's block, as printed but for its agents; `$TASK_ID`, which nothing there sets, is no id and means all of its tasks."""
    inside = tmp_path / "inside.sh"
    inside.write_text(f"""
# Spawn workers for specific tasks
devsh orchestrate spawn --use-env-jwt --agent shell/bash "{WRITE.format("role")}"
devsh orchestrate spawn --use-env-jwt --agent shell/bash "{WRITE.format("middleware")}"
devsh orchestrate spawn --use-env-jwt --agent shell/sh "{WRITE.format("tests")}"
# Monitor all tasks
devsh orchestrate status $TASK_ID --watch
# Collect results
devsh orchestrate results $CMUX_ORCHESTRATION_ID --use-env-jwt
""")
    block = rf"""
devsh orchestrate spawn --cloud-workspace --agent shell/bash --sandbox {sandbox} --json \
"$(cat {inside})"
"""
    ran = terminal.run(block)
    assert ran.code == 0, ran.err
    head = json.loads(ran.out)
    assert terminal.run(f"devsh orchestrate wait {head['orchestrationTaskId']}").code == 0, terminal.tasks()
    for each in ("role", "middleware", "tests"):
        assert f"{each}.txt" in terminal.json(f"devsh orchestrate status {head['orchestrationTaskId']}")["result"]
    results = terminal.json(f"devsh orchestrate results {head['orchestrationId']}")
    assert (results["status"], results["totalTasks"]) == ("completed", 3)
