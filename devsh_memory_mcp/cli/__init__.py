"""The command line, `devsh`: it parses, asks an orchestration and renders the answer.

Start-up counts here: a person waits for it at every command. So a command's module is imported when it is called
(`group.LazyGroup`), and what is heavy (asyncio, pydantic: 60 to 200 ms each) inside the function that needs it. This is
the only part of the program where an import may stand inside a function.
"""

import sys


def main() -> None:
    """The console script."""
    from devsh_memory_mcp.cli.main import run

    sys.exit(run(sys.argv[1:]))
