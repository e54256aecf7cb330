"""MCP over HTTP: `/mcp` (streamable HTTP, both eras of the protocol) and `/sse` (its predecessor), for callers who show a token.

Each session has a server of its own, whose caller is who its token says. It belongs to that very token: to every other one it does not
exist. Its orchestration is the token's, so that a client that connects anew finds what it began; `X-Devsh-Session` tells several apart.
"""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

import anyio
from anyio.abc import TaskGroup
from mcp.server import MCPServer
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.sse import SseServerTransport
from mcp.server.streamable_http import MCP_SESSION_ID_HEADER
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from mcp.types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from devsh_memory_mcp.config import Caller
from devsh_memory_mcp.errors import NotFound, Unavailable
from devsh_memory_mcp.faces.http_front import Addition, Front
from devsh_memory_mcp.faces.http_rooms import Visitor
from devsh_memory_mcp.faces.http_visitors import token_of
from devsh_memory_mcp.faces.http_words import AGENT
from devsh_memory_mcp.faces.mcp_replay import Replay
from devsh_memory_mcp.faces.mcp_server import build_server
from devsh_memory_mcp.faces.mcp_session import Open
from devsh_memory_mcp.faces.mcp_transport import LONGEST_OF_AGENTS, low_level
from devsh_memory_mcp.faces.tokens import Claims
from devsh_memory_mcp.ports import Orchestrations

IDLE = 30 * 60.0  # seconds that a session lives without a request
MOST_SESSIONS = 1000
LONGEST = 4 * 1024 * 1024  # bytes of a head's message
MESSAGES = "/messages"
_RETRY = 500  # ms after which a client whose stream broke off asks again

