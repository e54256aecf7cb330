"""A desk is closed by what goes wrong on it, with all that was begun there, and the runner opens it again where that may pass."""

import errno
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio import lowlevel

from devsh_memory_mcp.engine.desk import Attempt, Desk, Fenced
from devsh_memory_mcp.engine.desks import LAUNCHING, Desks
from devsh_memory_mcp.errors import JournalDamaged
from devsh_memory_mcp.shim.rundir import FORMAT, Run
from tests.doubles.memory_journal import MemoryJournal

FAILING = OSError(errno.EIO, "Input/output error")


class Closing(MemoryJournal):
    is_closed = False

    async def aclose(self) -> None:
        self.is_closed = True


def new_desk() -> Desk:
    return Desk("orch_1", Path("/nowhere"), Closing(), None, "rn_1", lambda: None)  # type: ignore[arg-type]


def attempt(number: int) -> Attempt:
    run = Run(FORMAT, "orch_1", f"ns{number}", f"tr_{number}", 1, "shell/bash", "true", {}, "/nowhere", "socket", ())
    return Attempt(run.orchestration_task_id, 1, f"/nowhere/{number}", run)


async def fail(error: Exception) -> None:
    raise error


async def test_what_fails_ends_all_that_was_begun_there_gives_turns_back_and_closes_the_journal() -> None:
    desks, desk, attempts = Desks(print), new_desk(), [attempt(number) for number in range(LAUNCHING)]
    ended: list[str] = []

    async def stay() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("stayed")

    async def take_over() -> None:
        desks.begin(desk, stay)
        for each in attempts:
            desks.add(desk, each)
            await desks.await_turn(each)
        await lowlevel.checkpoint()
        desks.begin(desk, fail, FAILING)

    with anyio.fail_after(5):
        assert await desks.keep(desk, take_over) == [FAILING]
        assert (ended, desks.open, desks.attempts, desk.journal.is_closed) == (["stayed"], {}, {}, True)  # type: ignore[attr-defined]
        await desks.await_turn(attempts[0])
    desks.begin(desk, fail, FAILING)  # by somebody who still had it; nothing is begun
    assert desks.of(attempts[0]) is None


async def test_what_fails_for_somebody_who_has_other_desks_closes_that_one_and_hangs_up_its_lines() -> None:
    desks, desk = Desks(print), new_desk()
    kept: list[list[Exception]] = []

    async def keep() -> None:
        kept.append(await desks.keep(desk, take_over))

    async def take_over() -> None:
        desks.begin(desk, anyio.sleep_forever)  # as the views are kept

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keep)
            while not desks.open:
                await lowlevel.checkpoint()
            with anyio.CancelScope() as line:
                desk.visitors.add(line)
                assert await desks.alone(desk, lowlevel.checkpoint)
                assert not await desks.alone(desk, partial(fail, FAILING))
                await anyio.sleep_forever()
    assert (kept, line.cancelled_caught) == ([[FAILING]], True)


async def test_a_runner_that_was_replaced_is_told_so_whatever_else_went_wrong() -> None:
    desks, desk = Desks(print), new_desk()

    async def take_over() -> None:
        desks.begin(desk, fail, Fenced("another one"))

    with anyio.fail_after(5), pytest.RaisesGroup(Fenced):
        await desks.keep(desk, take_over)


@pytest.mark.parametrize(
    ("failures", "tries", "is_left_alone"),
    [([], 1, False), ([FAILING, FAILING], 3, False), ([JournalDamaged("line 3")], 1, True), ([FAILING, KeyError("x")], 2, True)],
    ids=["none", "what passes", "what a person has to mend", "a fault of ours"],
)
async def test_what_may_pass_is_tried_again_and_the_rest_is_left_for_the_next_ring(
    failures: list[Exception], tries: int, is_left_alone: bool
) -> None:
    said: list[str] = []
    desks, opened, left, made = Desks(said.append, again=0.0), anyio.Event(), [*failures], []

    async def take_over(desk: Desk) -> None:
        made.append(desk)
        if left:
            raise left.pop(0)

    assert desks.take("orch_1")
    with anyio.fail_after(5):
        await desks.serve("orch_1", new_desk, take_over, opened)
    assert (len(made), opened.is_set(), desks.abandoned, desks.serving) == (tries, True, {"orch_1"} if is_left_alone else set(), {})
    assert any("is left alone" in line for line in said) == is_left_alone
    assert len([line for line in said if "cannot be worked on now" in line]) == tries - 1


async def test_a_ring_does_not_wait_for_the_pause_to_end() -> None:
    desks, opened, made = Desks(print, again=1e6), anyio.Event(), []

    async def take_over(desk: Desk) -> None:
        made.append(desk)
        if len(made) == 1:
            raise FAILING

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            assert desks.take("orch_1")
            tasks.start_soon(desks.serve, "orch_1", new_desk, take_over, opened)
            await opened.wait()
            assert not desks.take("orch_1"), "it is opened a second time"
    assert len(made) == 2


async def test_one_that_is_still_being_closed_is_not_opened_beside_it_and_a_ring_meanwhile_is_heard() -> None:
    desks, opened, made, closing, closed = Desks(print, again=1e6), anyio.Event(), [], anyio.Event(), anyio.Event()

    async def take_over(desk: Desk) -> None:
        made.append(desk)
        if len(made) == 1:
            desk.journal.aclose = slowly  # type: ignore[method-assign]
            raise JournalDamaged("line 3")

    async def slowly() -> None:
        closing.set()
        await closed.wait()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            assert desks.take("orch_1")
            tasks.start_soon(desks.serve, "orch_1", new_desk, take_over, opened)
            await closing.wait()
            assert (desks.open, desks.take("orch_1"), desks.are_settled) == ({}, False, False)
            closed.set()
    assert (len(made), desks.serving) == (2, {})
