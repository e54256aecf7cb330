"""With what an agent's CLI is logged in, who pays for it, and what its caller should know of that."""

import json
import os
import re
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from devsh_memory_mcp.agents.adapter import Adapter, Provider
from devsh_memory_mcp.agents.catalogue import PROVIDERS
from devsh_memory_mcp.domain.records import Billing, Credential, Permissions, Repository
from devsh_memory_mcp.domain.state import State
from devsh_memory_mcp.engine.vault import fingerprint
from devsh_memory_mcp.errors import InvalidRequest, NotAvailable, SettingsInvalid
from devsh_memory_mcp.inventory import find_agents
from devsh_memory_mcp.logins import stored_variables
from devsh_memory_mcp.shim.wall import find_program

SANDBOX_VARIABLE = "IS_SANDBOX"  # 1 is the user's word that this machine is one: claude asks for it before it lets root do anything


def lendable(environment: Mapping[str, str]) -> dict[str, str]:
    """The credentials in an environment, and before them those of `devsh auth`: what a face lends to the runner."""
    found = {name: environment[name] for provider in PROVIDERS for name, _ in provider.variables if environment.get(name)}
    with suppress(SettingsInvalid):  # who lends is not always who spawns, and that one is told
        found |= stored_variables(environment)
    return found


def find_credential(provider: Provider, environment: Mapping[str, str], billing: Billing | None = None) -> Credential | None:
    """What was stored for it, else what its CLI would use by itself: a variable, the login that it keeps; SettingsInvalid.

    With `billing` the first of them that is paid so; InvalidRequest where there is none.
    """
    found = next((one for one in credentials_of(provider, environment) if billing in (None, one.cost_basis)), None)
    if found is None and billing is not None:
        what = "a subscription" if billing == "subscription" else "a key"
        raise InvalidRequest(
            f"No login of {provider.program} was found that {what} pays for.",
            next_step=f"devsh auth {provider.program} --billing {billing}",
        )
    return found


def credentials_of(provider: Provider, environment: Mapping[str, str]) -> tuple[Credential, ...]:
    """All that it could use there, the one first that it would; SettingsInvalid."""
    stored_variables(environment)  # raises where it cannot be used: nobody runs on another login than he believes
    own = {None, *(name for name, _ in provider.variables)}  # opencode's keys are those of its models' providers
    found = next((agent.logins for agent in find_agents(environment) if agent.name == provider.program), ())
    return tuple(
        Credential(variable=login.variable, fingerprint=login.value and fingerprint(login.value), cost_basis=login.cost_basis)
        for login in found
        if login.variable in own
    )


def trusted_rules(provider: Provider, repository: Repository | None, environment: Mapping[str, str]) -> tuple[str, ...]:
    """What the repository's own settings allow, where its user accepted them: of a checkout's path nobody was asked."""
    if repository is None or repository.work_tree is None or not provider.trust_file:
        return ()
    given = environment.get(provider.home_variable)
    places = _at(_document(Path(given or environment.get("HOME", "")) / provider.trust_file), "projects")
    if not _at(places, repository.work_tree).get("hasTrustDialogAccepted"):
        return ()
    tree = Path(repository.work_tree)
    found = [_at(_document(tree / name), "permissions").get("allow") for name in provider.settings_files]
    rules = (rule for listed in found if isinstance(listed, list) for rule in listed)
    return tuple(rule for rule in rules if isinstance(rule, str) and _RULE.fullmatch(rule))


def servers_of_user(provider: Provider, environment: Mapping[str, str]) -> tuple[str, ...]:
    """The MCP servers in the program's own settings, where it can only be told by name to leave them alone."""
    if not provider.servers_file:
        return ()
    given = environment.get(provider.home_variable)
    home = Path(given) if given else Path(environment.get("HOME", "")) / provider.home
    path = home / provider.servers_file
    if path.suffix == ".json":
        return tuple(sorted(_at(_document(path), "mcp")))
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ()
    return tuple(sorted(_at(found, "mcp_servers")))


