"""What a task asks of its sandbox, as run.json has it."""

import typing

BUBBLEWRAP, GUARD = "bubblewrap", "guard"  # what can be in force, as outcomes call it


class Mount(typing.NamedTuple):
    """A path of the machine's that the agent sees at the same place."""

    path: str
    writable: bool = False


class Confinement(typing.NamedTuple):
    """Where it is not `required`, the agent runs without a sandbox on a machine that has none, and the outcome says so."""

    required: bool = False
    network: bool = True
    mounts: tuple[Mount, ...] = ()
