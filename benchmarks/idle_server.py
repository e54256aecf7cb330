"""A server that does nothing: one trivial tool, made with the plain SDK, as its users make them. What ours is measured against."""

from mcp.server import MCPServer

server = MCPServer("idle", version="1")


@server.tool()
async def echo(text: str) -> str:
    return text


if __name__ == "__main__":
    server.run("stdio")
