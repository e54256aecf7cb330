"""What the runner keeps in order beside the work: the views and what other hands changed in them, base refs, old checkouts."""

import anyio
from anyio import to_thread

from devsh_memory_mcp.engine import garbage, reading
from devsh_memory_mcp.engine.desk import Desk
from devsh_memory_mcp.engine.dispatch import Dispatcher
from devsh_memory_mcp.errors import DevshError, Unavailable
from devsh_memory_mcp.ports import Clock, Decision
from devsh_memory_mcp.store.bookkeeping import exact_bookkeeping
from devsh_memory_mcp.store.views import Edit

_SHORTEST = 0.1  # seconds between two writings
_SHARE = 10  # times a writing's own cost
_COLLECT_EVERY = 3600.0
_AGAIN = 1.0


async def keep_views(desk: Desk, dispatcher: Dispatcher, clock: Clock) -> None:
    """Writes the views whenever the journal has grown, at most a tenth of the time; exact when it is quiet."""
    while True:
        await desk.views_due.wait()
        desk.views_due = anyio.Event()
        try:
            await _write_views(desk, dispatcher, clock)
        except OSError as error:  # a full disk: the journal is the truth, the views follow when they can
            dispatcher.log(f"views of {desk.orchestration_id}: {error}")
            desk.views_due.set()
            await anyio.sleep(_AGAIN)
        await anyio.sleep(max(_SHORTEST, _SHARE * desk.views.cost))


async def _write_views(desk: Desk, dispatcher: Dispatcher, clock: Clock) -> None:
    state = (await desk.journal.read()).copy()
    if state.seq == desk.views_seq and exact_bookkeeping(desk.directory) is not None:
        return  # and nobody else has written into them
    offset, waiting = desk.journal.offset, reading.waiting(state, desk.directory, clock.now())
    edit = await to_thread.run_sync(desk.views.write, state, offset, waiting)
    desk.views_seq = state.seq
    if edit is not None:
        await _take_in(desk, edit)
    dispatcher.wake(state.orchestration_id)


async def _take_in(desk: Desk, edit: Edit) -> None:
    """Journals what somebody wrote into the views; it is gone from them, so a full disk is waited for."""
    while True:
        try:
            await desk.transact(lambda state, _now: Decision(edit.events(state), None))
            return
        except Unavailable:
            await anyio.sleep(_AGAIN)


async def collect_garbage(desk: Desk, dispatcher: Dispatcher, clock: Clock) -> None:
    """Removes what is no longer needed, now and then for as long as the runner lives."""
    while True:
        try:
            removed = await garbage.collect(desk.journal, clock)
        except (OSError, DevshError) as error:
            dispatcher.log(f"old checkouts of {desk.orchestration_id}: {error}")
            removed = []
        if removed:
            dispatcher.wake(desk.orchestration_id)
        await anyio.sleep(_COLLECT_EVERY)
