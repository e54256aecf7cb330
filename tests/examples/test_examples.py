"""Each example runs as it is, in any repository; so does the demonstration."""

import json
import shlex
import shutil
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("script", sorted(path.name for path in EXAMPLES.glob("*.sh")))
def test_the_example_runs(terminal, script):
    if shutil.which("jq") is None and "jq " in (EXAMPLES / script).read_text():
        pytest.skip("this example uses jq, which is not installed here")
    ran = terminal.run(f"bash {shlex.quote(str(EXAMPLES / script))}")
    assert ran.code == 0, ran.err + ran.out


@pytest.mark.promise("status.dependents")
def test_the_example_batch_runs(terminal):
    ran = terminal.run(f"devsh orchestrate spawn-batch {shlex.quote(str(EXAMPLES / 'batch.yaml'))} && devsh orchestrate status --watch")
    assert ran.code == 0, ran.err + ran.out
    report = next(task for task in terminal.tasks() if task["id"] == "report")
    assert report["result"].strip() == "1 files by 1 people"


@pytest.mark.promise("status.parallel", "status.dependents", "agent.shell")
def test_the_demonstration_completes_and_leaves_the_repository_alone(terminal):
    ran = terminal.run("devsh demo && git branch --list && git status --porcelain", TMPDIR=str(terminal.repository.parent))
    assert ran.code == 0, ran.err + ran.out
    assert "4 of 4 tasks completed" in ran.out
    assert ran.out.endswith("* main\n")


def test_the_demonstration_here_leaves_its_branches(terminal):
    ran = terminal.run("devsh demo --here > /dev/null && git branch --list 'dev/*'")
    assert (ran.code, len(ran.out.split())) == (0, 4), ran.err


def test_the_demonstration_works_outside_any_repository(terminal, tmp_path):
    (tmp_path / "empty").mkdir()
    ran = terminal.run(f"cd {tmp_path / 'empty'} && devsh demo", TMPDIR=str(tmp_path))
    assert ran.code == 0, ran.err + ran.out


def test_the_demonstration_redraws_its_board_at_a_terminal(terminal):
    ran = terminal.typed("devsh demo --here")
    assert ran.code == 0, ran.out
    assert "3 running" in ran.out
    assert "4 completed" in ran.out


@pytest.mark.promise("cli.list", "cli.list.json")
def test_a_list_from_the_views_is_the_list_from_the_journal(terminal):
    block = """
    devsh orchestrate spawn --agent shell/bash --name first "echo one"
    devsh orchestrate spawn --agent shell/bash --depends-on first "echo two; exit 3"
    devsh orchestrate wait > /dev/null
    """
    assert terminal.run(block).code == 1
    directory = Path(terminal.json("devsh orchestrate status")["directory"])
    exact = terminal.run(f"until grep -q '\"idle\": true' {directory}/views.json; do :; done; devsh orchestrate list --json")
    (directory / "views.json").unlink()
    folded = terminal.run("devsh orchestrate list --json")
    assert exact.out == folded.out
    assert '"two' in folded.out


@pytest.mark.promise("status.failure", "status.machine")
def test_a_failure_is_told_with_its_reason_and_fails_the_dependents(terminal):
    block = """
    devsh orchestrate spawn --agent shell/bash --name first "echo the disk is on fire >&2; exit 3"
    devsh orchestrate spawn --agent shell/bash --name second --depends-on first "true"
    devsh orchestrate status --watch
    """
    assert terminal.run(block).code == 1
    first, second = terminal.json("devsh orchestrate status first"), terminal.json("devsh orchestrate status second")
    assert (first["status"], first["reason"], first["exitCode"]) == ("failed", "exit", 3)
    assert "the disk is on fire" in first["errorMessage"]
    assert (second["status"], second["reason"], second["errorMessage"]) == ("failed", "dependency", "Dependency first failed")
    assert json.loads(terminal.run("devsh orchestrate cancel first --json").out)["cancelled"] is False
