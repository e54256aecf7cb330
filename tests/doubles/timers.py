"""Clients as they are: how long they bear a call, and what they do with one that takes longer."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
from mcp import Client
from mcp.client._memory import InMemoryTransport
from mcp.server import MCPServer
from mcp.types import Implementation

FOREVER = float("inf")


@dataclass(frozen=True)
class Kind:
    """`cut` seconds end a call whatever it says, `idle` seconds of silence too; after `background` its model goes on meanwhile."""

    name: str
    cut: float = FOREVER
    idle: float = FOREVER
    background: float = FOREVER
    wants_progress: bool = True
    is_http: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Hands:
    """A connected client of a kind. `cuts` counts the calls that it gave up."""

    kind: Kind
    client: Client
    cuts: int = 0

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any] | None:
        """The tool's answer, None where the client lost its patience: its model sees an error then."""
        began = anyio.current_time()
        scope = anyio.CancelScope(deadline=began + min(self.kind.cut, self.kind.idle))

        async def sign_of_life(_done: float, _total: float | None, _line: str | None) -> None:
            scope.deadline = min(began + self.kind.cut, anyio.current_time() + self.kind.idle)

        with scope:
            callback = sign_of_life if self.kind.wants_progress else None
            answer = await self.client.call_tool(tool, arguments, progress_callback=callback)
            assert not answer.is_error, answer.content
            return answer.structured_content
        self.cuts += 1
        return None

    async def call_aside(self, tool: str, meanwhile: Callable[[], Awaitable[None]], **arguments: Any) -> dict[str, Any] | None:
        """The same; where it lasts, the model is told so and does something else, until the answer wakes it."""
        answers: list[dict[str, Any] | None] = []
        answered = anyio.Event()

        async def run() -> None:
            answers.append(await self.call(tool, **arguments))
            answered.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            with anyio.move_on_after(self.kind.background):
                await answered.wait()
            if not answers:
                await meanwhile()
        return answers[0]


@asynccontextmanager
async def connected(kind: Kind, server: MCPServer[Any], era: str) -> AsyncIterator[Hands]:
    async def as_over_http(context: Any, call_next: Any) -> Any:
        return await call_next(replace(context, request=object()))

    if kind.is_http:
        server.middleware.append(as_over_http)
    who = Implementation(name=kind.name, version="1")
    async with Client(InMemoryTransport(server), mode=era, client_info=who) as client:
        yield Hands(kind, client)
