"""How much of the disk an agent may come to hold: who holds more is ended, and a file that grows too long cannot be written on."""

import collections.abc
import os
import pathlib
import re
import signal
import time

import pytest

from devsh_memory_mcp.shim import footprint
from devsh_memory_mcp.shim.allowance import Allowance, pause_after
from devsh_memory_mcp.shim.bounds import InForce, Limits, in_words
from devsh_memory_mcp.shim.confinement import Confinement
from devsh_memory_mcp.shim.loop import Loop
from devsh_memory_mcp.shim.place import Place
from devsh_memory_mcp.shim.process import Door, Interrupted
from devsh_memory_mcp.shim.rundir import Letter, Outcome
from tests.doubles.walls import needs_sandbox
from tests.shim.stage import Repository, Stage
from tests.shim.warden import Warden

M = 1 << 20
TWO = Limits(disk=2 * M)
FULL = "head -c {size} /dev/zero >{name} 2>/dev/null;"
MANY = "for name in $(seq 400); do head -c 8192 /dev/zero >{where}/$name; done;"


def held(outcome: Outcome) -> float:
    """How many megabytes it was ended for."""
    assert (outcome.cause, outcome.succeeded, outcome.failure) == ("disk", False, None), outcome
    said = re.fullmatch(
        r"It was ended: .* held ([\d.]+) MB more than when it began, of which it has 2 MB; give it more with --disk\.( .*)?",
        outcome.error_message or "",
    )
    assert said is not None, outcome.error_message
    return float(said[1])


def test_an_agent_that_writes_too_many_files_is_ended_and_its_work_is_saved(stage: Stage, repository: Repository) -> None:
    repository.commit("vast", vast="x" * 5 * M)
    script = f"ln -s / root; ln -s {stage.root} all; mkdir many; {MANY.format(where='many')} sleep 1000"
    outcome = stage.run(script, checkout=repository.checkout(), limits=TWO)
    assert 2 <= held(outcome) < 4, "neither the checkout itself nor what links lead to"
    assert (outcome.error_message or "").startswith("It was ended: its checkout held ")
    assert outcome.branch is None
    assert len(repository.git("ls-tree", "-r", "--name-only", f"{outcome.salvage_ref}:many").split()) > 200
    assert outcome.limits == InForce(by="counting", disk=2 * M)
    assert in_words(outcome.limits) == "2 MB of disk (counting)"


@needs_sandbox
def test_in_a_sandbox_home_and_tmp_count_too(warden: Warden) -> None:
    script = " ".join(FULL.format(size=M - 8192, name=name) for name in ("here", "~/there", "/tmp/elsewhere"))
    outcome = warden.launch(f"{script} sleep 1000", confinement=Confinement(), limits=TWO, has_code=True).end()
    assert 2 <= held(outcome) < 3.5, "which it takes all three for"
    assert outcome.isolation == "bubblewrap"
    assert (outcome.error_message or "").startswith("It was ended: its checkout, HOME and /tmp held ")
    warden.take()
    assert len(warden.repository.git("show", f"{outcome.salvage_ref}:here")) == M - 8192


@pytest.mark.parametrize("walls", [None, pytest.param(Confinement(), marks=needs_sandbox)])
def test_a_file_that_grows_too_long_cannot_be_written_on_and_its_writer_hears_it(stage: Stage, walls: Confinement | None) -> None:
    script = (
        "dd if=/dev/zero of=file bs=64k count=40 2>&1 | grep -o 'File too large'; wc -c <file; rm file; head -c 1000000 /dev/zero >less"
    )
    outcome = stage.run(script, sandbox=walls, limits=TWO)
    assert (outcome.cause, outcome.succeeded, outcome.result) == ("exit", True, f"File too large\n{2 * M}\n")


def test_without_a_limit_the_same_runs_through(stage: Stage) -> None:
    outcome = stage.run(FULL.format(size=3 * M, name="file") + " wc -c <file")
    assert (outcome.cause, outcome.result, outcome.limits) == ("exit", f"{3 * M}\n", None)


def test_a_setup_is_held_to_it_and_what_it_made_is_not_the_agents(stage: Stage) -> None:
    outcome = stage.run("true", setup=f"{MANY.format(where='.')} sleep 1000", limits=TWO)
    assert held(outcome) >= 2
    three = " ".join(FULL.format(size=M, name=f"from-setup{number}") for number in range(3))
    outcome = stage.run(f"{MANY.format(where='.')} sleep 1000", setup=three, limits=TWO)
    assert 2 <= held(outcome) < 4


