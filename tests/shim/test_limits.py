"""What an agent may use, kept by the kernel's own groups. A machine that lets none be made says so, and skips."""

import collections.abc
import os
import pathlib

import pytest

from devsh_memory_mcp.shim.bounds import InForce, Limits
from devsh_memory_mcp.shim.cgroup import PREFIX, Files, find_mounts
from devsh_memory_mcp.shim.confinement import Confinement
from devsh_memory_mcp.shim.limits import Cage
from devsh_memory_mcp.shim.rundir import Outcome
from tests.doubles.walls import needs_sandbox
from tests.shim.stage import BOMB, RUNS, SETSID_AND_DOUBLE_FORK, Repository, Stage
from tests.shim.warden import Warden

M = 1 << 20
FAT = "python3 -c 'x = b\"x\" * (500 << 20); print(len(x))'"
FOUR = """python3 - <<'END'
import os, sys, signal
for _ in range(4):
    if not os.fork():
        os.setsid()
        x = b"x" * (80 << 20)
        signal.pause()
os.wait()
sys.exit(3)
END
"""


def _missing() -> str | None:
    with Cage.on_trial(Limits(memory=64 * M, cpus=1.0)) as (_, missing):
        return None if missing is None else missing.why


_WHY = _missing()
needs_groups = pytest.mark.skipif(_WHY is not None, reason=str(_WHY))


def groups() -> set[str]:
    """The groups of our attempts."""
    points = {mount.point for mount in find_mounts(Files())}
    return {str(path) for point in points for path in pathlib.Path(point).glob(f"**/{PREFIX}{RUNS}*")}


@pytest.fixture(autouse=True)
def nothing_is_left() -> collections.abc.Iterator[None]:
    before = groups()
    yield
    assert groups() <= before


def ended_for_memory(outcome: Outcome) -> bool:
    return outcome.cause == "oom" and not outcome.succeeded


@needs_groups
def test_an_agent_that_takes_too_much_memory_is_ended_and_that_is_what_is_said(stage: Stage) -> None:
    outcome = stage.run(f"exec {FAT}", limits=Limits(memory=200 * M))
    assert (outcome.cause, outcome.succeeded, outcome.signal, outcome.failure) == ("oom", False, 9, None)
    assert outcome.error_message == "It used more than its 200 MB of memory and was ended; give it more with --memory."
    assert outcome.limits is not None
    assert (outcome.limits.memory, outcome.limits.memory_each, outcome.limits.cpus) == (200 * M, None, None)
    assert outcome.limits.by.startswith("cgroup v")


def test_without_a_limit_the_same_runs_through(stage: Stage) -> None:
    outcome = stage.run(FAT)
    assert (outcome.cause, outcome.result, outcome.limits) == ("exit", "524288000\n", None)


@needs_groups
def test_what_all_processes_use_counts_together_wherever_they_fled(stage: Stage) -> None:
    outcome = stage.run(FOUR, limits=Limits(memory=200 * M))
    assert ended_for_memory(outcome)
    assert outcome.exit_code != 3 or outcome.error_message == (
        "It failed after a process of its used more than its 200 MB of memory and was ended; give it more with --memory."
    )


@needs_groups
def test_an_agent_that_bears_the_loss_of_a_process_succeeds_with_a_warning(stage: Stage) -> None:
    outcome = stage.run(f"{FAT}; echo went on", limits=Limits(memory=200 * M))
    assert (outcome.cause, outcome.succeeded, outcome.result) == ("exit", True, "went on\n")
    assert outcome.warnings == ("Of its processes some were ended, since together they used more than its 200 MB of memory.",)


@needs_groups
def test_the_work_of_an_agent_that_was_ended_for_memory_is_saved(stage: Stage, repository: Repository) -> None:
    outcome = stage.run(f"echo new >made; exec {FAT}", checkout=repository.checkout(), limits=Limits(memory=200 * M))
    assert ended_for_memory(outcome)
    assert repository.git("show", f"{outcome.salvage_ref}:made") == "new"


