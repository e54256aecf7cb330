"""`GET /api/orchestrate/events/{id}`: live events as Server-Sent Events, resumed exactly where a client says it was.

A stream ends when its token dies or the server leaves, and never by itself otherwise. A client that does not read is dropped.
"""

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from devsh_memory_mcp.domain.state import State
from devsh_memory_mcp.errors import DevshError, InvalidRequest, NotFound, Unauthenticated, Unavailable
from devsh_memory_mcp.faces import http_feed
from devsh_memory_mcp.faces import http_frames as frames
from devsh_memory_mcp.faces.http_feed import Connection, Feed, Feeds, Place, Tap
from devsh_memory_mcp.faces.http_frames import Cursor, Dialect
from devsh_memory_mcp.faces.http_front import Addition, Front, Listed
from devsh_memory_mcp.faces.operations import Call
from devsh_memory_mcp.faces.tokens import Role
from devsh_memory_mcp.ports import Orchestration

STALLED = 10.0  # seconds with a client that takes nothing
TRANSPORT = "devsh_transport"  # in a request's state: the connection itself, where the server tells
HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store, no-transform",
    "x-accel-buffering": "no",  # nginx would keep frames back
}
_TIMESTAMPS = 10**11  # a `since` from here on is milliseconds since 1970, as clients of the typed stream send it; below, a `seq`


_SINCE = ("since", "The last id that was had, or ms since 1970; the header Last-Event-ID comes before it.")
_EVENTS, _VIEW, _REPLAY = "text/event-stream", ("view", "`changes`: each event once."), ("replay", "`true`: from the beginning.")
EVENT_ROUTES = (
    Listed("events", "/api/orchestrate/events/{id}", "Live events.", _EVENTS, (_SINCE, _VIEW)),
    Listed("typed_events", "/api/orchestrate/v2/events/{id}", "Live events, typed.", _EVENTS, (_SINCE, _REPLAY)),
)
EVERYBODY: frozenset[Role] = frozenset({"user", "head", "worker"})


async def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Pass:
    """What a client's token opens, and how long: in `dies_in` seconds it is dead; `is_alive` is asked with each heartbeat.

    `attempt` is the task run that it is for, and which attempt of it where it says so, None for one that is for no agent.
    """

    place: Place
    dies_in: float = math.inf
    is_alive: Callable[[], Awaitable[bool]] = _always
    attempt: tuple[str, int | None] | None = None

    def is_good(self, state: State) -> bool:
        """Whether its agent still runs, as far as this orchestration's journal tells."""
        task = state.find_task(self.attempt[0]) if self.attempt else None
        if task is None or self.attempt is None:
            return True
        return not task.is_terminal and self.attempt[1] in (None, task.attempt)


Admit = Callable[[Request, str], Awaitable[Pass]]


def live_events(front: Front) -> Addition:
    """What is added to an app: the streams, and the feeds behind them."""
    events = Events(partial(_admitted, front))
    front.at_leave(events.end)

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            with events.fed(Feeds(tasks, partial(_opened, front), _Clock(front))):
                yield
            tasks.cancel_scope.cancel()

    return Addition(routes=events.routes, lifespan=lifespan)


class _Clock:
    """The app's."""

    def __init__(self, front: Front) -> None:
        self.now = front.now

    def monotonic(self) -> float:
        """Seconds that never step."""
        return anyio.current_time()


async def _admitted(front: Front, request: Request, any_id: str) -> Pass:
    """Who asks, and for what. Unauthenticated, NotAllowed, NotFound."""
    claims = front.claims(request, EVERYBODY)
    async with front.enter(request, claims) as room:
        try:
            found = await Call(room.orchestrations, any_id, None, None).meant()
        except NotFound as error:
            raise await front.rooms.missing(claims, any_id) or error from None

    async def is_alive() -> bool:
        try:
            await front.rooms.settled(claims)
        except Unauthenticated:
            return False
        return True

    attempt = None if claims.role == "user" else (claims.task_run_id, claims.attempt)
    left = (claims.exp - front.now()).total_seconds()
    return Pass(Place(claims.user_id, found.orchestration_id), left, is_alive, attempt)


@asynccontextmanager
async def _opened(front: Front, place: Place) -> AsyncIterator[Orchestration]:
    async with front.rooms.steward(place.owner) as room:
        yield await room.orchestrations.named(place.orchestration_id)


