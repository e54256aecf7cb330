"""Whoever is killed: the tree is gone, the work is saved, the end is told."""

import json
import os
import pathlib

import pytest

from devsh_memory_mcp.shim import rundir
from devsh_memory_mcp.shim.rundir import Letter
from tests.shim.stage import SETSID_AND_DOUBLE_FORK, Repository, Stage, outcome_of

RUNS = pathlib.Path(__file__).parent.parent / "agents" / "claude_ends.jsonl"
WORK = "echo unsaved >left; echo mine >>readme; "
PUSHED = f"{WORK} git add -A; git commit -qm own; git push -q origin HEAD"


def test_a_killed_shim_takes_its_tree_along_and_recovery_saves_the_work(stage: Stage, repository: Repository) -> None:
    before = repository.state()
    tether = stage.tether()
    run = stage.launch(f"exec 9>{tether.path}; {WORK} {SETSID_AND_DOUBLE_FORK} echo d >&9; sleep 1000", checkout=repository.checkout())
    tether.await_words(4)
    run.kill()
    tether.await_end()
    run.await_lock()
    assert not (run.directory / "outcome.json").exists()
    outcome = stage.start(run.directory, "--recover").end()
    assert (outcome.cause, outcome.succeeded, outcome.branch) == ("lost", False, None)
    assert outcome.salvage_ref == f"refs/devsh/salvage/{outcome.task_run_id}/1"
    files = repository.files(outcome.salvage_ref)
    assert (files["left"], files["readme"]) == ("unsaved", "hello\nmine")
    assert repository.state() == before


def test_the_lock_of_a_killed_shim_is_free_only_after_its_tree_has_gone(stage: Stage) -> None:
    tether = stage.tether()
    run = stage.launch(f"exec 9>{tether.path}; {SETSID_AND_DOUBLE_FORK} echo d >&9; sleep 1000")
    tether.await_words(4)
    run.kill()
    run.await_lock()
    descriptor = os.open(tether.path, os.O_WRONLY | os.O_NONBLOCK)  # our own reader is there, and nobody else
    os.close(descriptor)
    tether.await_end()


def test_a_killed_guard_is_noticed_and_its_tree_ended(stage: Stage, repository: Repository) -> None:
    tether = stage.tether()
    run = stage.launch(f"exec 9>{tether.path}; {WORK} {SETSID_AND_DOUBLE_FORK} echo d >&9; sleep 1000", checkout=repository.checkout())
    tether.await_words(4)
    run.kill(run.pid_of("guard"))
    tether.await_end()
    outcome = run.end()
    assert (outcome.cause, outcome.succeeded, outcome.branch) == ("lost", False, None)
    assert repository.files(outcome.salvage_ref or "")["left"] == "unsaved"


def test_when_both_are_killed_recovery_finds_the_tree_by_its_mark(stage: Stage, repository: Repository) -> None:
    tether = stage.tether()
    script = f"exec 9>{tether.path}; {WORK} (trap '' TERM HUP; setsid sh -c 'echo b >&9; sleep 1000 & wait' &); echo a >&9; sleep 1000"
    run = stage.launch(script, checkout=repository.checkout())
    tether.await_words(2)
    guard = run.pid_of("guard")
    os.kill(run.process.pid, 19)  # SIGSTOP: or it would end the orphans itself
    run.kill(guard)
    run.kill()
    run.await_lock()
    outcome = stage.start(run.directory, "--recover").end()
    tether.await_end()
    assert outcome.cause == "lost"
    assert repository.files(outcome.salvage_ref or "")["left"] == "unsaved"


def test_recovery_of_a_cancelled_attempt_says_so(stage: Stage, repository: Repository) -> None:
    tether = stage.tether()
    run = stage.launch(f"exec 9>{tether.path}; {WORK} echo a >&9; sleep 1000", checkout=repository.checkout())
    tether.await_words(1)
    run.kill()
    run.post(Letter(9, "cancel"))
    run.await_lock()
    assert stage.start(run.directory, "--recover").end().cause == "cancelled"


