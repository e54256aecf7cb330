"""What an agent that leads others is put before: `devsh` on its PATH, the API behind a socket, its orchestration's files and branches.

In a sandbox it has a memory root of its own, which holds nothing but what it is shown; outside of one it has its user's.
"""

import os
import shlex
import sys
import typing

from devsh_memory_mcp.shim import board, mcp_socket
from devsh_memory_mcp.shim.board import Board, Branches
from devsh_memory_mcp.shim.place import Place
from devsh_memory_mcp.shim.relay import Relay, listen_in
from devsh_memory_mcp.shim.rundir import SANDBOX_DIRECTORY, WORKSPACE_DIRECTORY, Head, Run

MEMORY = "/root/lifecycle/memory"  # where it finds its memory root, if that can be shown at another place than its own
ORCHESTRATION = "orchestration"
_API, _PROGRAMS = "api", "bin"
_SCRIPT = """#!/bin/sh
exec {python} -I -S -c {code} "$@"
"""
_CODE = "import sys; sys.path[:0] = {packages!r}; sys.argv[0] = 'devsh'; from devsh_memory_mcp.cli import main; main()"


class Inside(typing.NamedTuple):
    """Where an agent in a sandbox finds its things, and which user it is there, None for our own."""

    place: str
    memory: str
    user: int | None


class Leading:
    """Made before the agent is, ended after its tree. What it finds is in `environment`. OSError."""

    def __init__(self, where: Place, run: Run, head: Head, inside: Inside | None) -> None:
        directory, note = where.directory, where.door.note
        place = mcp_socket.place_in(directory)
        _provide(f"{place}/{_PROGRAMS}", head)
        shown = inside.place if inside is not None else place
        self.environment = {"PATH": f"{shown}/{_PROGRAMS}:{run.environment.get('PATH', os.defpath)}"}
        self._relay: Relay | None = None
        if inside is not None:
            self._relay = Relay(where.loop, listen_in(place, _API), head.api)
            self.environment |= {"CMUX_API_BASE_URL": f"unix://{shown}/{_API}", "DEVSH_MEMORY_DIR": inside.memory}
        user = inside.user if inside is not None else None
        branches = None
        if run.checkout is not None:
            branches = Branches(run.checkout.repository, f"{directory}/{WORKSPACE_DIRECTORY}/.git", user, note)
        self._board = Board(head.directory, board_in(directory) if inside is not None else None, user, branches, note)
        self._board.renew()

    def renew(self) -> None:
        """There may be news, or a runner that was not there before."""
        self._board.renew()
        if self._relay is not None:
            self._relay.retry()

    def end(self) -> None:
        """Hangs up."""
        if self._relay is not None:
            self._relay.end()


def memory_in(directory: str) -> str:
    """Where its memory root lies outside, of the attempt in that run directory."""
    return f"{directory}/{SANDBOX_DIRECTORY}/memory"


def board_in(directory: str) -> str:
    """Where its orchestration's files are put, in there."""
    return f"{memory_in(directory)}/{ORCHESTRATION}"


def api_in(place: str) -> str:
    """The socket, where it is found at `place`."""
    return f"{place}/{_API}"


def furnish(directory: str, user: int | None) -> None:
    """Makes its memory root. OSError."""
    board.make(board_in(directory), user)


def _provide(programs: str, head: Head) -> None:
    """`devsh`, as a program of its own that needs no installation around it."""
    os.makedirs(programs, exist_ok=True)
    code = _CODE.format(packages=[*head.packages])
    with open(f"{programs}/devsh", "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(_SCRIPT.format(python=shlex.quote(os.path.realpath(sys.executable)), code=shlex.quote(code)))
        os.fchmod(file.fileno(), 0o755)
