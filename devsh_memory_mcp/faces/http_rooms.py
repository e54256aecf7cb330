"""From a token to the orchestrations of whoever shows it: each caller has a room, opened at his first call and closed when he is gone.

A room holds what one client was told (which messages, which changes) and the answers that it may ask for again. Rooms lose nothing
that matters when they close: what was told and not confirmed is told again.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import anyio
from anyio.abc import TaskGroup
from pydantic import BaseModel

from devsh_memory_mcp.config import OPERATOR, Caller, Remote
from devsh_memory_mcp.domain.names import HEAD
from devsh_memory_mcp.domain.requests import BatchRequest, SpawnRequest
from devsh_memory_mcp.errors import DevshError, NotAllowed, NotFound, Unauthenticated, Unavailable
from devsh_memory_mcp.faces.claims import TEAM, Claims
from devsh_memory_mcp.ports import Orchestration, Orchestrations

IDLE = 60.0  # seconds that a room stays open with nobody in it
MOST_ROOMS = 2000
MOST_REMEMBERED = 64  # answers
ENDED = ("completed", "failed", "cancelled")
STEWARD = "-steward-"


@dataclass(frozen=True, slots=True)
class Hosting:
    """What a server gives its callers: an empty directory to stand in, an environment, and the way to open what is theirs.

    `owner` is the user whose memory root it is; everybody else is a guest. `environment` is asked with the guest's name or None.
    `lifespan` is what has to be open while anything of it is.
    """

    owner: str
    directory: Path
    environment: Callable[[str | None], Mapping[str, str]]
    open: Callable[[Caller, str | None], AbstractAsyncContextManager[Orchestrations]]
    lifespan: Callable[[], AbstractAsyncContextManager[None]] = nullcontext


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who calls: what his token says, and what his client says of itself, which opens no door."""

    claims: Claims
    client: str = ""
    session: str | None = None
    project: str = ""
    head_agent: str = "http"
    is_shell: bool = False

    @property
    def key(self) -> tuple[object, ...]:
        """Two calls with the same come from the same client."""
        claims = self.claims
        who = (claims.user_id, claims.role, claims.orchestration_id, claims.task_run_id)
        return (*who, self.client, self.session, self.project, self.head_agent, self.is_shell)


@dataclass(slots=True)
class _Remembered:
    settled: anyio.Event = field(default_factory=anyio.Event)
    answer: BaseModel | None = None
    failure: DevshError | None = None


class Room:
    """One client's orchestrations, and what is remembered for it."""

    def __init__(self, visitor: Visitor) -> None:
        self.visitor = visitor
        self.settled = anyio.Event()
        self.failure: Exception | None = None
        self.opened: Orchestrations | None = None
        self.users = 0
        self._is_given_up = False
        self._entered = anyio.Event()
        self._left = anyio.Event()
        self._remembered: OrderedDict[str, _Remembered] = OrderedDict()

    @property
    def orchestrations(self) -> Orchestrations:
        """What he reaches."""
        assert self.opened is not None
        return self.opened

    def enter(self) -> None:
        """Somebody is in it."""
        self.users += 1
        self._entered.set()

    def leave(self) -> None:
        """He has gone."""
        self.users -= 1
        self._left.set()

    def give_up(self) -> None:
        """Nobody is in it, and it is not to stay open for who might come."""
        self._is_given_up = True
        self._entered.set()

    async def until_idle(self) -> None:
        """Until nobody has been in it for a while."""
        while True:
            self._entered = anyio.Event()
            if self.users == 0:
                with anyio.move_on_after(0 if self._is_given_up else IDLE):
                    await self._entered.wait()
                if self.users == 0:
                    return
            self._left = anyio.Event()
            await self._left.wait()

    async def once(self, key: str | None, run: Callable[[], Awaitable[BaseModel]]) -> BaseModel:
        """The answer of `run`; of the first who asked with that key, where somebody did. One that was cancelled gave none."""
        while key is not None and (known := self._remembered.get(key)) is not None:
            await known.settled.wait()
            if known.failure is not None:
                raise known.failure
            if known.answer is not None:
                return known.answer
        return await run() if key is None else await self._first(key, run)

    async def _first(self, key: str, run: Callable[[], Awaitable[BaseModel]]) -> BaseModel:
        entry = self._remembered[key] = _Remembered()
        while len(self._remembered) > MOST_REMEMBERED:
            self._remembered.popitem(last=False)
        try:
            entry.answer = await run()
        except DevshError as error:
            entry.failure = error
            raise
        finally:
            if entry.answer is None and entry.failure is None:
                self._remembered.pop(key, None)
            entry.settled.set()
        return entry.answer


