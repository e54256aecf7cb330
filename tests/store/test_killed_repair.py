"""A repair that is killed at any of its system calls: another one comes to the same end, and nothing is lost."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from devsh_memory_mcp.domain.state import State
from devsh_memory_mcp.store.bookkeeping import VIEW_FILES
from devsh_memory_mcp.store.fsck import Fsck
from devsh_memory_mcp.store.journal import JOURNAL_FILE, fold_file
from tests.doubles.chance import counting
from tests.doubles.clock import StoppedClock
from tests.store.test_cut import bring_up_to_date, keep_lines
from tests.store.test_remains import told, write_run

CALLS = ("open", "write", "pwrite", "fsync", "fdatasync", "rename", "replace", "link", "unlink", "mkdir", "ftruncate", "fchmod")
KILLED = 9


def repair(directory: Path) -> None:
    Fsck(StoppedClock(), counting(), lambda _repository, _commits: None).repair(directory)


def killed_at(directory: Path, number: int) -> bool:
    """Repairs in a child that ends before its call of that number; whether it got so far."""
    child = os.fork()
    if child == 0:
        left = [number]
        for name in filter(lambda name: hasattr(os, name), CALLS):
            setattr(os, name, _counted(getattr(os, name), left))
        try:
            repair(directory)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == KILLED


def _counted(call: Callable[..., object], left: list[int]) -> Callable[..., object]:
    def counted(*given: object, **named: object) -> object:
        left[0] -= 1
        if left[0] == 0:
            os._exit(KILLED)
        return call(*given, **named)

    return counted


def known(state: State) -> dict[str, object]:
    """All that counts of a state: not the numbers of events, nor what was kept where."""
    return {task.id: (task.status, task.result, task.branch, task.totals, task.salvage_refs, task.attempt) for task in state.tasks.values()}


def codes(directory: Path, clock: StoppedClock) -> set[str]:
    return {finding.code for finding in Fsck(clock, counting(), lambda *_: None).check(directory) if not finding.is_note}


@pytest.mark.parametrize("lines", [(1, 2), (1, 2, 3, 4), ()])
async def test_a_repair_that_is_killed_anywhere_is_ended_by_the_next(directory: Path, clock: StoppedClock, lines: tuple[int, ...]) -> None:
    await told(directory, clock)
    write_run(directory)
    shutil.copytree(directory, aside := directory.parent / "whole")
    keep_lines(directory, *lines)
    views = {name: (directory / name).read_bytes() for name in (*VIEW_FILES, JOURNAL_FILE)}
    shutil.copytree(directory, before := directory.parent / "before")
    repair(directory)
    expected = known(fold_file(directory / JOURNAL_FILE))
    assert expected == known(fold_file(aside / JOURNAL_FILE))
    number = 0
    while True:
        number += 1
        shutil.rmtree(directory)
        shutil.copytree(before, directory)
        was_killed = killed_at(directory, number)
        if (directory / JOURNAL_FILE).is_file() and (directory / JOURNAL_FILE).read_bytes() != views[JOURNAL_FILE]:
            assert not {"journal_cut", "journal_damaged"} & codes(directory, clock), number
        repair(directory)
        assert known(fold_file(directory / JOURNAL_FILE)) == expected, number
        assert codes(directory, clock) == set(), number
        kept = {path.read_bytes() for path in directory.rglob("*") if path.is_file()}
        assert views["EVENTS.jsonl"] in kept, number
        assert all(views[name] in kept for name in VIEW_FILES), number
        assert not await bring_up_to_date(directory, clock), number
        if not was_killed:
            break
    assert number > 20
