"""A disk that is full: the agent is supervised to its end, and the end is told as soon as there is room."""

import pathlib
import subprocess

import pytest

from devsh_memory_mcp.shim import rundir
from tests.shim.stage import Repository, Stage


@pytest.fixture
def small_disk(tmp_path: pathlib.Path):  # type: ignore[no-untyped-def]
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(path)], check=False, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small tmpfs cannot be mounted here (root and CAP_SYS_ADMIN are needed): {mounted.stderr.strip()}")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_the_outcome_is_written_into_the_space_of_the_reserve(small_disk: pathlib.Path, stage: Stage) -> None:
    stage.root = small_disk
    run = stage.launch("ls ../reserve; head -c 100000000 /dev/zero; echo end")
    outcome = run.end()
    assert (outcome.cause, outcome.succeeded, outcome.stdout_bytes) == ("exit", True, 100000000 + 4 + len("../reserve\n"))
    assert (outcome.result or "").endswith("end\n")
    assert not (run.directory / rundir.RESERVE_FILE).exists()


def test_an_outcome_waits_for_room_on_a_full_disk(small_disk: pathlib.Path, stage: Stage, repository: Repository) -> None:
    stage.root = small_disk
    tether = stage.tether()
    script = f"exec 9>{tether.path}; rm ../reserve; echo made >made; cat /dev/zero >../ballast; echo full >&9; cat ../go"
    run = stage.launch(script, setup="mkfifo ../go", checkout=repository.checkout())
    tether.await_words(1)
    (run.directory / "go").write_text("go\n")
    tether.await_end()
    (run.directory / "ballast").unlink()
    outcome = run.end()
    assert outcome.succeeded, outcome
    assert repository.files(outcome.branch or "")["made"] == "made"
