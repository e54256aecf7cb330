"""What every route of a server needs: who calls, and his room. Routes that others add to the app get one of these."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from starlette.requests import Request
from starlette.routing import BaseRoute

from devsh_memory_mcp.errors import NotAllowed
from devsh_memory_mcp.faces.http_metrics import Counts
from devsh_memory_mcp.faces.http_pace import Pace
from devsh_memory_mcp.faces.http_rooms import Hosting, Room, Rooms, Visitor, rooms
from devsh_memory_mcp.faces.http_visitors import claims_of, visitor_of
from devsh_memory_mcp.faces.tokens import Claims, Role


@asynccontextmanager
async def _nothing() -> AsyncIterator[None]:
    yield


@dataclass(frozen=True, slots=True)
class Addition:
    """What somebody adds to the app: routes, and a context that is open while the app runs."""

    routes: Sequence[BaseRoute]
    lifespan: Callable[[], AbstractAsyncContextManager[None]] = _nothing


@dataclass(frozen=True, slots=True)
class Listed:
    """A route outside of the table of operations, as /openapi.json shows it; `query` are its parameters with what they mean."""

    name: str
    path: str
    text: str
    media_type: str = "application/json"
    query: tuple[tuple[str, str], ...] = ()
    is_open: bool = False


class Front:
    """What every route needs: the key, the clocks, and the rooms, which are there while the app runs."""

    def __init__(self, key: bytes, now: Callable[[], datetime], clock: Callable[[], float] = time.monotonic) -> None:
        self._key = key
        self._pace = Pace(clock)
        self.now = now
        self.clock = clock
        self.counts = Counts()
        self._rooms: Rooms | None = None
        self._leaving: list[Callable[[], None]] = []

    def at_leave(self, end: Callable[[], None]) -> None:
        """`end` is called when the server is told to end, so that what would go on for ever ends first."""
        self._leaving.append(end)

    def leave(self) -> None:
        """The server is told to end."""
        for end in self._leaving:
            end()

    @property
    def rooms(self) -> Rooms:
        """The rooms."""
        assert self._rooms is not None
        return self._rooms

    @asynccontextmanager
    async def lifespan(self, hosting: Hosting) -> AsyncIterator[None]:
        """Opens the rooms for as long as the app runs."""
        async with rooms(hosting) as self._rooms:
            yield

    def claims(self, request: Request, roles: frozenset[Role] | None = None) -> Claims:
        """Who calls. Unauthenticated; NotAllowed where it is not for his role; TooManyRequests."""
        claims = claims_of(request.headers, self._key, self.now)
        self._pace.count((claims.user_id, claims.role, claims.orchestration_id, claims.task_run_id))
        if roles is not None and claims.role not in roles:
            raise NotAllowed(f"That is not for a {claims.role}'s token.")
        return claims

    def enter(self, request: Request, claims: Claims) -> AbstractAsyncContextManager[Room]:
        """His room, while the request lasts."""
        return self.rooms.enter(self.visitor(request, claims))

    def visitor(self, request: Request, claims: Claims) -> Visitor:
        """The same with what his client says of itself."""
        return visitor_of(request.headers, claims)
