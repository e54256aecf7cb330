"""Telling subscribers that a resource has changed, in both eras of the protocol: driven by the journal, and nothing runs without them.

Clients with a handshake subscribe address by address and are told over their connection; the others keep a request open, which the
SDK's bus feeds. A notice is a hint: several changes may come as one, and whoever is told reads again.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
from anyio.abc import TaskGroup
from mcp.server import MCPServer
from mcp.server.connection import Connection
from mcp.server.context import HandlerResult, ServerRequestContext
from mcp.server.mcpserver import Context
from mcp.server.session import ServerSession
from mcp.server.subscriptions import InMemorySubscriptionBus, ResourceUpdated
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    EmptyResult,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    UnsubscribeRequestParams,
)

from devsh_memory_mcp.errors import DevshError, NotFound
from devsh_memory_mcp.faces import mcp_resources
from devsh_memory_mcp.faces.mcp_following import Following
from devsh_memory_mcp.faces.mcp_session import Session
from devsh_memory_mcp.faces.mcp_transport import Handler, connection_of, wrap_handler
from devsh_memory_mcp.ports import Orchestrations

MAX_ADDRESSES = 1000
PATIENCE = 5.0  # seconds with a client that does not read


class Notices:
    """Who wants to be told of which address, and what follows the journals as long as somebody does."""

    def __init__(self, session: Session) -> None:
        self.bus = InMemorySubscriptionBus()
        self._session = session
        self._server_tasks: TaskGroup | None = None
        self._wanted: Counter[str] = Counter()
        self._clients: dict[str, dict[Connection, ServerSession]] = {}  # by address and connection
        self._connections: set[Connection] = set()
        self._following: Following | None = None
        self._starting = anyio.Lock()

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Where the following is done, as long as the server serves."""
        async with anyio.create_task_group() as tasks:
            self._server_tasks = tasks
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()

    def serve(self, server: MCPServer[Any]) -> None:
        """Answers both eras' ways to ask for notices."""
        wrap_handler(server, "resources/subscribe", SubscribeRequestParams, lambda _: self._subscribe)
        wrap_handler(server, "resources/unsubscribe", UnsubscribeRequestParams, lambda _: self._unsubscribe)
        wrap_handler(server, "subscriptions/listen", SubscriptionsListenRequestParams, self._listening)

    async def _subscribe(self, request: ServerRequestContext, given: SubscribeRequestParams) -> EmptyResult:
        """Tells this client from now on, as long as it is connected. MCPError where there is no such address."""
        uri, connection = str(given.uri), connection_of(request)
        if connection not in self._connections:
            self._connections.add(connection)
            connection.exit_stack.callback(self._forget, connection)
        clients = self._clients.setdefault(uri, {})
        if connection not in clients:
            self._want((uri,))
            clients[connection] = request.session
            try:
                await self._begin((uri,), request)
            except BaseException:
                self._drop(uri, connection)  # unless its end, meanwhile, has done so
                raise
        return EmptyResult()

    async def _unsubscribe(self, request: ServerRequestContext, given: UnsubscribeRequestParams) -> EmptyResult:
        self._drop(str(given.uri), connection_of(request))
        return EmptyResult()

    def _drop(self, uri: str, connection: Connection) -> None:
        if self._clients.get(uri, {}).pop(connection, None) is not None:
            self._unwant((uri,))

    def _forget(self, connection: Connection) -> None:
        self._connections.discard(connection)
        for uri in list(self._clients):
            self._drop(uri, connection)

    def _listening(self, served: Handler[SubscriptionsListenRequestParams] | None) -> Handler[SubscriptionsListenRequestParams]:
        """The SDK's own handler, with the bus fed as long as a client keeps its request open. What it does not know is never heard of."""
        assert served is not None

        async def listen(request: ServerRequestContext, given: SubscriptionsListenRequestParams) -> HandlerResult:
            asked = dict.fromkeys(given.notifications.resource_subscriptions or ())
            known = tuple(uri for uri in asked if mcp_resources.is_known(uri))
            if not known:
                return await served(request, given)
            self._want(known)
            try:
                await self._begin(known, request)
                return await served(request, given)
            finally:
                self._unwant(known)

        return listen

    async def poke(self) -> None:
        """A call was answered: perhaps the orchestration that subscribers wait for is there now."""
        if self._following is not None:
            await self._following.look_again()

    def _want(self, uris: tuple[str, ...]) -> None:
        if unknown := next((uri for uri in uris if not mcp_resources.is_known(uri)), None):
            raise MCPError(INVALID_PARAMS, str(mcp_resources.unknown(unknown)))
        if len(self._wanted) + len(uris) > MAX_ADDRESSES:
            raise MCPError(INVALID_PARAMS, f"At most {MAX_ADDRESSES} addresses are followed; devsh://agents tells of all agents.")
        self._wanted.update(uris)

    async def _begin(self, uris: tuple[str, ...], request: ServerRequestContext) -> None:
        """Follows what they are about; whoever asked lets go of them where that fails."""
        try:
            following = await self._started(await self._session.orchestrations(Context(request_context=request)))
            for uri in uris:
                await following.add(uri)
        except (DevshError, OSError) as error:
            code = INVALID_PARAMS if isinstance(error, NotFound) else INTERNAL_ERROR
            raise MCPError(code, f"{getattr(error, 'code', 'unavailable')}: {error}") from error

    def _unwant(self, uris: tuple[str, ...]) -> None:
        self._wanted.subtract(uris)
        self._wanted = +self._wanted
        if not self._wanted and self._following is not None:
            self._following.end()
            self._following = None

    async def _started(self, orchestrations: Orchestrations) -> Following:
        async with self._starting:
            if self._following is None:
                assert self._server_tasks is not None
                following = Following(orchestrations, self._is_wanted, self._tell)
                await self._server_tasks.start(following.run)
                self._following = following
            return self._following

    def _is_wanted(self, uri: str) -> bool:
        return uri in self._wanted

    async def _tell(self, uri: str) -> None:
        await self.bus.publish(ResourceUpdated(uri=uri))
        for client in list(self._clients.get(uri, {}).values()):
            with anyio.move_on_after(PATIENCE), suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):  # it is just going
                await client.send_resource_updated(uri)
