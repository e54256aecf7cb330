"""Which sandbox a task is to have, decided where it is spawned: by what was asked for, the settings, and what this machine can do."""

import os
import sys
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from devsh_memory_mcp.agents.adapter import Adapter
from devsh_memory_mcp.agents.endpoint import find_endpoint, has_login
from devsh_memory_mcp.domain.records import Credential, Mount, Network, Repository, SandboxMode, TaskSpec
from devsh_memory_mcp.domain.requests import SpawnRequest
from devsh_memory_mcp.errors import InvalidRequest, NoSandbox
from devsh_memory_mcp.settings import Settings
from devsh_memory_mcp.shim import borrowing, confinement, probe
from devsh_memory_mcp.shim.broker.rule import parse_entry
from devsh_memory_mcp.shim.cell import search_path
from devsh_memory_mcp.shim.enclosure import Walls
from devsh_memory_mcp.shim.probe import Missing
from devsh_memory_mcp.shim.sandbox import Bubblewrap

Look = Callable[[str], Walls | Missing]


class Confined(NamedTuple):
    """As the task's record has it, and what its caller should know. What is not `none` there was found here, and is had or nothing runs."""

    sandbox: SandboxMode
    network: Network
    mounts: tuple[Mount, ...]
    warnings: tuple[str, ...] = ()

    @property
    def stands(self) -> bool:
        """Whether it is to have a sandbox."""
        return self.sandbox != "none"

    def fields(self) -> dict[str, object]:
        """What of it the task's record has."""
        return {"sandbox": self.sandbox, "network": self.network, "mounts": self.mounts}


def confine(
    request: SpawnRequest,
    by_itself: SandboxMode,
    settings: Settings,
    environment: dict[str, str],
    memory: Path,
    *,
    repository: Repository | None = None,
    look: Look | None = None,
) -> Confined:
    """`by_itself` is what such an agent has where nobody said anything, see `usual`.

    NoSandbox where one is required and this machine has none; InvalidRequest for what only a sandbox can do, without one.
    """
    network = _network(request.network or settings.network)
    sandbox = request.sandbox or settings.sandbox or by_itself
    if sandbox == "none":
        _demand_nothing(request, network)
        return Confined("none", "on", ())
    if network != "on":
        sandbox = "required"  # without one it would have all of the network
    mounts = tuple(_mount(text, memory) for text in request.mounts)
    found = (look or look_here)(search_path(environment))
    if not isinstance(found, Missing):
        found = _unreadable(found, repository) or found
    if not isinstance(found, Missing):
        return Confined(sandbox, network, mounts, _elsewhere(request.mounts, mounts))
    if sandbox == "required":
        raise NoSandbox(f"There is no sandbox on this machine: {found.why}.", next_step=f"What gets one: {found.remedy}.")
    told = f"It runs without a sandbox, with your rights: {found.why}. What gets one: {found.remedy}; `--sandbox required` refuses instead."
    return Confined("none", network, (), (told,))


def _unreadable(found: Walls, repository: Repository | None) -> Missing | None:
    """What the agent could not read of the code; of what is fetched for it later nothing can be said yet."""
    is_root = isinstance(found, Bubblewrap) and found.setpriv is not None
    return borrowing.closed(borrowing.objects_of(repository.git_directory)) if is_root and repository is not None else None


def usual(agent_name: str, adapter: Adapter, credential: Credential | None, platform: str = sys.platform) -> SandboxMode:
    """What an agent has where nobody said anything: none where its login is in its user's home alone, which is not there inside."""
    return "auto" if adapter.provider is None or _is_shown(agent_name, credential, platform) else "none"


def _is_shown(agent_name: str, credential: Credential | None, platform: str) -> bool:
    """No broker looks into the Keychain of macOS."""
    endpoint = find_endpoint(agent_name)
    variable, payer = (credential.variable, credential.cost_basis) if credential else (None, None)
    if variable is None and endpoint is not None and endpoint.uses_keychain and platform == "darwin":
        return False
    return has_login(endpoint, variable, payer)


def login_warnings(
    confined: Confined, agent_name: str, adapter: Adapter, credential: Credential | None, platform: str = sys.platform
) -> tuple[str, ...]:
    """What there is to say of an agent whose login stays outside."""
    provider = adapter.provider
    if not confined.stands or provider is None or _is_shown(agent_name, credential, platform):
        return ()
    if credential is not None and credential.variable is not None:
        return (f"{credential.variable} cannot be shown to {agent_name} in a sandbox, which is not to have it itself.",)
    told = f"{provider.program}'s own login is in your home, which is not there in a sandbox"
    if not provider.variables:
        return (f"{told}.",)
    return (f"{told}; put one into {' or '.join(name for name, _ in provider.variables)}.",)


def expected(spec: TaskSpec) -> str:
    """The isolation that a task will have; what it had is told by its outcome."""
    return confinement.GUARD if spec.sandbox == "none" else confinement.isolation_on(sys.platform)


def look_here(search: str) -> Walls | Missing:
    """As `probe` finds it. What works goes on working; what does not is tried again each time, since it may have been installed."""
    try:
        return _working(search)
    except _NothingWorks as error:
        return error.missing


class _NothingWorks(Exception):
    def __init__(self, missing: Missing) -> None:
        super().__init__(missing.why)
        self.missing = missing


@lru_cache(maxsize=8)
def _working(search: str) -> Walls:
    found = probe.probe(search)
    if isinstance(found, Missing):
        raise _NothingWorks(found)
    return found


def _network(wanted: str) -> Network:
    kind, _, hosts = wanted.partition(":")
    if kind != "allow":
        return wanted
    found = [text.strip() for text in hosts.split(",")]
    try:
        for text in found:
            parse_entry(text)
    except ValueError as error:
        raise InvalidRequest(f"network: {error}.") from None
    return f"allow:{','.join(dict.fromkeys(found))}"


def _demand_nothing(request: SpawnRequest, network: Network) -> None:
    asked = f"network {network[:80]}" if network != "on" else "a mount" if request.mounts else None
    if asked is not None:
        next_step = "Ask for one (--sandbox required), or leave that out."
        raise InvalidRequest(f"The agent would run without a sandbox, where {asked} means nothing.", next_step=next_step)


def _mount(text: str, memory: Path) -> Mount:
    """The real place of what was named: a link could lead elsewhere by the time that it is shown."""
    path, writable = _named(text)
    if not os.path.isabs(path) or not os.path.exists(path):
        fault = "it does not exist here" if os.path.isabs(path) else "a mount is an absolute path; write $PWD/… or $HOME/…"
        raise InvalidRequest(f"{path[:200]!r} cannot be shown to the agent: {fault}.")
    real, own = Path(os.path.realpath(path)), Path(os.path.realpath(memory))
    if real == own or own in real.parents or real in own.parents:
        next_step = "Name a directory beside it."
        raise InvalidRequest(f"{path} cannot be shown to an agent: the memory root {memory} is there.", next_step=next_step)
    return Mount(path=str(real), writable=writable)


def _named(text: str) -> tuple[str, bool]:
    """`PATH`, or `PATH:rw`: the path, and whether it may be written."""
    return (text.removesuffix(":rw"), True) if text.endswith(":rw") else (text.removesuffix(":ro"), False)


def _elsewhere(texts: Iterable[str], mounts: Iterable[Mount]) -> tuple[str, ...]:
    """Where what was named by a link is found inside."""
    pairs = [(os.path.normpath(_named(text)[0]), mount.path) for text, mount in zip(texts, mounts, strict=True)]
    return tuple(f"{path} is a link: the agent finds it at {real}." for path, real in pairs if path != real)
