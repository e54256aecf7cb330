"""One connection of an agent's: its requests, one after the other, and the way of each to the provider and back."""

import json
import time
import typing

from devsh_memory_mcp.agents.endpoint import WEBSOCKET, Ask
from devsh_memory_mcp.shim.broker import turns
from devsh_memory_mcp.shim.broker.body import BadBody, Body
from devsh_memory_mcp.shim.broker.credential import NoCredential, carried, real_headers
from devsh_memory_mcp.shim.broker.facts import Facts
from devsh_memory_mcp.shim.broker.head import BadHead, Request, forwarded, parse_request, parse_response
from devsh_memory_mcp.shim.broker.plan import LARGEST_HEAD, Route
from devsh_memory_mcp.shim.broker.rule import Entry, is_allowed, may_lead_to, parse_place
from devsh_memory_mcp.shim.broker.stream import Gone, Stream, TooLong, pump, relay
from devsh_memory_mcp.shim.broker.turns import Task, Turns
from devsh_memory_mcp.shim.broker.way import Forbidden, NoWay, Place, Way

_HEAD_WITHIN = 30.0  # seconds for a head once it has begun
_ANSWER_WITHIN = 3600.0  # a model may think for long, and the agent's own patience comes first
_REASONS = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 431: "Request Header Fields Too Large", 502: "Bad Gateway"}


class Upstream(typing.NamedTuple):
    """A provider's API, its address taken apart."""

    route: Route
    place: Place
    path: str
    host: str


class World(typing.NamedTuple):
    """What all connections of a broker share."""

    turns: Turns
    upstreams: tuple[Upstream, ...]
    entries: tuple[Entry, ...]
    way: Way
    facts: Facts


