"""The MCP server of one caller: his tools over his orchestrations. Parse, call, render; every failure says what to do next."""

import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from copy import deepcopy
from typing import Any

from mcp.server import MCPServer
from mcp.server.caching import CacheHint
from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ResourceError, UnexpectedResourceError, UnexpectedToolError
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase, FuncMetadata
from mcp.types import CallToolResult, GetPromptResult, InputRequiredResult, Prompt, Resource, ResourceTemplate
from pydantic import PrivateAttr

from devsh_memory_mcp.config import VERSION, Caller
from devsh_memory_mcp.errors import DevshError, InvalidId, NotAllowed, NotFound, SettingsInvalid, UnknownDependency
from devsh_memory_mcp.faces import mcp_prompts, mcp_resources
from devsh_memory_mcp.faces.mcp_arguments import parsed
from devsh_memory_mcp.faces.mcp_instructions import AGENT_INSTRUCTIONS, INSTRUCTIONS
from devsh_memory_mcp.faces.mcp_notices import Notices
from devsh_memory_mcp.faces.mcp_result import error_result
from devsh_memory_mcp.faces.mcp_schema import Schema, input_schema, output_schema
from devsh_memory_mcp.faces.mcp_session import Open, Session
from devsh_memory_mcp.faces.mcp_tools import FACES, Call, Face
from devsh_memory_mcp.inventory import in_words
from devsh_memory_mcp.ports import Orchestrations
from devsh_memory_mcp.settings import load_settings

SERVER_NAME = "devsh-memory"

# What the CLI's next steps are in terms of tools.
_NEXT_STEPS: dict[type[DevshError], str] = {
    NotFound: "list_spawned_agents shows your agents' ids; spawn_agent makes the first.",
    InvalidId: "Ids are 1 to 64 letters, digits, '-' or '_'; list_spawned_agents shows yours.",
    UnknownDependency: "Spawn the dependency first, or take its id from list_spawned_agents.",
}

_log = logging.getLogger(__name__)


def build_server(
    orchestrations: Orchestrations | Open, caller: Caller, *, asks_roots: bool = False, is_here: bool = True
) -> MCPServer[None]:
    """A server for `caller` over what is open already, or over what `Open` opens once the client is known.

    An empty `caller.head_agent` becomes the client's name; `asks_roots` takes the directory from the client's roots where it has any.
    Agents get the three tools with which they talk; heads get all tools, resources and prompts. What a head can start is said where it
    is started on this machine (`is_here`).
    """
    return OwnServer(Session(orchestrations, caller, asks_roots=asks_roots), is_here=is_here)


