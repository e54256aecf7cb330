"""An agent's success is a claim until the caller's own command has passed in its checkout."""

import pytest

from devsh_memory_mcp.shim.rundir import Letter, Outcome
from tests.shim.stage import Launched, Repository, Stage

WORK = "echo work >made"
FILES = {".gitignore", "readme", "src/code", "made"}


def verified(outcome: Outcome) -> tuple[str, bool, bool | None]:
    return outcome.cause, outcome.succeeded, outcome.verified


def in_verification(stage: Stage, repository: Repository, **fields: object) -> Launched:
    """A shim whose verification is at work and would stay so."""
    tether = stage.tether()
    verify = f"echo junk >by-product; exec 9>{tether.path}; echo here >&9; exec sleep 1000"
    run = stage.launch(WORK, checkout=repository.checkout(), verify=verify, **fields)
    tether.await_words(1)
    return run


def test_work_that_passes_is_published_without_what_its_verification_wrote(stage: Stage, repository: Repository) -> None:
    run = stage.launch(WORK, checkout=repository.checkout(), verify="grep -q work made && echo looked | tee by-product")
    outcome = run.end()
    assert verified(outcome) == ("exit", True, True)
    assert set(repository.files(outcome.branch or "")) == FILES
    assert repository.git("rev-parse", outcome.branch or "") == outcome.tip == repository.git("rev-parse", outcome.salvage_ref or "")
    assert (run.directory / "verify.log").read_text() == "looked\n"
    assert [report.type for report in run.reports()][-4:] == ["agent_started", "verifying", "guard", "ended"]


def test_work_that_does_not_pass_is_saved_and_not_published(stage: Stage, repository: Repository) -> None:
    outcome = stage.run(f"{WORK}; echo done", checkout=repository.checkout(), verify="echo junk >by-product; echo 3 wrong; exit 4")
    assert verified(outcome) == ("verify", False, False)
    assert (outcome.exit_code, outcome.result, outcome.failure) == (0, "done\n", None)
    assert outcome.error_message == "The verification failed (exit code 4): 3 wrong"
    assert outcome.branch is None
    assert set(repository.files(outcome.salvage_ref or "")) == FILES
    assert repository.git("branch", "--list", "dev/*") == ""


@pytest.mark.parametrize("prompt", ["exit 3", "kill -TERM $$"])
def test_a_failure_of_the_agent_is_not_verified(stage: Stage, prompt: str) -> None:
    run = stage.launch(prompt, verify="true")
    assert verified(run.end()) == ("exit", False, None)
    assert not (run.directory / "verify.log").exists()


def test_nothing_is_verified_that_nobody_asked_for(stage: Stage) -> None:
    assert verified(stage.run("true")) == ("exit", True, None)


def test_a_cancel_ends_a_verification_and_its_tree(stage: Stage, repository: Repository) -> None:
    run = in_verification(stage, repository)
    run.post(Letter(1, "cancel"))
    stage.bell.ring()
    outcome = run.end()
    assert (*verified(outcome), outcome.branch) == ("cancelled", False, None, None)
    assert outcome.error_message == "It was cancelled. Its work was being verified."
    assert set(repository.files(outcome.salvage_ref or "")) == FILES


def test_a_verification_has_what_its_agent_left_of_the_time(stage: Stage, repository: Repository) -> None:
    outcome = in_verification(stage, repository, timeout=1.0, timeout_grace=0.1).end()
    assert (*verified(outcome), outcome.branch) == ("timeout", False, None, None)
    assert outcome.error_message == "It was ended after 1 s, its time limit. Its work was being verified."


def test_a_shim_that_dies_in_a_verification_leaves_work_that_is_saved_and_not_verified(stage: Stage, repository: Repository) -> None:
    run = in_verification(stage, repository)
    run.kill()
    run.await_lock()
    outcome = stage.start(run.directory, "--recover").end()
    assert (*verified(outcome), outcome.branch) == ("lost", False, None, None)
    assert (outcome.exit_code, outcome.error_message) == (0, "Its supervisor died while the work was being verified.")
    assert set(repository.files(outcome.salvage_ref or "")) == FILES
    (run.directory / "outcome.json").unlink()
    assert stage.start(run.directory, "--recover").end()._replace(ended_at="") == outcome._replace(ended_at="")


def test_a_shim_that_dies_in_a_cancelled_verification_was_cancelled(stage: Stage, repository: Repository) -> None:
    run = in_verification(stage, repository)
    run.kill()
    run.post(Letter(1, "cancel"))
    run.await_lock()
    assert stage.start(run.directory, "--recover").end().cause == "cancelled"


def test_a_killed_guard_of_a_verification_is_no_verdict(stage: Stage, repository: Repository) -> None:
    run = in_verification(stage, repository)
    run.kill(run.pid_of("guard"))
    assert verified(run.end()) == ("lost", False, None)


def test_what_was_verified_is_published_by_a_recovery_as_it_was_verified(stage: Stage, repository: Repository) -> None:
    run = stage.launch(WORK, checkout=repository.checkout(), verify="echo junk >by-product")
    branch = run.end().branch or ""
    repository.git("branch", "-D", branch)
    (run.directory / "outcome.json").unlink()
    outcome = stage.start(run.directory, "--recover").end()
    assert (*verified(outcome), outcome.branch) == ("exit", True, True, branch)
    assert set(repository.files(branch)) == FILES


def test_an_agent_that_prints_nothing_for_too_long_is_ended(stage: Stage, repository: Repository) -> None:
    outcome = stage.run(f"{WORK}; exec sleep 1000", checkout=repository.checkout(), stall_timeout=0.3, timeout_grace=0.1)
    assert (outcome.cause, outcome.succeeded) == ("stalled", False)
    assert outcome.error_message == "It was ended: it had printed nothing for 0.3 s."
    assert repository.files(outcome.salvage_ref or "")["made"] == "work"


def test_output_keeps_an_agent_alive_however_little_of_it(stage: Stage) -> None:
    script = "for n in 1 2 3 4 5 6; do sleep 0.4; printf .; done"
    outcome = stage.run(script, stall_timeout=2.0)
    assert (outcome.cause, outcome.result) == ("exit", "......")


def test_how_long_the_agent_itself_ran_is_told_beside_the_whole(stage: Stage) -> None:
    outcome = stage.run("true", setup="true", verify="true")
    assert outcome.active_ms is not None
    assert 0 <= outcome.active_ms <= outcome.duration_ms
    assert stage.run("true", setup="false").active_ms is None
