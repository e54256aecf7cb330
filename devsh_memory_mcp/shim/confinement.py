"""What a task asks of its sandbox, as run.json has it."""

import typing

BUBBLEWRAP, SEATBELT, GUARD = "bubblewrap", "seatbelt", "guard"  # what can be in force, as outcomes call it


class Mount(typing.NamedTuple):
    """A path of the machine's that the agent sees at the same place."""

    path: str
    writable: bool = False


class Confinement(typing.NamedTuple):
    """Who has one runs behind walls or not at all: whether there are any was decided when the task was spawned, and told."""

    network: str = "on"  # on, off, or allow:HOST,… as `broker.rule` reads each
    mounts: tuple[Mount, ...] = ()

    @property
    def is_alone(self) -> bool:
        """Whether the agent reaches nobody but a broker: it has a network of its own, or with Seatbelt no other port of ours."""
        return self.network != "on"

    @property
    def hosts(self) -> tuple[str, ...]:
        """Which ones it may be connected to from there."""
        kind, _, hosts = self.network.partition(":")
        return tuple(hosts.split(",")) if kind == "allow" else ()


def isolation_on(platform: str) -> str:
    """What a sandbox is on such a system, `sys.platform` as it calls itself."""
    return SEATBELT if platform == "darwin" else BUBBLEWRAP