Build = Callable[[Open, Caller], MCPServer[Any]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


def mcp_over_http(front: Front, build: Build = build_server, idle: float = IDLE) -> Addition:
    """What is added to an app: `build` makes each session's server. One that nobody asks anything for `idle` seconds is over."""
    sessions = Sessions(front, build, idle)
    front.at_leave(sessions.end)
    return Addition(
        routes=[
            Route("/mcp", _App(sessions.streamable), methods=["GET", "POST", "DELETE"]),
            Route("/sse", _App(sessions.events), methods=["GET"]),
            Route(MESSAGES, _App(sessions.message), methods=["POST"]),
        ],
        lifespan=sessions.lifespan,
    )


class _App:
    """An ASGI application as routes want one: what is a function they take for something else."""

    def __init__(self, run: Asgi) -> None:
        self._run = run

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._run(scope, receive, send)


class _Session:
    """A server for one client, while anybody asks it, and a while longer."""

    def __init__(self, owner: str, manager: StreamableHTTPSessionManager, idle: float) -> None:
        self.owner = owner
        self._idle = idle
        self.begun = anyio.Event()
        self._manager = manager
        self._scope = anyio.CancelScope()
        self._requests = 0
        self._changed = anyio.Event()

    async def run(self, seconds: float) -> None:
        """Until it is idle for too long, ended, or `seconds` are over."""
        try:
            self._scope.deadline = anyio.current_time() + seconds
            with self._scope:
                async with self._manager.run():
                    self.begun.set()
                    await self._until_idle()
        finally:
            self.begun.set()

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        self._count(1)
        try:
            await self._manager.handle_request(scope, receive, send)
        finally:
            self._count(-1)

    def end(self) -> None:
        """Nobody wants it any more."""
        self._scope.cancel()

    def _count(self, more: int) -> None:
        self._requests += more
        self._changed.set()
        self._changed = anyio.Event()

    async def _until_idle(self) -> None:
        while True:
            if self._requests:
                await self._changed.wait()
                continue
            with anyio.move_on_after(self._idle):
                await self._changed.wait()
                continue
            return


class Sessions:
    """All MCP sessions of an app."""

    def __init__(self, front: Front, build: Build, idle: float) -> None:
        self._front = front
        self._build = build
        self._idle = idle
        self._sessions: dict[str, _Session] = {}
        self._events: set[anyio.CancelScope] = set()
        self._tasks: TaskGroup
        self._sse = SseServerTransport(MESSAGES, max_request_body_size=LONGEST)

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Holds the sessions while the app runs."""
        async with anyio.create_task_group() as self._tasks:
            try:
                yield
            finally:
                self._tasks.cancel_scope.cancel()

    def end(self) -> None:
        """Nobody is served any longer: streams that would go on for ever end."""
        for session in self._sessions.values():
            session.end()
        for scope in self._events:
            scope.cancel()

    async def streamable(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`/mcp`."""
        request = Request(scope, receive)
        claims, owner = await self._known(request)
        scope["user"] = _user(owner)
        name = request.headers.get(MCP_SESSION_ID_HEADER)
        version = request.headers.get(MCP_PROTOCOL_VERSION_HEADER)
        if version is not None and version not in HANDSHAKE_PROTOCOL_VERSIONS:
            name = f"token {owner}"  # every request stands alone; what belongs together is the token's
            session = self._sessions.get(name) or await self._begun(name, request, claims, owner)
            await session.serve(scope, receive, send)
        elif name is None:
            await self._opening(request, claims, owner, send)
        elif (found := self._sessions.get(name)) is None or found.owner != owner:
            raise NotFound("There is no such MCP session.", next_step="Begin another one with `initialize`.")
        else:
            await found.serve(scope, receive, send)
            if request.method == "DELETE":
                found.end()

    async def events(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`/sse`: the session is this very request."""
        request = Request(scope, receive)
        claims, owner = await self._known(request)
        scope["user"] = _user(owner)
        low = low_level(self._build(*self._of(request, claims, owner, uuid4().hex)))
        async with self._sse.connect_sse(scope, receive, send) as (reader, writer):
            with anyio.move_on_after(self._seconds(claims)) as bounds:
                self._events.add(bounds)
                try:
                    await low.run(reader, writer, low.create_initialization_options())
                finally:
                    self._events.discard(bounds)
            await writer.aclose()

    async def message(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What the client of an `/sse` says."""
        _, owner = await self._known(Request(scope, receive))
        scope["user"] = _user(owner)
        await self._sse.handle_post_message(scope, receive, send)

    async def _known(self, request: Request) -> tuple[Claims, str]:
        """Who calls, and a name of his token that tells nothing about it; Unauthenticated."""
        claims = self._front.claims(request)
        await self._front.rooms.settled(claims)
        return claims, hashlib.sha256((token_of(request.headers) or "").encode()).hexdigest()

    async def _opening(self, request: Request, claims: Claims, owner: str, send: Send) -> None:
        """The first request of a session, whose name the answer has; of one that is refused nothing stays."""
        own = uuid4().hex
        session = await self._begun(own, request, claims, owner)
        name = None

        async def heard(message: Message) -> None:
            nonlocal name
            if message["type"] == "http.response.start" and message["status"] < 400:
                name = dict(message["headers"]).get(MCP_SESSION_ID_HEADER.encode(), b"").decode()
                if name:
                    self._sessions[name] = self._sessions.pop(own)
            await send(message)

        try:
            await session.serve(request.scope, request.receive, heard)
        finally:
            if not name:
                session.end()

    async def _begun(self, name: str, request: Request, claims: Claims, owner: str) -> _Session:
        if len(self._sessions) >= MOST_SESSIONS:
            raise Unavailable("This server has as many MCP sessions as it can bear.", next_step="Repeat it in a minute.")
        low = low_level(self._build(*self._of(request, claims, owner, uuid4().hex)))
        longest = LONGEST_OF_AGENTS if claims.role == "worker" else LONGEST
        manager = StreamableHTTPSessionManager(
            low, event_store=Replay(), retry_interval=_RETRY, session_idle_timeout=None, max_request_body_size=longest
        )
        session = self._sessions[name] = _Session(owner, manager, self._idle)
        self._tasks.start_soon(self._keep, session, self._seconds(claims))
        await session.begun.wait()
        return session

    async def _keep(self, session: _Session, seconds: float) -> None:
        try:
            await session.run(seconds)
        finally:
            self._sessions = {name: each for name, each in self._sessions.items() if each is not session}

    def _seconds(self, claims: Claims) -> float:
        return (claims.exp - self._front.now()).total_seconds()

    def _of(self, request: Request, claims: Claims, owner: str, name: str) -> tuple[Open, Caller]:
        """What a session's server is built of: the way to its orchestrations, and its caller."""
        said = self._front.visitor(request, claims)
        visitor = replace(said, client=f"mcp {name}", session=said.session or f"token-{owner[:16]}", is_shell=False)
        caller = self._front.rooms.caller(visitor)

        def opened(known: Caller) -> AbstractAsyncContextManager[Orchestrations]:
            return _opened(self._front, replace(visitor, head_agent=known.head_agent))

        return opened, caller if AGENT in request.headers else replace(caller, head_agent="")


@asynccontextmanager
async def _opened(front: Front, visitor: Visitor) -> AsyncIterator[Orchestrations]:
    async with front.rooms.enter(visitor) as room:
        yield room.orchestrations


def _user(owner: str) -> AuthenticatedUser:
    """As the SDK knows who calls, to whom alone it gives what he began."""
    return AuthenticatedUser(AccessToken(token="", client_id=owner, scopes=[]))
