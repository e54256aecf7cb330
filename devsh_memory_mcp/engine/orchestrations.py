"""Which orchestration is meant: a project's, a session's, a named one, or the one that holds a task.

An orchestration belongs to a project (the git root, else the directory). A head with a session has its own; a shell, and heads of
clients that name no session, share the project's and begin a new one when all its tasks have been over for an hour.
"""

from dataclasses import replace
from datetime import timedelta
from functools import partial

from anyio import to_thread

from devsh_memory_mcp.config import Caller
from devsh_memory_mcp.domain.events import OrchestrationCreated, SettingsChanged
from devsh_memory_mcp.domain.names import HEAD
from devsh_memory_mcp.domain.state import State
from devsh_memory_mcp.engine.instructions import open_led
from devsh_memory_mcp.engine.preparation import Preparation
from devsh_memory_mcp.engine.rehearsal import Spawning, rehearse
from devsh_memory_mcp.engine.service import LocalOrchestration
from devsh_memory_mcp.engine.sites import Sites
from devsh_memory_mcp.errors import InvalidId, NotAllowed, NotFound
from devsh_memory_mcp.ports import Clock, Decision
from devsh_memory_mcp.store.reader import JOURNAL_FILE, fold_file
from devsh_memory_mcp.store.root import MIRRORS, Found, MemoryRoot

STALE_AFTER = timedelta(hours=1)


def recognised(root: MemoryRoot, caller: Caller) -> Caller:
    """The caller, with his depth; one whose environment names a run that no orchestration here knows counts as a head, and
    `unknown_run` says so. NotFound for a worker, who is never one.
    """
    if caller.is_head:
        return replace(caller, depth=_depth(root, caller.run)) if caller.run is not None else caller
    try:
        found = None if caller.identity == HEAD else root.find_task(caller.identity)
    except InvalidId:
        found = None
    task = fold_file(found.directory / JOURNAL_FILE).find_task(caller.identity) if found else None
    if task is None and caller.is_worker:
        raise NotFound(
            f"This server was started for a sub-agent, and no orchestration here knows its run {caller.identity[:80]!r}.",
            next_step="Work on without it: your result reaches whoever spawned you at your end.",
        )
    if task is None:
        return replace(caller, identity=HEAD, unknown_run=caller.identity)
    return replace(caller, depth=task.spec.depth)


def _depth(root: MemoryRoot, run: str) -> int:
    """How deep a head was spawned; NotFound for one that was not spawned here."""
    found = root.find_task(run)
    task = fold_file(found.directory / JOURNAL_FILE).find_task(run) if found else None
    if task is None:
        raise NotFound(f"No orchestration here knows the head's run {run[:80]!r}.")
    return task.spec.depth


