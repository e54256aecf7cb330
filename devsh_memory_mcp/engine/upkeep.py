"""What the runner keeps in order beside the work: the views and what other hands changed in them, base refs, old checkouts."""

import anyio
from anyio import to_thread

from devsh_memory_mcp.engine import garbage, reading
from devsh_memory_mcp.engine.desk import Desk
from devsh_memory_mcp.engine.dispatch import Dispatcher
from devsh_memory_mcp.engine.garbage import Collected
from devsh_memory_mcp.errors import Conflict, DevshError, InvalidRequest, JournalDamaged
from devsh_memory_mcp.ports import Clock, Decision
from devsh_memory_mcp.store.bookkeeping import exact_bookkeeping
from devsh_memory_mcp.store.views import Edit

_SHORTEST = 0.1  # seconds between two writings
_SHARE = 10  # times a writing's own cost
_COLLECT_EVERY = 3600.0
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0


async def keep_views(desk: Desk, dispatcher: Dispatcher, clock: Clock) -> None:
    """Writes the views whenever the journal has grown, at most a tenth of the time; exact when it is quiet.

    Whatever stands in the way (a full disk, a journal that is busy) stops these views and nothing else, and is tried again: the
    journal is the truth, and what another hand wrote waits in its file. A damaged journal ends all work on the orchestration.
    """
    trouble, pause = "", _FIRST_PAUSE
    while True:
        await desk.views_due.wait()
        desk.views_due = anyio.Event()
        try:
            await _write_views(desk, dispatcher, clock)
        except JournalDamaged:
            raise  # nobody can go on before it is mended
        except (OSError, DevshError) as error:
            if trouble != str(error):
                dispatcher.log(f"views of {desk.orchestration_id}: {error}")
            trouble = str(error)
            desk.views_due.set()
            await anyio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            continue
        trouble, pause = "", _FIRST_PAUSE
        await anyio.sleep(max(_SHORTEST, _SHARE * desk.views.cost))


async def _write_views(desk: Desk, dispatcher: Dispatcher, clock: Clock) -> None:
    state = (await desk.journal.read()).copy()
    if state.seq == desk.views_seq and exact_bookkeeping(desk.directory) is not None:
        desk.has_views.set()
        return  # and nobody else has written into them
    offset, waiting = desk.journal.offset, reading.waiting(state, desk.directory, clock.now())
    edit = await to_thread.run_sync(desk.views.write, state, offset, waiting)
    if edit is not None:
        await _take_in(desk, edit)
    desk.views_seq = state.seq  # not before: a runner does not leave while an edit waits
    desk.has_views.set()
    dispatcher.show(state.orchestration_id)
    dispatcher.wake(state.orchestration_id)


async def _take_in(desk: Desk, edit: Edit) -> None:
    """Journals what somebody wrote into the views. Where that cannot be done now, the next writing finds it again."""
    try:
        await desk.transact(lambda state, _now: Decision(edit.events(state), None))
    except (InvalidRequest, Conflict) as error:  # more than a commit holds, or a contradiction: it never could be
        why = error.message
        await desk.transact(lambda state, _now: Decision(edit.refusal(state, why), None))


async def collect_garbage(desk: Desk, dispatcher: Dispatcher, clock: Clock) -> None:
    """Removes what is no longer needed, now and then for as long as the runner lives."""
    told: set[str] = set()
    while True:
        try:
            collected = await garbage.collect(desk.journal, clock)
        except (OSError, DevshError) as error:
            collected = Collected(failures=[f"old checkouts of {desk.orchestration_id}: {error}"])
        failures = {*collected.failures, *(f"{each.path}: {each.failure}" for each in collected.removed if each.failure)}
        for failure in sorted(failures - told):
            dispatcher.log(failure)
        told = failures
        if collected.removed:
            dispatcher.wake(desk.orchestration_id)
        await anyio.sleep(_COLLECT_EVERY)
