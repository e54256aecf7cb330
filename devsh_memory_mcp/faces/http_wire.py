"""Requests to a server, one by one: with a token, over TCP or a unix socket, repeated where that is safe, errors as what they were.

What cannot be reached is asked again for a while, with back-off and jitter. A request that may have arrived is sent again only where
its operation says that repeating does nothing twice.
"""

import json
import random
import socket
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import anyio
import httpx2
from pydantic import BaseModel, ValidationError

from devsh_memory_mcp import errors
from devsh_memory_mcp.config import VERSION, Caller
from devsh_memory_mcp.domain.names import checked_id
from devsh_memory_mcp.errors import DevshError, Unauthenticated, Unreachable
from devsh_memory_mcp.faces.http_address import Address
from devsh_memory_mcp.faces.http_origin import Origin
from devsh_memory_mcp.faces.http_words import AGENT, CLIENT, PROJECT, REPEAT, SESSION, SHELL
from devsh_memory_mcp.faces.operations import Operation, Stream

PATIENCE = 10.0  # seconds in which a server that was there is tried again
FIRST_PATIENCE = 1.0  # the same before it has answered for the first time
ANSWERS_WITHIN = 60.0  # seconds, beside what a request is allowed to last
SILENT_FOR = 45.0  # seconds after which a stream without a line is dead: the server sends one every 15
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0

Parameters = Mapping[str, object]  # by their names on the wire; what is None is not sent
NONE: Parameters = MappingProxyType({})

_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


class Wire:
    """A connection to one server, for one caller. Opened with `open_wire`."""

    def __init__(self, client: httpx2.AsyncClient, address: Address, patience: float, caller: Caller) -> None:
        self.is_shell = caller.is_shell
        self.origin = Origin(caller)
        self._client = client
        self.address = address
        self._patience = patience
        self._has_answered = False

    async def ask(self, operation: Operation, any_id: str = "", parameters: Parameters = NONE, *, lasts: float = 0.0) -> Any:
        """The answer. What the server refused is raised as what it was; Unreachable where there is none."""
        sent = {name: value for name, value in parameters.items() if value is not None}
        headers = {REPEAT: uuid.uuid4().hex} if operation.repeats == "memory" else {}
        content = {"params": _query(sent)} if operation.method == "GET" else {"json": sent}
        request = self._client.build_request(
            operation.method, self._url(operation.path, any_id), headers=headers, timeout=ANSWERS_WITHIN + lasts, **content
        )
        response = await self._sent(request, is_repeatable=True)
        return _read(operation.answers, _document(response, self.address))

    async def lines(self, stream: Stream, any_id: str, parameters: Parameters = NONE) -> AsyncIterator[Any]:
        """The pieces of a stream, once; Unreachable where it breaks off."""
        async with self.opened(stream.path, any_id, parameters) as response:
            async for line in response.aiter_lines():
                if line:
                    yield _piece(stream, line)

    @asynccontextmanager
    async def opened(self, path: str, any_id: str, parameters: Parameters = NONE) -> AsyncIterator[httpx2.Response]:
        """An answer that goes on, tried once; what the server refused is raised, and Unreachable where it breaks off."""
        sent = {name: value for name, value in parameters.items() if value is not None}
        request = self._client.build_request("GET", self._url(path, any_id), params=_query(sent), timeout=SILENT_FOR)
        try:
            response = await self._client.send(request, stream=True)
            try:
                if response.status_code != 200:
                    await response.aread()
                    _document(response, self.address)
                yield response
            finally:
                await response.aclose()
        except httpx2.TransportError as error:
            raise self._unreachable(error) from error

    async def _sent(self, request: httpx2.Request, *, is_repeatable: bool) -> httpx2.Response:
        """The response, asked for until there is one or patience is over."""
        patience = self._patience if self._has_answered else min(self._patience, FIRST_PATIENCE)
        deadline = anyio.current_time() + patience
        pause = _FIRST_PAUSE
        while True:
            try:
                response = await self._client.send(request)
                self._has_answered = True
                if response.status_code != 429 or anyio.current_time() > deadline:
                    return response
            except httpx2.TransportError as error:
                if anyio.current_time() > deadline or not (is_repeatable or isinstance(error, _NOT_SENT)):
                    raise self._unreachable(error) from error
            await anyio.sleep(random.uniform(pause / 2, pause))
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _url(self, path: str, any_id: str) -> str:
        return self.address.base + path.replace("{id}", checked_id(any_id) if "{id}" in path else "")

    def _unreachable(self, error: Exception) -> DevshError:
        return Unreachable(f"The server {self.address} cannot be reached: {type(error).__name__}{f' ({error})' if str(error) else ''}.")


