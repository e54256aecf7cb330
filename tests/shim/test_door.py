"""The shim's own child processes: bounded by their main process, whatever that leaves behind."""

import collections.abc
import os
import pathlib
import signal

import pytest

from devsh_memory_mcp.shim.loop import Loop
from devsh_memory_mcp.shim.process import CommandFailed, Door, Interrupted
from tests.doubles.processes import await_end

ENVIRONMENT = {"PATH": os.defpath}


@pytest.fixture
def door(tmp_path: pathlib.Path, signals: None) -> collections.abc.Iterator[Door]:
    log = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    yield Door(Loop(), log)
    os.close(log)


def test_a_process_left_behind_with_the_pipes_does_not_hold_up_the_command(door: Door) -> None:
    finished = door.run(["sh", "-c", "setsid sleep 1000 & echo $!"], ENVIRONMENT, seconds=10)
    os.kill(int(finished.text), signal.SIGKILL)
    assert finished.code == 0


def test_a_command_over_its_time_fails_with_all_of_its_group(door: Door) -> None:
    with pytest.raises(CommandFailed, match="longer than"):
        door.run(["sh", "-c", "sleep 1000; true"], ENVIRONMENT, seconds=0.01)


def test_who_of_a_group_does_not_hear_is_ended_with_the_rest(door: Door, tmp_path: pathlib.Path) -> None:
    deaf, door.is_unwanted = tmp_path / "deaf", lambda: deaf.exists() and bool(deaf.read_text())
    deaf_one = f"sh -c 'trap \"\" TERM; echo $$ >{deaf}; echo; while :; do sleep 1000; done'"
    with pytest.raises(Interrupted):
        door.run(["sh", "-c", f"{deaf_one} & wait"], ENVIRONMENT)
    assert await_end(int(deaf.read_text()), 5.0)


def test_a_command_that_became_unwanted_is_given_up(door: Door) -> None:
    door.is_unwanted = lambda: True
    with pytest.raises(Interrupted):
        door.run(["sleep", "1000"], ENVIRONMENT)


def test_a_command_that_is_given_up_may_take_its_locks_away(door: Door, tmp_path: pathlib.Path) -> None:
    lock = tmp_path / "lock"
    door.is_unwanted = lock.exists
    with pytest.raises(Interrupted):
        door.run(["sh", "-c", f"trap 'rm {lock}; exit' TERM; touch {lock}; echo; sleep 1000 & wait"], ENVIRONMENT)
    assert not lock.exists()
