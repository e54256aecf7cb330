"""Who is connected, and the orchestrations he reaches: opened at the first call, when the client has told its name and its roots.

They are opened and closed in one task of the server's lifespan, whichever call came first.
"""

import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

import anyio
from mcp.server.mcpserver import Context
from mcp.shared.exceptions import MCPError

from devsh_memory_mcp.config import Caller
from devsh_memory_mcp.errors import DevshError
from devsh_memory_mcp.faces.mcp_wait import Waits
from devsh_memory_mcp.ports import Orchestrations

Open = Callable[[Caller], AbstractAsyncContextManager[Orchestrations]]

NAMELESS_CLIENT = "mcp"
_ROOTS_TIMEOUT = 2.0


@dataclass(slots=True)
class Answer:
    """What opening came to; exactly one of the two is there once it is settled."""

    settled: anyio.Event = field(default_factory=anyio.Event)
    orchestrations: Orchestrations | None = None
    failure: Exception | None = None


class Session:
    """One caller's way to his orchestrations.

    An empty `head_agent` is filled in with the client's name; with `asks_roots` the client's first root becomes the directory.
    """

    def __init__(self, opened: Orchestrations | Open, caller: Caller, *, asks_roots: bool = False) -> None:
        self.caller = caller
        self.client = ""
        self.waits = Waits()
        self._opened = opened
        self._asks_roots = asks_roots
        self._orchestrations: Orchestrations | None = None if callable(opened) else opened
        self._lock = anyio.Lock()
        self._asked = anyio.Event()
        self._answer = Answer()

    async def orchestrations(self, context: Context) -> Orchestrations:
        """What the caller reaches; opened now if this is the first call. Raises what opening raises, and tries again next time."""
        if self._orchestrations is not None:
            return self._orchestrations
        async with self._lock:
            return self._orchestrations or await self._opened_now(context)

    def client_name(self, context: Context) -> str:
        """The client's own name for itself, empty where it gives none."""
        if not self.client:
            introduction = context.request_context.session.client_params
            self.client = introduction.client_info.name if introduction else ""
        return self.client

    @asynccontextmanager
    async def lifespan(self, _server: object) -> AsyncIterator[None]:
        """Holds what is opened for as long as the server serves."""
        async with anyio.create_task_group() as tasks:
            if callable(self._opened):
                tasks.start_soon(self._hold, self._opened)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()

    async def _opened_now(self, context: Context) -> Orchestrations:
        self.caller = await self._introduced(context)
        self._answer = Answer()
        self._asked.set()
        await self._answer.settled.wait()
        if self._answer.failure is not None:
            raise self._answer.failure
        assert self._answer.orchestrations is not None
        return self._answer.orchestrations

    async def _hold(self, opener: Open) -> None:
        while True:
            await self._asked.wait()
            self._asked = anyio.Event()
            try:
                async with opener(self.caller) as orchestrations:
                    self._orchestrations = self._answer.orchestrations = orchestrations
                    self._answer.settled.set()
                    await anyio.sleep_forever()
            except (DevshError, OSError) as error:
                self._answer.failure = error
            finally:
                self._orchestrations = None
                self._answer.settled.set()

    async def _introduced(self, context: Context) -> Caller:
        caller = self.caller
        if not caller.head_agent:
            caller = replace(caller, head_agent=self.client_name(context) or NAMELESS_CLIENT)
        if self._asks_roots and (root := await _first_root(context)) is not None:
            caller = replace(caller, directory=root)
        return caller


async def _first_root(context: Context) -> Path | None:
    """The client's first root that is a directory here; only clients of the handshake era can be asked."""
    session = context.request_context.session
    introduction = session.client_params
    if introduction is None or introduction.capabilities.roots is None:
        return None
    with warnings.catch_warnings():  # deprecated with the era, and the only way to learn it there
        warnings.simplefilter("ignore")
        question = session.list_roots()
    try:
        with anyio.fail_after(_ROOTS_TIMEOUT):
            answer = await question
    except (MCPError, TimeoutError):
        return None
    paths = [Path(unquote(urlsplit(str(root.uri)).path)) for root in answer.roots if str(root.uri).startswith("file:")]
    return next((path for path in paths if path.is_dir()), None)