class OwnServer(MCPServer[None]):
    """What one session is offered: all of it where a head speaks, the way to talk where an agent does."""

    def __init__(self, session: Session, *, is_here: bool) -> None:
        self._session = session
        self._notices = Notices(session)
        self._is_head = session.caller.is_head
        super().__init__(
            SERVER_NAME,
            title="devsh orchestrator",
            version=VERSION,
            instructions=INSTRUCTIONS if self._is_head else AGENT_INSTRUCTIONS,
            tools=[_tool(face, session, is_here=is_here) for face in FACES if self._is_head or face.is_for_agents],
            lifespan=self._lifespan,
            cache_hints={"tools/list": CacheHint(ttl_ms=60_000, scope="private")},
            log_level="WARNING",
            subscriptions=self._notices.bus,
        )
        # Spans for nobody and sealed state that no tool uses: together a tenth of a call's time.
        self.middleware.clear()
        if self._is_head:
            self._notices.serve(self)

    @asynccontextmanager
    async def _lifespan(self, server: object) -> AsyncIterator[None]:
        async with self._session.lifespan(server), self._notices.lifespan():
            yield

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """The tool's answer; an agent who calls a head's tool is told whom to ask."""
        if not self._is_head and any(face.name == name and not face.is_for_agents for face in FACES):
            return error_result(refused := NotAllowed(f"{name} is for heads, and you are a sub-agent."), refused.next_step)
        answer = await super().call_tool(name, arguments, context)
        await self._notices.poke()
        return answer

    async def list_resources(self) -> list[Resource]:
        """The addresses that stand for one thing."""
        return [offer.resource() for offer in mcp_resources.OFFERS if self._is_head and not offer.is_template]

    async def list_resource_templates(self) -> list[ResourceTemplate]:
        """The addresses that stand for many."""
        return [offer.template() for offer in mcp_resources.OFFERS if self._is_head and offer.is_template]

    async def read_resource(self, uri: object, context: Context[Any, Any] | None = None) -> Iterable[ReadResourceContents]:
        """What is at an address. ResourceError says what to do instead."""
        if not self._is_head or context is None:
            raise mcp_resources.unknown(str(uri))
        try:
            text, mime_type = await mcp_resources.read(await self._session.orchestrations(context), str(uri))
        except ResourceError:
            raise
        except DevshError as error:
            raise ResourceError(f"{error.code}: {error}") from error
        except Exception as error:  # the face's outer rim, as for tools
            raise UnexpectedResourceError(f"{str(uri)[:200]} cannot be read; the server's log has the reason.") from error
        return [ReadResourceContents(content=text, mime_type=mime_type)]

    async def list_prompts(self) -> list[Prompt]:
        """The patterns."""
        return [pattern.listed() for pattern in mcp_prompts.PATTERNS if self._is_head]

    async def get_prompt(
        self, name: str, arguments: dict[str, Any] | None = None, context: Context[Any, Any] | None = None
    ) -> GetPromptResult:
        """One pattern."""
        if not self._is_head:
            raise mcp_prompts.unknown(name)
        return mcp_prompts.get_prompt(name, arguments)


def _tool(face: Face, session: Session, *, is_here: bool) -> Tool:
    parameters = deepcopy(input_schema(face.takes))
    if is_here:
        _describe_agents(parameters, session.caller)
    tool = OwnTool(
        fn=face.run,
        name=face.name,
        title=face.title,
        description=face.text,
        parameters=parameters,
        fn_metadata=FuncMetadata(arg_model=ArgModelBase, output_schema=output_schema(face.answers, face.shown)),
        is_async=True,
        annotations=face.hints,
    )
    tool.attach(face, session)
    return tool


class OwnTool(Tool):
    """A tool whose arguments are one of our requests and whose result is rendered by us; unknown arguments are refused."""

    _face: Face = PrivateAttr()
    _session: Session = PrivateAttr()

    def attach(self, face: Face, session: Session) -> None:
        """Says what it runs, for whom."""
        self._face, self._session = face, session

    async def run(self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False) -> CallToolResult:  # noqa: FBT001, FBT002  # the base's signature
        """Parses, calls, renders."""
        try:
            given = parsed(self._face.takes, arguments)
            orchestrations = await self._session.orchestrations(context)
            return await self._face.run(Call(self._session, orchestrations, context), given)
        except DevshError as error:
            return error_result(error, next_step(error))
        except Exception as error:  # the face's outer rim: what nobody expected is logged, and not told
            raise UnexpectedToolError(f"Error executing tool {self.name}; the server's log has the reason.") from error


def next_step(error: DevshError) -> str:
    """The error's next step, in terms of tools where its class has one for the command line."""
    for kind, step in _NEXT_STEPS.items():
        if isinstance(error, kind) and error.next_step == kind.next_step:
            return step
    return error.next_step


def _describe_agents(parameters: Schema, caller: Caller) -> None:
    """Names the agents that can be started here, and which one it is without a word."""
    if (shown := parameters["properties"].get("agentName")) is not None:
        shown["description"] = f"provider/model. Available here: {in_words(caller.environment)}."
        with suppress(SettingsInvalid):  # the spawn says what is wrong with them
            shown["default"] = load_settings(caller.settings_place, caller.environment).default_agent