class LocalOrchestrations:
    """See `ports.Orchestrations`. What was opened is given back with `aclose`."""

    def __init__(self, root: MemoryRoot, sites: Sites, caller: Caller, clock: Clock, named: str | None = None) -> None:
        self._root = root
        self._sites = sites
        self._caller = caller
        self._clock = clock
        self._named = named
        self._session: Found | None = None
        self._open: dict[str, LocalOrchestration] = {}

    async def aclose(self) -> None:
        """Gives every journal back."""
        for orchestration in self._open.values():
            await self._sites.give_back(orchestration.site)

    async def current(self, *, create: bool = False, request: Spawning | None = None) -> LocalOrchestration:
        """The caller's own. A session stays on the orchestration that it opened."""
        if self._named is not None:
            return await self.named(self._named)
        rehearsed = None
        if self._session is None or (create and self._caller.is_shell):
            if create and request is not None and await to_thread.run_sync(self._find_own) is None:
                rehearsed = await rehearse(Preparation(self._caller, self._root.path / MIRRORS), request, self._clock.now())
            self._session = await to_thread.run_sync(self._find_or_begin if create else self._find)
        if self._session is None:
            project = self._caller.project
            raise NotFound(f"Nothing has been spawned in {project} yet.", next_step="`devsh orchestrate spawn` begins an orchestration.")
        opened = self._opened(self._session)
        opened.expect(rehearsed)
        return opened

    async def named(self, orchestration_id: str) -> LocalOrchestration:
        """The one with that id."""
        if self._caller.scope not in (None, orchestration_id):
            raise NotFound(
                f"You lead {self._caller.scope} and reach no other orchestration.", next_step="Leave the orchestration's id out."
            )
        return self._opened(await to_thread.run_sync(self._root.get, orchestration_id))

    async def holding(self, any_id: str) -> LocalOrchestration:
        """The one that has the task; the caller's current one is looked at first."""
        if self._named is not None:
            only = await self.named(self._named)
            if (await only.state()).find_task(any_id) is None and not await only.is_damaged():
                raise NotFound(f"No task of {only.orchestration_id} has the id {any_id[:80]!r}.")
            return only
        if (known := self._sites.find(any_id)) is not None and known.directory.exists():
            return self._opened(known)
        found = self._session or await to_thread.run_sync(self._find)
        if found is not None and (await self._opened(found).state()).find_task(any_id) is not None:
            self._sites.remember(any_id, found)
            return self._opened(found)
        elsewhere = await to_thread.run_sync(self._root.find_task, any_id)
        if elsewhere is None:
            raise NotFound(f"No task has the id {any_id[:80]!r}.")
        self._sites.remember(any_id, elsewhere)
        return self._opened(elsewhere)

    async def active(self, *, everything: bool = False) -> list[LocalOrchestration]:
        """Those of the project whose tasks are at work or ended lately, newest first; `everything`: all there are."""
        if self._named is not None:
            return [await self.named(self._named)]
        pool = await to_thread.run_sync(self._root.all if everything else lambda: self._root.of_project(self._caller.project))
        opened = [self._opened(found) for found in pool]
        if everything:
            return opened
        return [one for index, one in enumerate(opened) if index == 0 or await one.is_damaged() or not self._is_stale(await one.state())]

    async def begin(self, description: str = "", *, max_concurrent: int | None = None) -> LocalOrchestration:
        """A new one, which becomes the current one."""
        if self._caller.scope is not None:
            raise NotAllowed(f"You lead {self._caller.scope} and begin no other orchestration.", next_step="Go on in it.")
        self._session = await to_thread.run_sync(self._begin, description)
        orchestration = self._opened(self._session)
        if max_concurrent is not None:
            event = SettingsChanged(max_concurrent=max_concurrent)
            await orchestration.site.journal.transact(lambda _state, _now: Decision((event,), None))
        return orchestration

    def _opened(self, found: Found) -> LocalOrchestration:
        if found.orchestration_id not in self._open:
            site = self._sites.take(found)
            self._open[found.orchestration_id] = LocalOrchestration(site, self._root.path, self._caller, partial(open_led, self._root))
        return self._open[found.orchestration_id]

    def _find(self) -> Found | None:
        """The session's own, else what the project shares; a shell that only looks is shown the project's latest."""
        self._root.adopt()
        pool = self._root.of_project(self._caller.project)
        own = next((found for found in pool if found.created.session == self._caller.session), None)
        return own or (pool[0] if pool and self._caller.is_shell else None)

    def _find_or_begin(self) -> Found:
        with self._root.locked():
            return self._find_own() or self._root.begin_locked(self._created(""))

    def _find_own(self) -> Found | None:
        """The one that a spawn would go to; None where it would begin one."""
        pool = self._root.of_project(self._caller.project, demand=True)
        own = next((found for found in pool if found.created.session == self._caller.session), None)
        is_over = own is not None and self._caller.session is None and self._is_stale(fold_file(own.directory / JOURNAL_FILE))
        return None if is_over else own

    def _begin(self, description: str) -> Found:
        return self._root.begin(self._created(description))

    def _created(self, description: str) -> OrchestrationCreated:
        return OrchestrationCreated(
            orchestration_id=self._root.new_id(),
            project=self._caller.project,
            session=self._caller.session,
            head_agent=self._caller.head_agent,
            description=description,
        )

    def _is_stale(self, state: State) -> bool:
        if not state.tasks or state.unfinished:
            return False
        last = max(task.completed_at or task.created_at for task in state.tasks.values())
        return self._clock.now() - last > STALE_AFTER