class Refusal(Exception):
    """The agent gets this as its answer; `why` says what to do."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Left(Exception):
    """The agent does not wait for the answer."""


class Exchange:
    """A connection from its first request to its end."""

    def __init__(self, world: World, client: Stream) -> None:
        self._world = world
        self._facts = world.facts
        self._client = client
        self._there: Stream | None = None  # the connection to the provider, kept for the next request
        self._whose: Upstream | None = None
        self._has_answered = False
        self._is_sent = False
        self._upward: Task | None = None
        self.task = world.turns.start(self._serve())

    async def _serve(self) -> None:
        """Until either end has left, or what it says cannot be trusted."""
        try:
            while await self._serve_one():
                continue
        except (Gone, Left, TimeoutError, BadBody):
            return  # half an answer is seen to be half: the connection ends in it
        finally:
            self._client.close()
            if self._there is not None:
                self._there.close()

    async def _serve_one(self) -> bool:
        """One request and its answer; whether another may follow."""
        self._has_answered = False
        try:
            head = await self._client.head(LARGEST_HEAD, None, _HEAD_WITHIN)
            if head is None:
                return False
            request = parse_request(head)
            self._facts.requests += 1
            self._facts.up(len(head))
            if request.method == "CONNECT":
                return await self._connect(request)
            return await self._pass_on(request)
        except TooLong:
            await self._refuse(431, f"a request's head has at most {LARGEST_HEAD // 1024} KiB")
        except (BadHead, Refusal) as error:
            await self._refuse(error.status, str(error))
        except NoWay as error:
            await self._refuse(502, str(error))
        return False

    async def _refuse(self, status: int, why: str) -> None:
        if self._has_answered:
            raise Gone("it broke off")
        content = json.dumps({"type": "error", "error": {"type": "devsh_broker", "message": f"devsh: {why}"}}).encode() + b"\n"
        head = f"HTTP/1.1 {status} {_REASONS.get(status, 'Refused')}\r\ncontent-type: application/json\r\n"
        await self._client.send(f"{head}content-length: {len(content)}\r\nconnection: close\r\n\r\n".encode() + content)
        self._client.end_output()

    # --- to any host that is allowed

    async def _connect(self, request: Request) -> bool:
        found = parse_place(request.target, None)
        if found is None or found[1] is None or request.find("content-length") or request.find("transfer-encoding"):
            raise Refusal(400, "CONNECT takes host:port and nothing else")
        host, port = found[0], found[1]
        entries = self._world.entries
        if not is_allowed(entries, host, port):
            why = "the host is not allowed"
            self._facts.refuse(f"{host}:{port}", why)
            raise Refusal(403, f"{host}:{port} is not allowed for this agent. Whoever spawns it can allow it: --network allow:{host}")
        try:
            there = await self._world.way.connect(Place(host, port, may_be=lambda found: may_lead_to(entries, host, port, found)))
        except Forbidden as error:
            self._facts.refuse(f"{host}:{port}", "it leads to a private address")
            raise Refusal(403, f"{error}. Whoever spawns the agent can allow that address too, by its number.") from error
        await self._client.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await self._tunnel(there)
        return False

    async def _tunnel(self, there: Stream) -> None:
        """Both ways at once, each to its own end."""
        upward = self._world.turns.start(pump(self._client, there, self._facts.up))
        try:
            await pump(there, self._client, self._facts.down)
            await turns.joined(upward)
        finally:
            self._world.turns.stop(upward)
            there.close()

    # --- to the provider

    async def _pass_on(self, request: Request) -> bool:
        upstream = self._upstream_of(request)
        route = upstream.route
        if not request.target.startswith(route.at):
            raise Refusal(404, f"the API begins with {route.at} here")
        path = request.target[len(route.at) :]
        if not path.startswith("/") or not _may_ask(route.asks, request, path.partition("?")[0]):
            self._facts.refuse(f"{upstream.host}{request.path[:200]}", "no part of the API that agents need")
            raise Refusal(403, f"{request.method} {request.path[:200]} is no part of the API that this agent needs")
        try:
            credential = real_headers(route.source)
        except NoCredential as error:
            raise Refusal(401, str(error)) from error
        there = await self._reach(upstream)
        try:
            await there.send(forwarded(request, upstream.path + path, upstream.host, credential))
        except Gone as error:
            raise NoWay(f"{upstream.host} has hung up") from error
        body = request.body
        self._is_sent = body.is_done  # an answer may be there before the upload has had a turn
        self._upward = self._world.turns.start(self._upload(body, there))
        try:
            return await self._download(request, there, upstream)
        except BadBody as error:
            raise Refusal(400, f"the request's body is broken: {error}") from error
        finally:
            self._stop_upload()

    async def _upload(self, body: Body, there: Stream) -> None:
        """The request's body; and after it the agent is watched, since what it no longer waits for is not to be paid for."""
        try:
            while not body.is_done:
                content = await self._client.some()
                taken = body.take(content)
                if not content:
                    raise Gone("it left in the middle of a request")
                self._client.ahead = content[taken:]
                self._facts.up(taken)
                try:
                    await there.send(content[:taken])
                except Gone:
                    return  # there may be an answer all the same, which says why
            self._is_sent = True
            if await self._client.left():
                raise Gone("it waits no longer")
        except Gone:
            self._world.turns.interrupt(self.task, Left())
        except BadBody as error:
            self._world.turns.interrupt(self.task, error)

    async def _download(self, request: Request, there: Stream, upstream: Upstream) -> bool:
        while True:
            head = await self._head_of(there, upstream)
            response = parse_response(head)
            if response.status == 101 and not request.is_upgrade:
                raise BadHead(502, "the provider changed the protocol, which nobody had asked for")
            self._facts.answered(request.path, response.status, response.headers)
            self._has_answered = True
            await self._client.send(head)
            self._facts.down(len(head))
            if response.status == 101:
                self._there = None
                await self._change(there)
                return False
            if response.status >= 200:
                break
        body = response.body(request.method)
        await relay(there, self._client, body, self._facts.down)
        return self._is_sent and not (body.ends_with_connection or request.is_last or response.is_last)

    async def _head_of(self, there: Stream, upstream: Upstream) -> bytes:
        try:
            head = await there.head(LARGEST_HEAD, time.monotonic() + _ANSWER_WITHIN, _HEAD_WITHIN)
        except (Gone, TooLong) as error:
            raise NoWay(f"{upstream.host} has broken off: {error}") from error
        if head is None:
            raise NoWay(f"{upstream.host} has hung up without an answer")
        return head

    async def _change(self, there: Stream) -> None:
        """Another protocol from here on, which is the two ends' own affair."""
        self._stop_upload()
        await self._tunnel(there)

    async def _reach(self, upstream: Upstream) -> Stream:
        """The connection that is there, if it is still good for another request, else a new one."""
        if self._there is not None and (self._whose is not upstream or not self._there.is_quiet):
            self._there.close()
            self._there = None
        if self._there is None:
            self._there = await self._world.way.connect(upstream.place)
            self._whose = upstream
        return self._there

    def _stop_upload(self) -> None:
        if self._upward is not None:
            self._world.turns.stop(self._upward)

    def _upstream_of(self, request: Request) -> Upstream:
        shown = set(carried(request.headers))
        for upstream in self._world.upstreams:
            if upstream.route.placeholder in shown:
                return upstream
        raise Refusal(401, "this request does not carry the credential that the agent was given")


def _may_ask(asks: typing.Sequence[Ask], request: Request, path: str) -> bool:
    """See `Route.asks`."""
    method = WEBSOCKET if request.is_upgrade else request.method
    return not asks or any(each.fits(method, path) for each in asks)