class Rooms:
    """All callers of a server. Opened with `rooms`, which owns what happens in them."""

    def __init__(self, hosting: Hosting, tasks: TaskGroup) -> None:
        self.hosting = hosting
        self._tasks = tasks
        self._rooms: dict[tuple[object, ...], Room] = {}

    def __len__(self) -> int:
        return len(self._rooms)

    @asynccontextmanager
    async def enter(self, visitor: Visitor) -> AsyncIterator[Room]:
        """The visitor's room, while he is in it. Unauthenticated where what his token is for has ended; what opening raises."""
        claims = await self.settled(visitor.claims)
        async with self._entered(replace(visitor, claims=claims)) as room:
            yield room

    @asynccontextmanager
    async def _entered(self, visitor: Visitor) -> AsyncIterator[Room]:
        room = self._rooms.pop(visitor.key, None)
        if room is not None:
            self._rooms[visitor.key] = room  # now the last of them
        else:
            self._make_room()
            room = self._rooms[visitor.key] = Room(visitor)
            self._tasks.start_soon(self._keep, room)
        room.enter()
        try:
            await room.settled.wait()
            if room.failure is not None:
                raise room.failure
            yield room
        finally:
            room.leave()

    async def _keep(self, room: Room) -> None:
        visitor = room.visitor
        try:
            async with self.hosting.open(self.caller(visitor), visitor.claims.orchestration_id) as orchestrations:
                only = visitor.claims.orchestration_id
                room.opened = orchestrations if visitor.claims.role == "user" or only is None else Scoped(orchestrations, only)
                room.settled.set()
                await room.until_idle()
                self._forget(room)
        except (DevshError, OSError) as error:
            room.failure = error
        finally:
            self._forget(room)
            room.settled.set()

    def _make_room(self) -> None:
        """The room that was entered longest ago goes, of those that nobody is in; Unavailable where there is none."""
        if len(self._rooms) < MOST_ROOMS:
            return
        idle = next((room for room in self._rooms.values() if room.users == 0), None)
        if idle is None:
            raise Unavailable("This server has as many clients as it can bear.", next_step="Repeat it in a minute.")
        self._forget(idle)
        idle.give_up()

    def _forget(self, room: Room) -> None:
        if self._rooms.get(room.visitor.key) is room:
            del self._rooms[room.visitor.key]

    def guest(self, claims: Claims) -> str | None:
        """Whose guest room it is, None for the user's own. Unauthenticated where a guest's server is shown another's token."""
        if self.hosting.owner not in (OPERATOR, claims.user_id):
            raise Unauthenticated(f"This server is {self.hosting.owner}'s, and the token is somebody else's.")
        return claims.user_id if claims.is_guest else None

    def caller(self, visitor: Visitor) -> Caller:
        """Who the visitor is to the orchestrations."""
        claims, guest = visitor.claims, self.guest(visitor.claims)
        is_worker = claims.role == "worker"
        return Caller(
            directory=self.hosting.directory,
            environment=self.hosting.environment(guest),
            identity=claims.task_run_id if is_worker else HEAD,
            head_agent=visitor.head_agent,
            session=visitor.session,
            is_shell=visitor.is_shell,
            is_worker=is_worker,
            run=claims.task_run_id if claims.role == "head" else None,
            remote=Remote(visitor.project, guest),
        )

    def steward(self, owner: str) -> AbstractAsyncContextManager[Room]:
        """The room of what is done for an owner and for no single client of his."""
        ages = datetime.max.replace(tzinfo=UTC)
        return self._entered(Visitor(Claims(STEWARD, TEAM, owner, None, "user", ages, ages), client=STEWARD))

    async def settled(self, claims: Claims) -> Claims:
        """The claims, with an agent's orchestration; Unauthenticated where the attempt that the token was made for is over."""
        if claims.role == "user":
            return claims
        async with self.steward(claims.user_id) as room:
            try:
                task = await (await room.orchestrations.holding(claims.task_run_id)).status(claims.task_run_id)
            except NotFound:
                raise Unauthenticated("The token is for a task run that is not known here.") from None
        if task.status in ENDED or (claims.attempt is not None and claims.attempt != task.attempt):
            raise Unauthenticated("The token was for an attempt that is over.")
        if claims.role == "worker" and claims.orchestration_id not in (None, task.orchestration_id):
            raise Unauthenticated("The token names an orchestration that its task run is not in.")
        return replace(claims, orchestration_id=claims.orchestration_id or task.orchestration_id)

    async def missing(self, claims: Claims, any_id: str) -> DevshError | None:
        """What to say instead of NotFound: that there is such a thing, and that it is not for this token."""
        if claims.role == "user":
            return None
        async with self.steward(claims.user_id) as room:
            try:
                find = room.orchestrations
                await (find.named(any_id) if any_id.startswith("orch_") else find.holding(any_id))
            except DevshError:
                return None
        return NotAllowed("That is in another orchestration than this token is for.")


@asynccontextmanager
async def rooms(hosting: Hosting) -> AsyncIterator[Rooms]:
    """Rooms, closed at the end with everything in them."""
    async with hosting.lifespan(), anyio.create_task_group() as tasks:
        try:
            yield Rooms(hosting, tasks)
        finally:
            tasks.cancel_scope.cancel()


class Scoped:
    """The orchestrations of a token that is for one of them."""

    def __init__(self, inner: Orchestrations, orchestration_id: str) -> None:
        self._inner = inner
        self._only = orchestration_id

    async def current(self, *, create: bool = False, request: SpawnRequest | BatchRequest | None = None) -> Orchestration:
        """The one."""
        return await self._inner.current(create=create, request=request)

    async def named(self, orchestration_id: str) -> Orchestration:
        """The one; NotAllowed for another."""
        if orchestration_id != self._only:
            raise NotAllowed(f"This token is for orchestration {self._only} alone.")
        return await self._inner.named(orchestration_id)

    async def holding(self, any_id: str) -> Orchestration:
        """The one; NotFound where it has no such task."""
        return await self._inner.holding(any_id)

    async def active(self, *, everything: bool = False) -> Sequence[Orchestration]:
        """The one."""
        return [await self.named(self._only)]

    async def begin(self, description: str = "", *, max_concurrent: int | None = None) -> Orchestration:
        """NotAllowed."""
        raise NotAllowed(f"This token is for orchestration {self._only} alone, and begins no other.")
