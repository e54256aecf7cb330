"""What encloses a command: bubblewrap, or Seatbelt on macOS. This is the one place that knows how either is put around it."""

import os

from devsh_memory_mcp.shim import rundir, sandbox, seatbelt
from devsh_memory_mcp.shim.confinement import BUBBLEWRAP, SEATBELT
from devsh_memory_mcp.shim.sandbox import Bubblewrap, Layout
from devsh_memory_mcp.shim.seatbelt import Seatbelt
from devsh_memory_mcp.shim.wall import Task

Walls = Bubblewrap | Seatbelt


def isolation_by(walls: Walls) -> str:
    """As outcomes call it."""
    return BUBBLEWRAP if isinstance(walls, Bubblewrap) else SEATBELT


def enclosed(walls: Walls, layout: Layout, task: Task) -> Task:
    """The same command, which waits behind the walls until it is let begin."""
    if isinstance(walls, Seatbelt):  # which becomes the command itself, and what it has is the command's
        argv = seatbelt.command(walls, layout, task.argv)
        return task._replace(argv=argv, environment=dict(layout.environment), directory=layout.directory, is_gated=True)
    return task._replace(
        argv=sandbox.command(walls, layout, task.argv),
        environment={rundir.RUN_MARKER: task.environment[rundir.RUN_MARKER], "PATH": os.defpath},
        directory="/",
        options=sandbox.packed(sandbox.options(walls, layout)),
        is_gated=True,
    )
