"""A server with one thing of every kind that the protocol has, by the names that its conformance tests call them."""

import json
import warnings
from typing import Any

import anyio
from doubles.showcase_forms import Answer, Choices, Defaults, asked
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.tools import Tool
from mcp.types import (
    AudioContent,
    Completion,
    EmbeddedResource,
    EmptyResult,
    ImageContent,
    SamplingMessage,
    SetLevelRequestParams,
    SubscribeRequestParams,
    TextContent,
    TextResourceContents,
    UnsubscribeRequestParams,
)  # fmt: skip

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
SILENCE = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA="
IMAGE = ImageContent(type="image", data=PIXEL, mime_type="image/png")
DIALECT = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {"address": {"type": "object", "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}},
    "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"}},
    "additionalProperties": False,
}


def resource(uri: str, text: str, mime_type: str) -> EmbeddedResource:
    return EmbeddedResource(type="resource", resource=TextResourceContents(uri=uri, mime_type=mime_type, text=text))


async def test_simple_text() -> str:
    """Says a text."""
    return "a plain text"


async def test_image_content() -> list[ImageContent]:
    """Shows an image."""
    return [IMAGE]


async def test_audio_content() -> list[AudioContent]:
    """Lets silence be heard."""
    return [AudioContent(type="audio", data=SILENCE, mime_type="audio/wav")]


async def test_embedded_resource() -> list[EmbeddedResource]:
    """Embeds a resource."""
    return [resource("test://embedded-resource", "what is embedded", "text/plain")]


async def test_multiple_content_types() -> list[TextContent | ImageContent | EmbeddedResource]:
    """Answers with three kinds of content."""
    return [TextContent(type="text", text="three kinds"), IMAGE, resource("test://mixed-content-resource", "{}", "application/json")]


async def test_error_handling() -> str:
    """Fails."""
    raise RuntimeError("as it is meant to be")


async def log(ctx: Context, text: str) -> None:
    with warnings.catch_warnings():  # the protocol's own logging is on its way out, and still in its tests
        warnings.simplefilter("ignore")
        await ctx.info(text)


async def test_tool_with_logging(ctx: Context) -> str:
    """Logs three lines."""
    for text in ("one", "two", "three"):
        await log(ctx, text)
        await anyio.lowlevel.checkpoint()
    return "logged"


async def test_tool_with_progress(ctx: Context) -> str:
    """Reports progress."""
    for done in (0, 50, 100):
        await ctx.report_progress(done, 100, f"{done} of 100")
    return "reported"


async def test_reconnection(ctx: Context) -> str:
    """Closes the stream on which it was asked."""
    await ctx.close_sse_stream()
    return "told on another stream"


async def test_sampling(prompt: str, ctx: Context) -> str:
    """Asks the client's model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asked_for = [SamplingMessage(role="user", content=TextContent(type="text", text=prompt))]
        # On the stream of the call: there may be no other yet.
        said = await ctx.session.create_message(asked_for, max_tokens=9, related_request_id=ctx.request_id)
    return f"the model says {getattr(said.content, 'text', '')}"


async def test_elicitation(message: str, ctx: Context) -> str:
    """Asks the client's user."""
    return await asked(ctx, message, Answer)


async def test_elicitation_sep1034_defaults(ctx: Context) -> str:
    """Asks with defaults."""
    return await asked(ctx, "with defaults", Defaults)


async def test_elicitation_sep1330_enums(ctx: Context) -> str:
    """Asks for choices."""
    return await asked(ctx, "with choices", Choices)


TOOLS = (
    test_simple_text, test_image_content, test_audio_content, test_embedded_resource, test_multiple_content_types, test_error_handling,
    test_tool_with_logging, test_tool_with_progress, test_reconnection, test_sampling, test_elicitation, test_elicitation_sep1034_defaults,
    test_elicitation_sep1330_enums,
)  # fmt: skip


def showcase() -> MCPServer[Any]:
    """The server."""
    dialect = Tool.from_function(test_simple_text, name="json_schema_2020_12_tool")
    dialect.parameters = DIALECT
    server: MCPServer[Any] = MCPServer("showcase", version="1", tools=[dialect, *map(Tool.from_function, TOOLS)], log_level="ERROR")
    furnish(server)
    low = server._lowlevel_server

    async def nothing(_context: Any, _params: Any) -> EmptyResult:
        return EmptyResult()

    low.add_request_handler("logging/setLevel", SetLevelRequestParams, nothing)
    low.add_request_handler("resources/subscribe", SubscribeRequestParams, nothing)
    low.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, nothing)
    return server


def furnish(server: MCPServer[Any]) -> None:
    """Resources, prompts and completion."""

    @server.resource("test://static-text", mime_type="text/plain")
    async def text() -> str:
        return "what does not change"

    @server.resource("test://static-binary", mime_type="image/png")
    async def binary() -> bytes:
        return b"\x89PNG"

    @server.resource("test://template/{id}/data", mime_type="application/json")
    async def template(id: str) -> str:
        return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})

    @server.resource("test://watched-resource", mime_type="text/plain")
    async def watched() -> str:
        return "what is watched"

    @server.prompt()
    async def test_simple_prompt() -> str:
        """Is a plain prompt."""
        return "a plain prompt"

    @server.prompt()
    async def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
        """Takes arguments."""
        return f"with {arg1} and {arg2}"

    @server.prompt()
    async def test_prompt_with_embedded_resource(resourceUri: str) -> list[Any]:
        """Embeds a resource."""
        return [resource(resourceUri, "what is embedded", "text/plain")]

    @server.prompt()
    async def test_prompt_with_image() -> list[Any]:
        """Has an image."""
        return [IMAGE]

    @server.completion()
    async def complete(_ref: Any, _argument: Any, _context: Any) -> Completion:
        return Completion(values=[], total=0, has_more=False)
