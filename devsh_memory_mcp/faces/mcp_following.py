"""The journals that subscribers are told of, read as they grow."""

import logging
from collections.abc import Awaitable, Callable

import anyio
from anyio.abc import TaskGroup, TaskStatus

from devsh_memory_mcp.errors import DevshError, NotFound
from devsh_memory_mcp.faces import mcp_resources
from devsh_memory_mcp.ports import Change, Orchestration, Orchestrations

_log = logging.getLogger(__name__)


class Following:
    """The journals of one caller. `is_wanted` says which addresses somebody wants to know of, `tell` is called with each that changed."""

    def __init__(self, orchestrations: Orchestrations, is_wanted: Callable[[str], bool], tell: Callable[[str], Awaitable[None]]) -> None:
        self._orchestrations = orchestrations
        self._is_wanted = is_wanted
        self._tell = tell
        self._tasks: TaskGroup | None = None
        self._followed: set[str] = set()
        self._current: str | None = None
        self._is_current_missing = False
        self._changed: dict[str, None] = {}
        self._has_changed = anyio.Event()

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Tells what has changed, until it is ended. What changes while it tells comes as one."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            task_status.started()
            while True:
                await self._has_changed.wait()
                self._has_changed = anyio.Event()
                changed, self._changed = self._changed, {}
                for uri in changed:
                    await self._tell(uri)

    def end(self) -> None:
        """Reads no more."""
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()

    async def add(self, uri: str) -> None:
        """Follows the journal that an address is about, from this moment on. NotFound for an id that no task has."""
        any_id = mcp_resources.id_in(uri)
        if any_id:
            orchestration = await self._orchestrations.holding(any_id)
            self._start(orchestration, await orchestration.position())
        elif self._current is None:
            self._is_current_missing = True
            await self.look_again(is_new=False)

    async def look_again(self, *, is_new: bool = True) -> None:
        """Follows the caller's own orchestration where it is there by now; one that `is_new` from its beginning."""
        if not self._is_current_missing:
            return
        try:
            orchestration = await self._orchestrations.current()
            position = 0 if is_new else await orchestration.position()
        except (DevshError, OSError) as error:
            if is_new or isinstance(error, NotFound):
                return  # whoever called has his answer, and the next call looks again
            raise
        self._is_current_missing, self._current = False, orchestration.orchestration_id
        self._start(orchestration, position)

    def _start(self, orchestration: Orchestration, position: int) -> None:
        if orchestration.orchestration_id not in self._followed and self._tasks is not None:
            self._followed.add(orchestration.orchestration_id)
            self._tasks.start_soon(self._read, orchestration, position)

    async def _read(self, orchestration: Orchestration, position: int) -> None:
        try:
            async for change in orchestration.changes(position):
                is_current = orchestration.orchestration_id == self._current
                self._changed |= dict.fromkeys(filter(self._is_wanted, _touched(change, is_current=is_current)))
                if self._changed:
                    self._has_changed.set()
        except (DevshError, OSError) as error:
            self._followed.discard(orchestration.orchestration_id)
            _log.warning("Subscribers of %s are told no more: %s", orchestration.orchestration_id, error)


def _touched(change: Change, *, is_current: bool) -> list[str]:
    """The addresses that a change is about: those of its task, and those of the whole where it is the caller's own."""
    row = change.task
    ids = {row.orchestration_task_id, row.task_id, row.task_run_id} if row else set()
    whole = mcp_resources.of_all() if is_current else []
    return [*whole, *(uri for name in ids for uri in mcp_resources.of_task(name))]
