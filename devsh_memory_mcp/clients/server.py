"""How a client starts our server: its name there, and the command as it is installed here."""

import os
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from devsh_memory_mcp.errors import InvalidRequest

SERVER_NAME = "devsh-memory"
PROGRAM = "devsh-memory-mcp"
WAIT_SECONDS = 1800  # how long a client may wait for one call
# Directories in which uv keeps what it fetched for a single call.
_FOR_ONE_CALL = ("archive-v", "environments-v", "builds-v")


def server_command() -> tuple[str, ...]:
    """The program and its arguments, by absolute paths. InvalidRequest where it is here for this one call."""
    program = Path(sysconfig.get_path("scripts")) / PROGRAM
    if any(part.startswith(_FOR_ONE_CALL) for part in program.parts):
        raise InvalidRequest(
            f"{PROGRAM} is here for this one call only, so nobody could start it tomorrow.",
            next_step=f"Install it: uv tool install {PROGRAM}. Then run `devsh setup` again.",
        )
    return (str(program),) if os.access(program, os.X_OK) else (sys.executable, "-m", "devsh_memory_mcp")


def shared_command(command: tuple[str, ...], environment: Mapping[str, str]) -> tuple[str, ...]:
    """The same for a file that others get too: by its name alone, where PATH leads to that very program here."""
    found = shutil.which(PROGRAM, path=environment.get("PATH"))
    is_same = found is not None and len(command) == 1 and os.path.realpath(found) == os.path.realpath(command[0])
    return (PROGRAM,) if is_same else command
