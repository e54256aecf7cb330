"""What an attempt, or the recovery of one, is given by the process that it is of."""

import types
import typing

from devsh_memory_mcp.shim.enclosure import Walls
from devsh_memory_mcp.shim.loop import Loop
from devsh_memory_mcp.shim.process import Door


class Place(typing.NamedTuple):
    """Where an attempt happens: its run directory, the descriptor of its lock, and the loop and door of this process.

    `secrets` are what the agent is logged in with, which stands in no file.
    """

    directory: str
    lock: int
    loop: Loop
    door: Door
    version: str
    secrets: typing.Mapping[str, str] = types.MappingProxyType({})
    walls: Walls | None = None  # one that is known to work here
