"""`GET /api/orchestrate/events/{id}`: live events as Server-Sent Events, resumed exactly where a client says it was.

A stream ends when its token dies or the server leaves, and never by itself otherwise. A client that does not read is dropped.
"""

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from devsh_memory_mcp.errors import DevshError, InvalidRequest
from devsh_memory_mcp.faces import http_frames as frames
from devsh_memory_mcp.faces.http_feed import Feed, Feeds
from devsh_memory_mcp.faces.http_frames import Cursor, Dialect

STALLED = 10.0  # seconds with a client that takes nothing
TRANSPORT = "devsh_transport"  # in a request's state: the connection itself, where the server tells
HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store, no-transform",
    "x-accel-buffering": "no",  # nginx would keep frames back
}
_TIMESTAMPS = 10**11  # a `since` from here on is milliseconds since 1970, as clients of the typed stream send it; below, a `seq`


@dataclass(frozen=True, slots=True)
class Pass:
    """What a client's token is good for: `dies_in` seconds it is dead; `is_alive` is asked with each heartbeat, and at each event."""

    dies_in: float = math.inf
    is_alive: Callable[[], bool] = field(default=lambda: True)


Admit = Callable[[Request, str], Awaitable[Pass]]


class Events:
    """The routes' handlers. `admit` verifies who asks for which orchestration and raises where he may not."""

    def __init__(self, feeds: Feeds, admit: Admit) -> None:
        self._feeds = feeds
        self._admit = admit

    async def status_stream(self, request: Request) -> Response:
        """`/api/orchestrate/events/{id}`; `?view=changes` is for our own client."""
        is_ours = request.query_params.get("view") == Dialect.CHANGES
        return await self._stream(request, Dialect.CHANGES if is_ours else Dialect.STATUS)

    async def typed_stream(self, request: Request) -> Response:
        """`/api/orchestrate/v2/events/{id}`."""
        return await self._stream(request, Dialect.TYPED)

    async def _stream(self, request: Request, dialect: Dialect) -> Response:
        orchestration_id = request.path_params["id"]
        admitted = await self._admit(request, orchestration_id)
        return EventStream(self._feeds, orchestration_id, asked(request, dialect), admitted)


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

    def __init__(self, feeds: Feeds, orchestration_id: str, asked: Asked, admitted: Pass) -> None:
        self.status_code, self.background = 200, None
        self.init_headers(HEADERS)  # without a body, so without a length
        self._feeds, self._id, self._asked, self._pass = feeds, orchestration_id, asked, admitted
        self._is_gone = self._is_stalled = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves it to its end."""
        async with self._feeds.following(self._id) as feed:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            with anyio.move_on_after(self._pass.dies_in):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._until_gone, receive, tasks.cancel_scope)
                    await self._tell(feed, send)
                    tasks.cancel_scope.cancel()
        if self._is_stalled and (transport := scope.get("state", {}).get(TRANSPORT)) is not None:
            transport.abort()  # closing it would wait for the client to read
        elif not (self._is_gone or self._is_stalled):
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _until_gone(self, receive: Receive, whole: anyio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass  # the rest of a body that nobody asked for
        self._is_gone = True
        whole.cancel()

    async def _tell(self, feed: Feed, send: Send) -> None:
        async with aclosing(self._pieces(feed)) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                with anyio.move_on_after(STALLED) as patience:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                if patience.cancelled_caught:
                    self._is_stalled = True
                    return

    async def _pieces(self, feed: Feed) -> AsyncIterator[bytes]:
        """All that this client is to be told, in order."""
        dialect, beats = self._asked.dialect, feed.beats
        cursor = await self._begin(feed)
        wants_picture = cursor is None and self._asked.wants_picture
        cursor = cursor or Cursor(feed.state.seq)
        yield feed.greeting(dialect, None if wants_picture else cursor) + (feed.picture() if wants_picture else b"")
        if feed.behind(cursor, dialect) is None:
            async with aclosing(feed.read_back(cursor, dialect)) as told:  # type: ignore[type-var]
                async for piece in told:
                    cursor = piece.cursor
                    yield piece.content
        while feed.failure is None and not self._feeds.is_ended and self._pass.is_alive():
            found = feed.behind(cursor, dialect)
            if found is None:
                self._is_stalled = True  # it may come back with its id
                return
            if found.cursor == cursor:
                await feed.news()
            cursor, content = found.cursor, found.content
            if feed.beats != beats:
                beats, content = feed.beats, content + feed.beat
            if content:
                yield content
        if feed.failure is not None:
            yield frames.encoded(frames.failed(_told(feed.failure)))

    async def _begin(self, feed: Feed) -> Cursor | None:
        """Where the client was; None where it says nothing, or something of another journal."""
        cursor = self._asked.cursor
        if self._asked.since is not None:
            cursor = await feed.cursor_at(self._asked.since)
        return cursor if cursor is not None and feed.knows(cursor) else None


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, DevshError) else "The journal cannot be read; the server's log has the reason."
