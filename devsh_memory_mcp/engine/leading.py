"""Heads that are tasks themselves: what one leads, within which bounds its agents are spawned, and what its end means for them.

Such a head is a task of its spawner's orchestration and leads one of its own. What it may and with what its agents run was settled when
it was spawned, and is written into the first line of the orchestration that it leads: whoever spawns there later, and from wherever he
says that he does, gets no more than that.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from devsh_memory_mcp.agents.adapter import Provider
from devsh_memory_mcp.config import Caller
from devsh_memory_mcp.domain.events import Event, HeadLeft, OrchestrationCreated
from devsh_memory_mcp.domain.names import HEAD
from devsh_memory_mcp.domain.records import Billing, Credential, Leadership, Mount, Network, OnExit
from devsh_memory_mcp.domain.requests import SpawnRequest
from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.domain.status import Status
from devsh_memory_mcp.engine import endings
from devsh_memory_mcp.engine.repository import NO_REPOSITORY
from devsh_memory_mcp.errors import InvalidRequest, NotAllowed, TooDeep
from devsh_memory_mcp.ports import Decision
from devsh_memory_mcp.settings import Settings

_HOSTED = re.compile(r"(https?|ssh|git\+ssh|ssh\+git)://|[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9_.-]+$|[\w.-]+@[\w.-]+:", re.IGNORECASE)


def caller_in(caller: Caller, state: State) -> Caller:
    """Whoever calls there, as he is where a head leads: for all that is resolved he stands where that one's spawner stood."""
    led = state.leadership
    if led is None:
        return caller
    return replace(
        caller,
        directory=Path(led.project),
        environment=led.environment,
        head_agent=state.head_agent,
        session=None,
        remote=None,
        depth=led.depth if caller.identity == HEAD else caller.depth,
    )


def demand_room(request: SpawnRequest, depth: int, settings: Settings) -> None:
    """TooDeep for a head that could spawn nobody; InvalidRequest for what no head can be."""
    if not request.cloud_workspace:
        if request.on_head_exit is not None:
            raise InvalidRequest("onHeadExit is about a head's agents, and this is none.", next_step="Ask for one with cloudWorkspace.")
        return
    if request.resume is not None:
        raise InvalidRequest("A head leads an orchestration of its own from its beginning on.", next_step="Leave `resume` out.")
    if depth + 1 >= settings.max_depth:
        raise TooDeep(f"A head that you spawn could spawn nobody: agents are spawned {settings.max_depth} deep at most (max_depth).")


def demand_leave(settings: Settings) -> None:
    """NotAllowed where agents are not to spawn any by themselves."""
    if not settings.auto_spawn:
        raise NotAllowed("Agents are not to spawn others here (auto_spawn, CMUX_AUTO_SPAWN_ENABLED).", next_step="Do the work yourself.")


def bounded(request: SpawnRequest, led: Leadership) -> SpawnRequest:
    """The request as it may be made where such a head leads. NotAllowed for what would lead an agent out of its head's sandbox."""
    if not led.is_walled:
        return request
    if request.sandbox == "none":
        raise NotAllowed("An agent's own sandbox holds for those that it spawns as well.", next_step="Leave `sandbox` out.")
    _demand_reachable(request.repo, led)
    network = _narrowed(request.network, led.network)
    for text in request.mounts:
        if not _is_within(text, led.mounts):
            raise NotAllowed(
                f"{text[:200]} is not among what the head itself is shown.", next_step="Name what you see yourself, or nothing."
            )
    return request.model_copy(update={"sandbox": "required", "network": network})


def _demand_reachable(repo: str | None, led: Leadership) -> None:
    if repo is None or repo == NO_REPOSITORY or (led.repository is not None and repo in (led.repository.name, led.repository.url)):
        return
    if not _HOSTED.match(repo) or repo.startswith((".", "/", "~")):
        raise NotAllowed(
            f"{repo[:200]!r} is a place of the machine that the head's sandbox is to keep it from.",
            next_step="Leave `repo` out: agents work on the same code as their head.",
        )
    if led.network != "on":
        raise NotAllowed(f"{repo[:200]!r} would be fetched for an agent that has no such network.", next_step="Leave `repo` out.")


def _narrowed(asked: Network | None, most: Network) -> Network:
    """What was asked for where it is no more than `most`."""
    if asked is None or asked == most:
        return most
    if most == "on" or asked == "off":
        return asked
    if asked.startswith("allow:") and most.startswith("allow:") and _hosts(asked) <= _hosts(most):
        return asked
    raise NotAllowed(f"The head's own network is {most[:200]}, and no agent of its gets more.", next_step="Leave `network` out.")


def _hosts(network: Network) -> set[str]:
    return {host.strip() for host in network.partition(":")[2].split(",")}


def _is_within(text: str, mounts: tuple[Mount, ...]) -> bool:
    path, wants = (text.removesuffix(":rw"), True) if text.endswith(":rw") else (text.removesuffix(":ro"), False)
    if ".." in path.split("/"):
        return False
    return any((path == one.path or path.startswith(f"{one.path.rstrip('/')}/")) and (one.writable or not wants) for one in mounts)


def credential_in(led: Leadership, provider: Provider, billing: Billing | None) -> Credential | None:
    """The login that an agent there runs with: that of the head's spawner; InvalidRequest where he has none that is paid so."""
    found = next((one for one in led.credentials.get(provider.program, ()) if billing in (None, one.cost_basis)), None)
    if found is None and billing is not None:
        raise InvalidRequest(f"Whoever spawned the head has no login of {provider.program} that is paid by {billing}.")
    return found


def least(asked: int | None, most: int | None) -> int | None:
    """The smaller one, where both are there."""
    return min(filter(None, (asked, most)), default=None)


def created_by(task: Task) -> OrchestrationCreated | None:
    """The first line of the orchestration that the task leads; None for one that is no head.

    Its session is nobody's: no shell of the project takes it for its own.
    """
    led = task.spec.leads
    if led is None:
        return None
    return OrchestrationCreated(
        orchestration_id=led.orchestration_id,
        project=led.project,
        session=task.task_run_id,
        head_agent=task.spec.agent_name,
        description=task.spec.prompt.strip().partition("\n")[0][:200],
        leadership=led,
    )


def leave(state: State, task: Task) -> Decision[None]:
    """The events in the orchestration that the task led, now that it has ended; none where they are there already."""
    led = task.spec.leads
    if led is None or state.head_left is not None:
        return Decision((), None)
    policy = policy_at(led.on_exit, task.status)
    left = HeadLeft(task_run_id=task.task_run_id, status=task.status.value, policy=policy)
    ended: tuple[Event, ...] = endings.cancel_all(state, "Its head has ended.") if policy == "cancel" else ()
    return Decision((left, *ended), None)


def policy_at(wanted: OnExit | None, status: Status) -> OnExit:
    """What becomes of a head's agents. Where nobody said anything they go on, and are cancelled with a head that is cancelled."""
    return wanted or ("cancel" if status is Status.CANCELLED else "keep")


def recorded(environment: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """What of its spawner's environment the agents of a head are resolved with."""
    return {**environment, **settings}
