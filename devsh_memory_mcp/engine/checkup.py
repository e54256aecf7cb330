"""What `devsh doctor` looks at: is everything there for handing out work, what is missing, and what gets it.

Everything is asked side by side and for a few seconds at most; no secret is shown.
"""

import os
import re
import shutil
import signal
import subprocess
import sysconfig
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import anyio
from anyio import to_thread

from devsh_memory_mcp.agents.adapter import Provider
from devsh_memory_mcp.agents.catalogue import find_adapter
from devsh_memory_mcp.clients.claude import find_server
from devsh_memory_mcp.config import Caller, memory_root
from devsh_memory_mcp.domain.schedule import LOW_DISK
from devsh_memory_mcp.engine import bounds
from devsh_memory_mcp.engine.limits import free_bytes
from devsh_memory_mcp.errors import DevshError
from devsh_memory_mcp.inventory import AgentCli, find_agents
from devsh_memory_mcp.logins import stored_variables
from devsh_memory_mcp.settings import load_settings
from devsh_memory_mcp.shim.cell import search_path
from devsh_memory_mcp.shim.enclosure import Walls
from devsh_memory_mcp.shim.probe import Missing, probe
from devsh_memory_mcp.shim.seatbelt import Seatbelt
from devsh_memory_mcp.store.lock import is_held
from devsh_memory_mcp.store.mount import demand_local

PROBE_SECONDS = 5.0
OLDEST_GIT = (2, 31)
PROGRAMS = ("devsh", "devsh-memory-mcp")
TOPICS = ("git", "memory root", "default agent", "MCP server", "logins", "billing", "isolation", "limits", "PATH")

