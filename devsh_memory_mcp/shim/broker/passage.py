"""What leads out of a sandbox, for an attempt: a broker to the agent's provider once there is a network to listen in, and our MCP server.

Setup and verification are led to the hosts that were named, and to nothing else.

What the agent finds of it is in `environment`, instead of its secrets.
"""

import collections
import typing

from devsh_memory_mcp.agents.adapter import Verdict
from devsh_memory_mcp.agents.endpoint import Endpoint, find_endpoint
from devsh_memory_mcp.shim.broker.launch import PORT, prepare
from devsh_memory_mcp.shim.broker.limit import Limit, heeded, limit_of
from devsh_memory_mcp.shim.broker.service import Broker, Told
from devsh_memory_mcp.shim.inside import NotInside, listen_here, listen_inside
from devsh_memory_mcp.shim.loop import Loop
from devsh_memory_mcp.shim.mcp_socket import McpSocket, place_in
from devsh_memory_mcp.shim.rundir import Run, Traffic
from devsh_memory_mcp.shim.surroundings import agent_environment


class Passage:
    """Made before the command is, opened when its sandbox stands, ended after its tree."""

    def __init__(
        self,
        endpoint: Endpoint | None,
        secrets: typing.Mapping[str, str],
        caller: typing.Mapping[str, str],
        allow: typing.Sequence[str] = (),
        *,
        is_alone: bool,
        is_beside: bool = False,
        server: McpSocket | None = None,
        warnings: tuple[str, ...] = (),
    ) -> None:
        """`caller` is the recorded environment of whoever spawned. `is_alone`: the agent is to reach nobody but the broker.

        `is_beside`: it has no network of its own for that, so the broker listens in ours.
        """
        self.warnings = warnings  # where there should be a server, and is none
        self._server = server
        self._listeners = [] if is_alone and not is_beside else [listen_here()]
        self.port = int(self._listeners[0].getsockname()[1]) if self._listeners else PORT
        launch = prepare(endpoint, secrets, caller, self.port, allow, is_alone=is_alone)
        self._plan = launch.plan
        self.environment = launch.environment  # instead of the secrets
        self._broker: Broker | None = None
        self._limit: Limit | None = None  # with which its provider refused it to the last, known at the end

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to show, or anywhere to lead to."""
        return self._server is not None or self._has_routes or bool(self.warnings)

    @property
    def _has_routes(self) -> bool:
        return bool(self._plan.routes or self._plan.allow)

    def open(self, loop: Loop, sandbox: int, hear: typing.Callable[[Told], object]) -> None:
        """Starts the broker; `sandbox` is the pid of the walls. Told as `gone` where the network cannot be entered: it was short."""
        if not self._has_routes:
            return
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
        if self._server is not None:
            self._server.end()
        if self._broker is None:
            for listener in self._listeners:
                listener.close()
            return {}
        counts = self._broker.end()
        self._limit = limit_of(counts.get("limit"))
        return counts

    def judge(self, verdict: Verdict, cause: str | None) -> Verdict:
        """The verdict with what the provider has said of its limits, once this has ended."""
        return heeded(verdict, self._limit, cause)


def find_passage(run: Run, secrets: typing.Mapping[str, str], loop: Loop, directory: str, *, is_beside: bool = False) -> Passage | None:
    """For an agent in a sandbox, before that is made, see `Passage`; None where there is nothing to show and nowhere to lead it.

    OSError where there is no port to listen on.
    """
    asked = run.sandbox
    if asked is None:
        return None
    server: McpSocket | None = None
    warnings: tuple[str, ...] = ()
    if run.server_command:
        try:
            server = McpSocket(loop, place_in(directory), run.server_command, agent_environment(run, directory))
        except OSError as error:
            warnings = (f"The agent goes without our MCP server: {error}.",)
    endpoint = find_endpoint(run.agent_name)
    passage = Passage(
        endpoint, secrets, run.environment, asked.hosts, is_alone=asked.is_alone, is_beside=is_beside, server=server, warnings=warnings
    )
    if passage.is_needed:
        return passage
    passage.end()
    return None


def find_way(run: Run, *, is_beside: bool = False) -> Passage | None:
    """For a command of the caller's in the same sandbox, which gets no login; None where no host was named."""
    asked = run.sandbox
    if asked is None or not asked.hosts:
        return None
    return Passage(None, {}, run.environment, asked.hosts, is_alone=asked.is_alone, is_beside=is_beside)


def added(before: Traffic | None, told: Told) -> Traffic | None:
    """The counts of an attempt's brokers with another one's, which had died where it told none."""
    if not told:
        return before
    had = before or Traffic()
    refused = collections.Counter(had.refused) + collections.Counter(told["refused"])
    return Traffic(had.requests + told["requests"], had.bytes_up + told["bytesUp"], had.bytes_down + told["bytesDown"], dict(refused))


def warning_of(told: Told) -> str:
    """What is said of a broker that is `gone`."""
    why = told.get("why", "its process died")
    return f"What leads out of its sandbox was gone before its end ({why}): neither its provider nor a host could be reached any more."


def _inside(sandbox: int) -> int:
    """A process that is in there: bubblewrap's own first process, which is not in it, has one child."""
    try:
        with open(f"/proc/{sandbox}/task/{sandbox}/children", encoding="ascii") as file:
            return int(next(iter(file.read().split()), sandbox))
    except OSError:
        return sandbox