def _document(path: Path) -> dict[str, object]:
    """The JSON object in a file of the program's; what is none says nothing."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _at(document: dict[str, object], key: str) -> dict[str, object]:
    found = document.get(key)
    return found if isinstance(found, dict) else {}


_RULE = re.compile(r"[A-Za-z_]\w*(?:-\w+)*(?:\([^\0\n]*\))?")  # a rule goes into a command line: nothing else may look like a flag


class Standing(NamedTuple):
    """What an agent may do and with whose login, and what its caller should know of that."""

    credential: Credential | None = None
    allow: tuple[str, ...] = ()
    hide: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def recorded(self) -> dict[str, object]:
        """What its task's record holds of it."""
        return {"credential": self.credential, "allow": self.allow, "hide": self.hide}


def find_standing(
    state: State, adapter: Adapter, repository: Repository | None, environment: Mapping[str, str], credential: Credential | None
) -> Standing:
    """For an agent of that kind with that credential, on that repository, spawned by whoever has that environment."""
    provider = adapter.provider
    if provider is None:
        return Standing()
    allow, hide = trusted_rules(provider, repository, environment), servers_of_user(provider, environment)
    return Standing(credential, allow, hide, login_warnings(state, provider, credential))


def permission_warnings(agent_name: str, permissions: Permissions | None) -> tuple[str, ...]:
    """What there is to say of an agent that is asked for nothing."""
    told = f"{agent_name} may do anything on this machine: it is in no sandbox and is asked for no permission."
    return (told,) if permissions == "bypass" else ()


def check_program(adapter: Adapter, agent_name: str, environment: Mapping[str, str]) -> None:
    """NotAvailable where the agent's program is not on the caller's PATH."""
    provider = adapter.provider
    if provider is not None and not os.access(find_program(provider.program, environment), os.X_OK):
        raise NotAvailable(
            f"{agent_name} needs the program {provider.program!r}, which is not on your PATH.",
            next_step=f"Install it: {provider.install}. `devsh doctor` shows what else is missing.",
        )


def login_warnings(state: State, provider: Provider, credential: Credential | None) -> tuple[str, ...]:
    """What there is to say of a login before the agent starts."""
    if credential is None and not provider.variables:
        return ()  # of a command that is any agent's nothing can be seen
    if credential is None:
        return (f"No login of {provider.program} was found; if it fails: {provider.login}.",)
    if credential.variable is not None:
        return ()
    others = [
        task
        for task in state.unfinished.values()
        if task.spec.agent_name.partition("/")[0] == provider.program and task.spec.credential and task.spec.credential.variable is None
    ]
    if not others:
        return ()
    told = f"{len(others) + 1} agents use {provider.program}'s one login at a time, which can log you out of your own session"
    return (f"{told}; {provider.many}.",)


def checked_permissions(
    adapter: Adapter, agent_name: str, wanted: Permissions | None, environment: Mapping[str, str], *, is_walled: bool = False
) -> Permissions | None:
    """What the agent may do unasked; None where it knows no such thing. Without a sandbox nothing is allowed but what was asked for.

    Behind walls (`is_walled`) it may do anything, and is not root there.
    """
    if adapter.provider is None:
        if wanted is not None:
            raise InvalidRequest(f"{agent_name} runs a script, which is asked for no permission.", next_step="Leave `permissions` out.")
        return None
    if is_walled:
        return wanted or "bypass"
    if wanted == "bypass" and adapter.provider.refuses_root and os.geteuid() == 0 and environment.get(SANDBOX_VARIABLE) != "1":
        raise InvalidRequest(
            f"{adapter.provider.program} itself refuses to bypass permissions as root, where nothing says that this machine is a sandbox.",
            next_step=f"Run as another user, allow what it needs in .claude/settings.json, or, in a container, set {SANDBOX_VARIABLE}=1.",
        )
    return wanted or "acceptEdits"