def test_holes_that_a_setup_made_are_not_filled_by_the_agent_for_nothing(stage: Stage) -> None:
    holes = "for name in $(seq 50); do truncate -s 2M hole$name; done"
    outcome = stage.run("for name in $(seq 30); do head -c 1000000 /dev/zero >hole$name; done; sleep 1000", setup=holes, limits=TWO)
    assert held(outcome) >= 2


def test_a_verification_is_held_to_it_together_with_what_the_agent_left(stage: Stage, repository: Repository) -> None:
    verify = f"{FULL.format(size=M, name='second')} sleep 1000"
    script = FULL.format(size=M + M // 2, name="first")
    outcome = stage.run(script, checkout=repository.checkout(), verify=verify, limits=TWO)
    assert held(outcome) >= 2
    assert (outcome.error_message or "").endswith(" Its work was being verified.")
    assert (outcome.branch, outcome.verified) == (None, None)
    assert sorted(repository.files(outcome.salvage_ref or "")) == [".gitignore", "first", "readme", "src/code"]


def test_it_can_be_cancelled_and_lost_as_without_a_limit(stage: Stage) -> None:
    tether = stage.tether()
    run = stage.launch(f"exec 9>{tether.path}; echo a >&9; sleep 1000", limits=TWO, cancel_grace=0.05)
    tether.await_words(1)
    run.post(Letter(1, "cancel"))
    stage.bell.ring()
    assert run.end().cause == "cancelled"
    tether.await_end()
    tether = stage.tether()
    run = stage.launch(f"exec 9>{tether.path}; echo a >&9; sleep 1000", limits=TWO)
    tether.await_words(1)
    run.kill()
    run.wait()
    run.await_lock()
    outcome = stage.start(run.directory, "--recover").end()
    assert (outcome.cause, outcome.limits) == ("lost", InForce(by="counting", disk=2 * M))


def test_looks_are_rarer_where_they_take_longer_but_never_too_rare() -> None:
    assert [pause_after(seconds) for seconds in (0.0, 0.001, 0.5, 14.0, 60.0, 600.0)] == [2.0, 2.0, 10.0, 280.0, 300.0, 300.0]


@pytest.fixture
def place(tmp_path: pathlib.Path, signals: None) -> Place:
    (tmp_path / "workspace").mkdir()
    loop, log = Loop(), os.open(tmp_path / "shim.log", os.O_WRONLY | os.O_CREAT, 0o600)
    return Place(str(tmp_path), log, loop, Door(loop, log), "0")


def test_what_was_there_may_go_and_make_room(place: Place, tmp_path: pathlib.Path) -> None:
    over: list[str] = []
    (tmp_path / "workspace/old").write_bytes(b"x" * 2 * M)
    allowance = Allowance(place, M, over.append, over.append)
    allowance.begin()
    (tmp_path / "workspace/new").write_bytes(b"x" * 2 * M)
    (tmp_path / "workspace/old").unlink()
    (tmp_path / "workspace/more").write_bytes(b"x" * 2 * M)
    allowance.watch()
    assert place.loop.wait(lambda: bool(over))
    assert over == ["disk"]
    assert allowance.why_ended().startswith("It was ended: its checkout held 2 MB more")
    allowance.rest()


def test_a_count_that_dies_is_a_warning_and_the_next_one_is_soon(place: Place, tmp_path: pathlib.Path) -> None:
    """Whether by its alarm, by the kernel for memory, or otherwise: it is killed the first two times."""
    counts = tmp_path / "counts"
    counts.touch()

    def dying(roots: collections.abc.Sequence[str], most: float) -> int:
        counts.write_bytes(counts.read_bytes() + b".")
        if counts.stat().st_size < 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return footprint.held(roots, most)

    over: list[str] = []
    warnings: list[str] = []
    allowance = Allowance(place, M, over.append, warnings.append, dying)
    allowance.begin()
    (tmp_path / "workspace/new").write_bytes(b"x" * 2 * M)
    allowance.watch()
    assert place.loop.wait(lambda: bool(over), time.monotonic() + 60)
    allowance.rest()
    died = "What its checkout held could not be counted (the process that counted it has died)"
    assert warnings == [f"{died}, so that its limit of 1 MB was not always kept."]
    assert over == ["disk"]


def test_a_count_is_given_up_when_the_attempt_is_to_end(place: Place) -> None:
    place.door.is_unwanted = lambda: True
    with pytest.raises(Interrupted):
        Allowance(place, M, print, print).begin()