State = Literal["ok", "note", "missing"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `missing` is what the work cannot do without, `note` what should be known; `remedy` what to type."""

    topic: str
    state: State
    said: str
    remedy: str | None = None


@dataclass(slots=True)
class Checkup:
    """All of it; `versions` are of the CLIs that were found and answered."""

    agents: tuple[AgentCli, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        """Whether a task that names no agent could be handed out here."""
        return all(check.state != "missing" for check in self.checks)


async def examine(caller: Caller, given_root: str | None, *, seconds: float = PROBE_SECONDS) -> Checkup:
    """Looks at this machine as the caller sees it; each question has so many seconds."""
    environment = caller.environment
    checkup = Checkup()
    found: dict[str, list[Check]] = {}

    async def look(topic: str, question: Callable[[], list[Check]]) -> None:
        with anyio.move_on_after(seconds):
            found[topic] = await to_thread.run_sync(question, abandon_on_cancel=True)

    async def agents() -> None:
        with anyio.move_on_after(seconds):
            checkup.agents = await to_thread.run_sync(find_agents, environment, abandon_on_cancel=True)
        async with anyio.create_task_group() as versions:
            for agent in checkup.agents:
                if agent.path is not None:
                    versions.start_soon(version, agent)

    async def version(agent: AgentCli) -> None:
        said = await answer_of([str(agent.path), "--version"], environment, seconds)
        checkup.versions[agent.name] = _version(said) if said else "does not answer"

    async def git() -> None:
        with anyio.move_on_after(seconds):
            found["git"] = await _git(caller, seconds)

    async with anyio.create_task_group() as questions:
        questions.start_soon(agents)
        questions.start_soon(git)
        questions.start_soon(look, "memory root", lambda: _memory_root(given_root, environment))
        questions.start_soon(look, "default agent", lambda: [_default_agent(caller)])
        questions.start_soon(look, "MCP server", lambda: _server(caller))
        questions.start_soon(look, "isolation", lambda: [isolation(probe(search_path(environment)))])
        questions.start_soon(look, "limits", lambda: [_limits()])
        questions.start_soon(look, "PATH", lambda: _programs(environment))
    found["logins"] = _logins(environment)
    found["billing"] = _billing(checkup.agents)
    for topic in TOPICS:
        checkup.checks += found.get(topic) or ([] if topic in found else [Check(topic, "missing", f"no answer within {seconds:.0f} s")])
    return checkup


async def answer_of(command: list[str], environment: Mapping[str, str], seconds: float) -> str | None:
    """What a command prints; None where it fails or takes longer, and then nothing of its whole tree is left."""
    try:
        process = await anyio.open_process(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(environment), start_new_session=True
        )
    except OSError:
        return None
    said = b""
    try:
        with anyio.move_on_after(seconds):
            if process.stdout is not None:
                async for chunk in process.stdout:
                    said += chunk
            if await process.wait() == 0:
                return said.decode(errors="replace").strip()
        return None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with anyio.CancelScope(shield=True):
            await process.aclose()


def _version(said: str) -> str:
    found = re.search(r"\d+\.\d+[\w.+-]*", said)
    return found[0] if found else said.partition("\n")[0][:40]


async def _git(caller: Caller, seconds: float) -> list[Check]:
    environment = caller.environment
    if shutil.which("git", path=environment.get("PATH", os.defpath)) is None:
        return [Check("git", "missing", "git is not on your PATH", "apt-get install git (or brew install git)")]
    said = await answer_of(["git", "--version"], environment, seconds)
    number = _version(said or "")
    parts = tuple(int(part) for part in re.findall(r"\d+", number)[:2])
    if not said or parts < OLDEST_GIT:
        wanted = ".".join(map(str, OLDEST_GIT))
        return [Check("git", "missing", f"git {number or 'does not answer'}; {wanted} or later is needed", "apt-get install git")]
    who = [
        (await answer_of(["git", "-C", str(caller.directory), "config", "--get", key], environment, seconds)) or ""
        for key in ("user.name", "user.email")
    ]
    if not all(who):
        told = f"git {number}; it knows no name and address of yours, so commits are by `devsh agent`"
        return [Check("git", "note", told, "git config --global user.name … && git config --global user.email …")]
    return [Check("git", "ok", f"git {number}, commits by {who[0]} <{who[1]}>")]


def _memory_root(given: str | None, environment: Mapping[str, str]) -> list[Check]:
    try:
        root = memory_root(given, environment)
        demand_local(root, environment)
    except DevshError as error:
        return [Check("memory root", "missing", error.message, error.next_step or None)]
    except OSError as error:
        return [Check("memory root", "missing", f"the memory root cannot be used: {error.strerror}", "Name another with --dir")]
    if free_bytes(root) < LOW_DISK:
        return [Check("memory root", "missing", f"{root}: less than 2 GB are free, so nothing starts", "devsh gc")]
    runner = "a runner is at work" if is_held(root / "runner.lock") else "no runner is at work; one starts by itself"
    return [Check("memory root", "ok", f"{root} can be written, {runner}")]


def _default_agent(caller: Caller) -> Check:
    """Whether a task that names no agent could start, and could log in."""
    try:
        name = load_settings(caller.project, caller.environment).default_agent
    except DevshError as error:
        return Check("settings", "missing", error.message, error.next_step or None)
    try:
        provider = find_adapter(name).provider
    except DevshError as error:
        return Check("default agent", "missing", error.message, "devsh config set default_agent claude/haiku-4.5")
    if provider is None:
        return Check("default agent", "ok", f"{name}: the prompt is a script, no login is needed")
    found = next((agent for agent in find_agents(caller.environment) if agent.name == provider.program), None)
    if found is None:
        return _any_command(caller, name, provider)
    if found.path is None:
        remedy = f"{provider.install} (or, without a model: devsh config set default_agent shell/bash)"
        return Check("default agent", "missing", f"{name} needs {provider.program}, which is not on your PATH", remedy)
    if found.login is None:
        return Check("default agent", "missing", f"{name} has no login that can be seen", provider.login)
    return Check("default agent", "ok", f"{name}, {found.login.payer} ({found.login.place})")


def _any_command(caller: Caller, name: str, provider: Provider) -> Check:
    """For an agent of which no more is known than its command."""
    if shutil.which(provider.program, path=caller.environment.get("PATH", os.defpath)) is None:
        return Check("default agent", "missing", f"{name} needs {provider.program}, which is not on your PATH", provider.install)
    return Check("default agent", "ok", f"{name}, whoever pays there: of its login nothing is known")


def _server(caller: Caller) -> list[Check]:
    """Whether Claude Code, where it is here, has been told of us."""
    if not any(agent.name == "claude" and agent.path for agent in find_agents(caller.environment)):
        return []
    place = find_server(caller.project_path, caller.environment)
    if place is not None:
        return [Check("MCP server", "ok", f"Claude Code knows it {place}", "devsh setup claude" if place.startswith("in ") else None)]
    return [Check("MCP server", "note", "Claude Code does not know it yet", "devsh setup claude")]


def _logins(environment: Mapping[str, str]) -> list[Check]:
    """Whether what `devsh auth` keeps can be used."""
    try:
        stored_variables(environment)
    except DevshError as error:
        return [Check("logins", "missing", error.message, error.next_step or None)]
    return []


def _billing(agents: tuple[AgentCli, ...]) -> list[Check]:
    """A key beats a subscription that is there too, without a word."""
    found = []
    for agent in agents:
        idle = next((login for login in agent.logins[1:] if login.cost_basis == "subscription"), None)
        if agent.path and agent.login and agent.login.cost_basis == "api" and idle:
            told = f"{agent.name} uses {agent.login.place} and is paid by the token, though your subscription is there too ({idle.place})"
            remedy = f"devsh auth {agent.name} --remove" if agent.login.is_stored else f"unset {agent.login.place}"
            found.append(Check("billing", "note", told, remedy))
    return found


def isolation(found: Walls | Missing) -> Check:
    """By what came of running a sandbox, since having one says little."""
    if isinstance(found, Missing):
        return Check("isolation", "note", f"agents run as you, with your rights: {found.why}", found.remedy)
    if isinstance(found, Seatbelt):
        told = f"Seatbelt works ({found.program}): agents whose login can stay outside run in a sandbox of rules, and scripts"
        untried = "devsh's rules have never been tried on macOS: `--mount` shows what is missing, `--sandbox none` is without"
        return Check("isolation", "note", f"{told}; with the network on they reach this machine's own ports", untried)
    told = f"bubblewrap works ({found.program}): agents whose login can stay outside run in a sandbox, and scripts"
    as_root = "; as root agents run as another user" if found.setpriv else ""
    network = "; with the network on they reach this machine's own ports, abstract sockets and link-local addresses"
    return Check("isolation", "ok", f"{told}{as_root}{network}: `--network off` or `allow:HOST,…` closes that")


def _limits() -> Check:
    is_well, told, remedy = bounds.look()
    return Check("limits", "ok" if is_well else "note", told, remedy)


def _programs(environment: Mapping[str, str]) -> list[Check]:
    """What a shell starts under our names: ours, or what npm has under them."""
    own = Path(sysconfig.get_path("scripts"))
    found = []
    for name in PROGRAMS:
        first = shutil.which(name, path=environment.get("PATH", os.defpath))
        if first is None:
            if os.access(own / name, os.X_OK):
                found.append(Check("PATH", "note", f"{name} is not on your PATH; it is {own / name}", _way_onto_path(own, environment)))
        elif _is_of_npm(Path(first)):
            found.append(Check("PATH", "note", f"{first} comes first on your PATH and is an npm package, not this", f"npm rm -g {name}"))
    return found or [Check("PATH", "ok", f"{' and '.join(PROGRAMS)} are this installation's")]


def _way_onto_path(own: Path, environment: Mapping[str, str]) -> str:
    """What brings a directory onto PATH: the tool that installed us into it, where it is here, else a line for the shell."""
    for tool, remedy in (("pipx", "pipx ensurepath"), ("uv", "uv tool update-shell")):
        if tool in own.resolve().parts and shutil.which(tool, path=environment.get("PATH", os.defpath)):
            return remedy
    return f'export PATH="{own}:$PATH"   # in your shell\'s profile'


def _is_of_npm(program: Path) -> bool:
    if "node_modules" in Path(os.path.realpath(program)).parts:
        return True
    try:
        with program.open("rb") as file:
            return b"node" in file.readline(200)
    except OSError:
        return False