@needs_groups
@needs_sandbox
def test_in_a_sandbox_it_is_the_same_and_its_walls_stand(warden: Warden) -> None:
    limits = Limits(memory=200 * M, required=True)
    outcome = warden.launch(f"exec {FAT}", limits=limits, confinement=Confinement()).end()
    if outcome.cause == "spawn":
        assert warden.is_ordinary
        pytest.skip(f"an ordinary user makes no cgroup here: {outcome.error_message}")
    assert (outcome.cause, outcome.isolation, outcome.signal) == ("oom", "bubblewrap", 9)
    assert outcome.limits is not None
    assert outcome.limits.memory == 200 * M


@needs_groups
def test_a_fork_bomb_comes_to_an_end_without_a_sandbox_too(stage: Stage) -> None:
    outcome = stage.run(BOMB, limits=Limits(memory=400 * M, processes=100))
    if outcome.limits is None or outcome.limits.processes is None:
        pytest.skip("this machine's groups do not count processes")
    assert int(outcome.result or "0") < 100
    assert stage.run(BOMB).result == "1000\n"


@needs_groups
def test_processors_are_shared_out(stage: Stage) -> None:
    """By what the kernel says that the agent had, not by a clock."""
    used = "cat /proc/self/cgroup; python3 -c 'import time; [0 for n in iter(time.process_time, -1) if n > 0.3 and exit()]'"
    outcome = stage.run(used, limits=Limits(cpus=0.5))
    assert outcome.limits is not None
    assert outcome.limits.cpus == 0.5
    assert outcome.active_ms is not None
    assert outcome.active_ms >= 400  # 0.3 s of work, of which it gets half at a time
    assert f"{PREFIX}tr_" in (outcome.result or "")


@needs_groups
@pytest.mark.parametrize("victim", ["shim", "guard"])
def test_nothing_is_left_when_shim_or_guard_are_killed(stage: Stage, victim: str) -> None:
    tether = stage.tether()
    script = f"exec 9>{tether.path}; {SETSID_AND_DOUBLE_FORK} echo d >&9; sleep 1000"
    run = stage.launch(script, limits=Limits(memory=400 * M), cancel_grace=0.05)
    tether.await_words(4)
    assert groups()
    run.kill(run.process.pid if victim == "shim" else run.pid_of("guard"))
    if victim == "shim":
        run.wait()
        run.await_lock()
        run = stage.start(run.directory, "--recover")
    outcome = run.end()
    tether.await_end()
    assert outcome.cause == "lost"
    assert outcome.limits is not None
    assert outcome.limits.memory == 400 * M


@needs_groups
@pytest.mark.parametrize("is_cut", [False, True])
def test_who_hides_from_a_recovery_is_found_in_his_group(stage: Stage, *, is_cut: bool) -> None:
    """Without the mark, in another session and with nobody above: only the kernel's list has him, even where the report has gone."""
    tether = stage.tether()
    script = f"exec 9>{tether.path}; env -i setsid sh -c 'echo hidden >&9; exec sleep 1000' & sleep 1000"
    run = stage.launch(script, limits=Limits(memory=400 * M))
    tether.await_words(1)
    guard = run.pid_of("guard")
    os.kill(guard, 19)
    run.kill()
    run.kill(guard)
    run.wait()
    run.await_lock()
    if is_cut:
        (run.directory / "report.jsonl").write_text("")
    assert stage.start(run.directory, "--recover").end().cause == "lost"
    tether.await_end()


def test_a_required_limit_that_cannot_be_kept_ends_the_attempt_before_it_began(stage: Stage) -> None:
    outcome = stage.run("echo ran", limits=Limits(memory=1, required=True))  # in that little the kernel lets nobody
    assert (outcome.cause, outcome.result) == ("spawn", None)
    assert "Nothing here keeps it to 1 bytes of memory (only each process alone): " in (outcome.error_message or "")
    assert "What gets it: " in (outcome.error_message or "")


def test_who_may_make_no_group_has_each_process_limited_and_is_told(warden: Warden) -> None:
    outcome = warden.run(FAT, limits=Limits(memory=200 * M))
    if outcome.limits is None or outcome.limits.memory is not None:
        pytest.skip("who is asked may make groups")
    assert (outcome.limits, outcome.cause, outcome.exit_code) == (InForce(memory_each=200 * M, by="rlimit"), "exit", 1)
    assert any(warning.startswith("Nothing here keeps it to 200 MB of memory (only each process alone): ") for warning in outcome.warnings)
    stderr = warden.stage.root / "run1/stderr.log"
    assert "MemoryError" in stderr.read_text()
