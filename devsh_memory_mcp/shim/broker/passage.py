"""An agent's way to its provider, for an attempt: what it finds in its environment, and a broker once there is a network to listen in."""

import typing

from devsh_memory_mcp.agents.endpoint import ENDPOINTS
from devsh_memory_mcp.shim.broker.launch import PORT, prepare
from devsh_memory_mcp.shim.broker.service import Broker, Told
from devsh_memory_mcp.shim.inside import NotInside, listen_here, listen_inside
from devsh_memory_mcp.shim.loop import Loop


class Passage:
    """Made before the agent's command is, opened when its sandbox stands, ended after its tree."""

    def __init__(
        self,
        agent_name: str,
        secrets: typing.Mapping[str, str],
        caller: typing.Mapping[str, str],
        allow: typing.Sequence[str] = (),
        *,
        is_alone: bool,
    ) -> None:
        """`caller` is the recorded environment of whoever spawned. `is_alone`: the agent has a network of its own."""
        self._listeners = [] if is_alone else [listen_here()]
        port = PORT if is_alone else int(self._listeners[0].getsockname()[1])
        launch = prepare(ENDPOINTS.get(agent_name.partition("/")[0]), secrets, caller, port, allow, is_alone=is_alone)
        self._plan = launch.plan
        self.environment = launch.environment  # instead of the secrets
        self._broker: Broker | None = None

    def open(self, loop: Loop, sandbox: int, hear: typing.Callable[[Told], object]) -> None:
        """Starts the broker; `sandbox` is bubblewrap's pid. Told as `gone` where the network cannot be entered: a short agent is over."""
        try:
            listeners = self._listeners or [listen_inside(_inside(sandbox), PORT)]
        except NotInside as error:
            hear({"kind": "gone", "why": str(error)})
            return
        self._broker = Broker(loop, self._plan, listeners, hear)

    @property
    def strangers(self) -> set[int]:
        """Our process, which is no part of the agent's tree."""
        return set() if self._broker is None else {self._broker.pid}

    def end(self) -> Told:
        """What was counted."""
        if self._broker is None:
            for listener in self._listeners:
                listener.close()
            return {}
        return self._broker.end()


def _inside(sandbox: int) -> int:
    """A process that is in there: bubblewrap's own first process, which is not in it, has one child."""
    try:
        with open(f"/proc/{sandbox}/task/{sandbox}/children", encoding="ascii") as file:
            return int(next(iter(file.read().split()), sandbox))
    except OSError:
        return sandbox