class Events:
    """The routes and their handlers. `admit` verifies who asks for which orchestration and raises where he may not."""

    def __init__(self, admit: Admit) -> None:
        self._admit = admit
        self._feeds: Feeds | None = None
        self.routes = [
            Route(listed.path, handler, methods=["GET"], name=listed.name)
            for listed, handler in zip(EVENT_ROUTES, (self.status_stream, self.typed_stream), strict=True)
        ]

    @contextmanager
    def fed(self, feeds: Feeds) -> Iterator[None]:
        """Serves them while the context lasts; at its end every stream ends."""
        self._feeds = feeds
        try:
            yield
        finally:
            feeds.end()

    def end(self) -> None:
        """Every stream ends now."""
        if self._feeds is not None:
            self._feeds.end()

    async def status_stream(self, request: Request) -> Response:
        """`/api/orchestrate/events/{id}`; `?view=changes` is for our own client."""
        is_ours = request.query_params.get("view") == Dialect.CHANGES
        return await self._stream(request, Dialect.CHANGES if is_ours else Dialect.STATUS)

    async def typed_stream(self, request: Request) -> Response:
        """`/api/orchestrate/v2/events/{id}`."""
        return await self._stream(request, Dialect.TYPED)

    async def _stream(self, request: Request, dialect: Dialect) -> Response:
        orchestration_id = request.path_params["id"]
        wanted, admitted = asked(request, dialect), await self._admit(request, orchestration_id)
        if self._feeds is None or self._feeds.is_ended:
            raise Unavailable("The server is leaving.")
        return EventStream(self._feeds, wanted, admitted)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client wants to read, and from where: behind `cursor` or the instant `since`, else from now on, with a picture first."""

    dialect: Dialect
    cursor: Cursor | None = None
    since: int | None = None
    wants_picture: bool = False


def asked(request: Request, dialect: Dialect) -> Asked:
    """What the request says. The header that a client repeats by itself counts more than the address it once opened."""
    query, wants = request.query_params, dialect is Dialect.STATUS
    cursor = frames.read_id(request.headers.get("last-event-id", ""))
    if cursor is None and (since := query.get("since")):
        cursor = frames.read_id(since)
        if cursor is None:
            raise InvalidRequest(f"since={since[:40]!r} is neither an event's id nor milliseconds.", next_step="Give the last id you have.")
        if cursor.seq >= _TIMESTAMPS:
            return Asked(dialect, since=cursor.seq)
    if cursor is None and query.get("replay") == "true":
        cursor = Cursor(0)
    return Asked(dialect, cursor, wants_picture=wants)


class EventStream(Response):
    """One client's stream. The feed is followed before the first byte is sent, so what cannot be told is a proper error still."""

    def __init__(self, feeds: Feeds, asked: Asked, admitted: Pass) -> None:
        self.status_code, self.background = 200, None
        self.init_headers(HEADERS)  # without a body, so without a length
        self._feeds, self._asked, self._pass = feeds, asked, admitted
        self._is_gone = self._is_stalled = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves it to its end."""
        async with self._feeds.following(self._pass.place) as feed:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                return
            with anyio.move_on_after(self._pass.dies_in):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._until_gone, receive, tasks.cancel_scope)
                    await self._tell(feed, send, _direct(scope) if self._pass.attempt is None else None)
                    tasks.cancel_scope.cancel()
        if self._is_stalled and (transport := scope.get("state", {}).get(TRANSPORT)) is not None:
            transport.abort()  # closing it would wait for the client to read
            await anyio.lowlevel.checkpoint()  # its loss is known then, and nobody asks for the rest of the answer
        elif not (self._is_gone or self._is_stalled):
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _until_gone(self, receive: Receive, whole: anyio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass  # the rest of a body that nobody asked for
        self._is_gone = True
        whole.cancel()

    async def _tell(self, feed: Feed, send: Send, direct: Connection | None) -> None:
        async with aclosing(self._pieces(feed, direct)) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                with anyio.move_on_after(STALLED) as patience:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                if patience.cancelled_caught:
                    self._is_stalled = True
                    return

    async def _pieces(self, feed: Feed, direct: Connection | None) -> AsyncIterator[bytes]:
        """All that this client is to be told, in order; with a `direct` connection only what was before he came."""
        dialect, cursor = self._asked.dialect, await self._begin(feed)
        wants_picture = cursor is None and self._asked.wants_picture
        cursor = cursor or Cursor(feed.state.seq)
        yield feed.greeting(dialect, None if wants_picture else cursor) + (feed.picture() if wants_picture else b"")
        if feed.behind(cursor, dialect) is None:
            async with aclosing(feed.read_back(cursor, dialect)) as told:  # type: ignore[type-var]
                async for piece in told:
                    cursor = piece.cursor
                    yield piece.content
        if direct is not None:
            await self._tapped(feed, Tap(direct, dialect, cursor))
        else:
            async for content in self._waited(feed, cursor):
                yield content
        if feed.failure is not None:
            yield frames.encoded(_told(feed.failure))

    async def _tapped(self, feed: Feed, tap: Tap) -> None:
        """The feed writes to the client; here it is seen to that it ends."""
        with feed.tapped(tap):
            while not tap.over.is_set() and await self._pass.is_alive():
                with anyio.move_on_after(http_feed.HEARTBEAT):
                    await tap.over.wait()
        self._is_stalled = tap.over.is_set() and feed.failure is None and not self._feeds.is_ended

    async def _waited(self, feed: Feed, cursor: Cursor) -> AsyncIterator[bytes]:
        """What comes, as it comes."""
        beats = feed.beats
        while feed.failure is None and not self._feeds.is_ended:
            found = feed.behind(cursor, self._asked.dialect)
            if found is None:
                self._is_stalled = True  # it may come back with its id
                return
            if found.cursor == cursor:
                await feed.news()
            cursor, content = found.cursor, found.content
            if feed.beats != beats:
                beats, content = feed.beats, content + feed.beat
                if not await self._pass.is_alive():
                    return
            if content:
                yield content
            if not self._pass.is_good(feed.state) and feed.is_told(cursor):
                return

    async def _begin(self, feed: Feed) -> Cursor | None:
        """Where the client was; None where it says nothing, or something of another journal."""
        cursor = self._asked.cursor
        if self._asked.since is not None:
            cursor = await feed.cursor_at(self._asked.since)
        return cursor if cursor is not None and feed.knows(cursor) else None


def _direct(scope: Scope) -> Connection | None:
    """The client's own connection, where the server shows it and the answer goes out in chunks."""
    found: Connection | None = scope.get("state", {}).get(TRANSPORT)
    return found if scope.get("http_version") == "1.1" else None


def _told(error: Exception) -> frames.Frame:
    if isinstance(error, DevshError):
        return frames.failed(error.code, str(error))
    return frames.failed("unavailable", "The journal cannot be read; the server's log has the reason.")
