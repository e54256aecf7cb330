"""`devsh-memory-mcp`: the MCP server over stdin and stdout, by a warm process where there is one, else by this one."""

import os
import sys

from devsh_memory_mcp.handover import hand_over


def main() -> None:
    """Until the client goes (exit 0) or a signal comes (128 + its number)."""
    arguments = sys.argv[1:]
    code = hand_over(arguments, os.environ, os.getcwd())
    if code is not None:
        os._exit(code)  # the interpreter takes longer to leave than the session did
    from devsh_memory_mcp.program import main as serve  # what it imports is what a session that is handed over is spared

    serve(arguments)


if __name__ == "__main__":
    main()
