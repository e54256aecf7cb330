"""The MCP server of one caller: his tools over his orchestrations. Parse, call, render; every failure says what to do next."""

import difflib
import logging
from collections.abc import Mapping
from typing import Any

from mcp.server import MCPServer
from mcp.server.caching import CacheHint
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import UnexpectedToolError
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase, FuncMetadata
from mcp.types import CallToolResult
from pydantic import PrivateAttr, ValidationError

from devsh_memory_mcp.agents import catalogue
from devsh_memory_mcp.config import VERSION, Caller
from devsh_memory_mcp.domain.names import HEAD
from devsh_memory_mcp.domain.requests import fault_in_words, faults_of
from devsh_memory_mcp.errors import DevshError, InvalidId, InvalidRequest, NotFound, UnknownDependency
from devsh_memory_mcp.faces.mcp_arguments import Arguments
from devsh_memory_mcp.faces.mcp_result import error_result
from devsh_memory_mcp.faces.mcp_schema import Schema, input_schema, output_schema
from devsh_memory_mcp.faces.mcp_session import Open, Session
from devsh_memory_mcp.faces.mcp_tools import FACES, Call, Face
from devsh_memory_mcp.ports import Orchestrations

SERVER_NAME = "devsh-memory"

INSTRUCTIONS = """\
You lead sub-agents. Each works in its own checkout of this project, on a branch of its own that is made from the base branch; \
it never touches your files.

1. spawn_agent for every piece of work, all of them before you wait. A prompt must stand alone: the agent sees only the prompt and \
its checkout, not this conversation, not your uncommitted changes (includeDirty gives them to it). Name files, the goal, and how to \
check it. dependsOn orders work: a dependent starts when all it names have completed, with their branches merged into its checkout; \
naming another agent's id in a prompt tells its agent that one's branch and outcome.
2. ONE wait_for_agent with the ids of all and mode "any"; act on those that ended, then wait for the rest. Never poll with \
get_agent_status. If the answer says to call it again, do so; nothing is lost, and agents go on meanwhile. It answers early when a \
message for you arrives (unreadMessages): read it with get_my_messages.
3. A result is the agent's last words; its code is on `branch` (merge or inspect it with git). Failed: read errorMessage, then spawn \
again with a better prompt, or a `retries` number.

Answers are at most 8 KB: longer texts are cut (resultTruncated; resultPath is the file with all), longer lists have nextCursor. \
`next` in an answer is what to do now. An id is any of orchestrationTaskId, taskRunId or the name you gave.

agentName is provider/model. With shell/bash and shell/sh the prompt is not a wish but a script, run as it is in the checkout: good \
for tests, builds and checks, free of charge; its result is what it printed."""

AGENT_INSTRUCTIONS = """\
You are a sub-agent in your own checkout. get_my_messages shows what the head and other agents sent you; send_message answers \
(to "head" for the one who leads, type "response" with correlationId where you were asked something). get_agent_status tells how \
another agent fares and on which branch its work is. You cannot spawn agents: if work is missing, tell the head."""

# What the CLI's next steps are in terms of tools.
_NEXT_STEPS: dict[type[DevshError], str] = {
    NotFound: "list_spawned_agents shows your agents' ids; spawn_agent makes the first.",
    InvalidId: "Ids are 1 to 64 letters, digits, '-' or '_'; list_spawned_agents shows yours.",
    UnknownDependency: "Spawn the dependency first, or take its id from list_spawned_agents.",
}

_log = logging.getLogger(__name__)


def build_server(orchestrations: Orchestrations | Open, caller: Caller, *, asks_roots: bool = False) -> MCPServer[None]:
    """A server for `caller` over what is open already, or over what `Open` opens once the client is known.

    An empty `caller.head_agent` becomes the client's name; `asks_roots` takes the directory from the client's roots where it has any.
    Agents get the three tools with which they talk; heads get all nine.
    """
    session = Session(orchestrations, caller, asks_roots=asks_roots)
    is_head = caller.identity == HEAD
    server = MCPServer(
        SERVER_NAME,
        title="devsh orchestrator",
        version=VERSION,
        instructions=INSTRUCTIONS if is_head else AGENT_INSTRUCTIONS,
        tools=[_tool(face, session) for face in FACES if is_head or face.is_for_agents],
        lifespan=session.lifespan,
        cache_hints={"tools/list": CacheHint(ttl_ms=60_000, scope="private")},
        log_level="WARNING",
    )
    # Spans for nobody and sealed state that no tool uses: together a tenth of a call's time.
    server.middleware.clear()
    return server


def _tool(face: Face, session: Session) -> Tool:
    parameters = input_schema(face.takes)
    _describe_agents(parameters, session.caller.environment)
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


def parsed(takes: type[Arguments], given: Mapping[str, object]) -> Arguments:
    """The arguments, checked. InvalidRequest names every wrong one, and the nearest where a name is unknown."""
    known = {field.alias or name for name, field in takes.model_fields.items()}
    try:
        return takes.model_validate({name: value for name, value in given.items() if value is not None or name not in known})
    except ValidationError as error:
        faults = [_fault(fault, known) for fault in faults_of(error)]
        raise InvalidRequest("; ".join(faults) + ".", next_step="Correct the arguments and call again.") from error


def _fault(fault: Mapping[str, Any], known: set[str]) -> str:
    where = ".".join(str(part) for part in fault["loc"])[:80]
    if fault["type"] != "extra_forbidden":
        return f"{where}: {fault_in_words(fault)}"
    near = difflib.get_close_matches(where, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known)) or 'none'}"
    return f"{where}: unknown argument, {hint}"


def next_step(error: DevshError) -> str:
    """The error's next step, in terms of tools where its class has one for the command line."""
    for kind, step in _NEXT_STEPS.items():
        if isinstance(error, kind) and error.next_step == kind.next_step:
            return step
    return error.next_step


def _describe_agents(parameters: Schema, environment: Mapping[str, str]) -> None:
    """Names the agents that can be started here, and which one it is without a word."""
    if (shown := parameters["properties"].get("agentName")) is not None:
        here = ", ".join(f"shell/{shell}" for shell in catalogue.SHELLS)
        shown["description"] = f"provider/model. Available here: {here} (the prompt is a script)."
        shown["default"] = environment.get("CMUX_DEFAULT_CODING_AGENT") or catalogue.DEFAULT_AGENT