@asynccontextmanager
async def open_wire(
    address: Address,
    token: str | None,
    caller: Caller,
    *,
    patience: float = PATIENCE,
    transport: httpx2.AsyncBaseTransport | None = None,
) -> AsyncIterator[Wire]:
    """A wire for as long as the context lasts; nothing is connected before it is needed. Unauthenticated without a token."""
    if not token:
        raise Unauthenticated(f"The server {address} needs a token, and CMUX_TASK_RUN_JWT is not set.")
    if transport is None and not address.base.startswith("https:"):
        # Certificates take a tenth of a second to load, and nobody asks for them here; nor is a proxy meant for one's own server.
        transport = httpx2.AsyncHTTPTransport(uds=address.socket, verify=False)
    async with httpx2.AsyncClient(transport=transport, headers=_headers(token, caller), follow_redirects=False) as client:
        yield Wire(client, address, patience, caller)


def _headers(token: str, caller: Caller) -> dict[str, str]:
    said = {CLIENT: uuid.uuid4().hex, SESSION: caller.session, PROJECT: project_name(caller), AGENT: caller.head_agent}
    headers = {name: quote(value, safe=" /:@+.,=-") for name, value in said.items() if value}
    return headers | {"Authorization": f"Bearer {token}", "User-Agent": f"devsh/{VERSION}", SHELL: "1" if caller.is_shell else "0"}


def project_name(caller: Caller) -> str:
    """What a project is called at a server: where it is, and on which machine."""
    return f"{socket.gethostname()}:{caller.project}"


def _query(sent: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in sent.items()}


def _document(response: httpx2.Response, address: Address) -> object:
    """What the server said; raises what it refused."""
    try:
        found = json.loads(response.content)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Unreachable(f"{address} does not answer as a server of devsh does (HTTP {response.status_code}).")
    if response.status_code >= 400:
        raise raised(found, response.status_code, address)
    return found


def raised(fault: Mapping[str, object], status: int, address: Address) -> DevshError:
    """The error that a fault was; Unreachable where it is none of ours."""
    kind = _BY_CODE.get(str(fault.get("code")))
    if kind is None:
        return Unreachable(f"{address} answers with HTTP {status}: {str(fault.get('error') or fault.get('message'))[:300]}")
    return kind(str(fault.get("message") or ""), next_step=str(fault.get("next") or ""))


def _read(kind: type[BaseModel], document: object) -> BaseModel:
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise Unreachable(f"The server's answer is not one that this release knows: {error.error_count()} fields are wrong.") from error


def _piece(stream: Stream, line: str) -> BaseModel:
    document = json.loads(line)
    if isinstance(document, dict) and "fault" in document:
        raise _BY_CODE.get(str(document["fault"].get("code")), DevshError)(
            str(document["fault"].get("message")), next_step=str(document["fault"].get("next") or "")
        )
    return _read(stream.answers, document)


def _classes(kind: type[DevshError]) -> list[type[DevshError]]:
    return [kind, *(found for below in kind.__subclasses__() for found in _classes(below))]


_BY_CODE: Mapping[str, type[DevshError]] = {kind.code: kind for kind in _classes(errors.DevshError)}