def test_recovery_may_be_repeated(stage: Stage, repository: Repository) -> None:
    tether = stage.tether()
    run = stage.launch(f"exec 9>{tether.path}; {WORK} echo a >&9; sleep 1000", checkout=repository.checkout())
    tether.await_words(1)
    run.kill()
    run.await_lock()
    first = stage.start(run.directory, "--recover").end()
    assert stage.start(run.directory, "--recover").end() == first
    (run.directory / "outcome.json").unlink()
    again = stage.start(run.directory, "--recover").end()
    assert (again.cause, again.salvage_ref, again.tip) == ("lost", first.salvage_ref, first.tip)


@pytest.mark.parametrize("leave", ["nothing", "half a git directory", "the lock of a killed git"])
def test_recovery_copes_with_what_a_kill_leaves(stage: Stage, repository: Repository, leave: str) -> None:
    tether = stage.tether()
    run = stage.launch(f"exec 9>{tether.path}; {WORK} echo a >&9; sleep 1000", checkout=repository.checkout())
    tether.await_words(1)
    run.kill()
    run.await_lock()
    if leave == "nothing":
        (run.directory / "report.jsonl").write_text("")
    elif leave == "half a git directory":
        lines = (run.directory / "report.jsonl").read_text().splitlines(keepends=True)
        (run.directory / "report.jsonl").write_text(lines[0] + lines[1][:20])
    else:
        (run.directory / "git/index.lock").touch()
    outcome = stage.start(run.directory, "--recover").end()
    assert outcome.cause == "lost"
    assert (outcome.salvage_ref is not None) == (leave == "the lock of a killed git")


def test_a_branch_that_an_agent_pushed_itself_proves_no_success(stage: Stage, repository: Repository) -> None:
    """Its checkout's origin is the user's repository, and without a sandbox it may push there."""
    tether = stage.tether()
    run = stage.launch(f"exec 9>{tether.path}; {PUSHED}; echo pushed >&9; sleep 1000", checkout=repository.checkout())
    tether.await_words(1)
    assert repository.git("rev-parse", "--verify", "-q", repository.checkout().branch)
    run.kill()
    tether.await_end()
    run.await_lock()
    outcome = stage.start(run.directory, "--recover").end()
    assert (outcome.cause, outcome.succeeded, outcome.branch) == ("lost", False, None)
    assert repository.files(outcome.salvage_ref or "")["left"] == "unsaved"


def test_recovery_after_the_end_changes_nothing(stage: Stage) -> None:
    run = stage.launch("echo done")
    outcome = run.end()
    assert stage.start(run.directory, "--recover").wait() == 0
    assert outcome_of(run.directory) == outcome


def test_a_run_that_cannot_be_read_is_refused(stage: Stage, tmp_path: pathlib.Path) -> None:
    directory = stage.directory("true")
    (directory / "run.json").write_text("{}")
    assert stage.start(directory).wait() == 2
    assert not (directory / "report.jsonl").exists()


def test_what_a_dead_agent_had_said_used_and_cost_is_told_all_the_same(stage: Stage) -> None:
    lines = next(run for line in RUNS.read_text(encoding="utf-8").splitlines() if (run := json.loads(line))["case"] == "success")
    directory = stage.directory("p", agent_name="claude/haiku-4.5", session=rundir.AgentSession(lines["session"]), cost_basis="api")
    stdout = "".join(json.dumps(line) + "\n" for line in lines["lines"]) + '{"type":"assis'
    (directory / rundir.STDOUT_FILE).write_text(stdout, encoding="utf-8")
    (directory / rundir.REPORT_FILE).touch()
    outcome = stage.start(directory, "--recover").end()
    assert (outcome.cause, outcome.succeeded, outcome.result, outcome.failure) == ("lost", False, "Done.", None)
    assert (outcome.session_id, outcome.cost_usd, outcome.cost_basis) == (lines["session"], 0.0034, "api")
    assert (outcome.usage or {})["turns"] == 2
    assert (outcome.error_message or "").startswith("Its supervisor died")
