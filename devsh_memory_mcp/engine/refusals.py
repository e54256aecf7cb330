"""Logins that a provider has refused, or that are over: nothing else of such an account starts before its login is another one.

Which login a task was held for is in its journal, so that another runner holds it as well. A task that is spawned after the refusal is
tried all the same: that is how somebody asks for another try, and where it succeeds the others go on.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from devsh_memory_mcp.agents.endpoint import find_endpoint
from devsh_memory_mcp.domain.quota import account_of
from devsh_memory_mcp.domain.records import TaskSpec
from devsh_memory_mcp.domain.state import Task
from devsh_memory_mcp.engine.vault import Vault
from devsh_memory_mcp.inventory import KINDS, find_agents
from devsh_memory_mcp.shim.broker.credential import find_expiry
from devsh_memory_mcp.shim.broker.launch import find_own_login

_SOON = timedelta(minutes=1)  # until an agent that is started now has asked its model for the first time; CLIs renew earlier
_PROGRAMS: Mapping[str, str] = {kind.name: kind.log_in for kind in KINDS}


@dataclass(frozen=True, slots=True)
class _Refused:
    login: str
    at: datetime


class Refusals:
    """By account, what has become of its login."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._refused: dict[str, _Refused] = {}
        self._accepted: dict[str, str] = {}

    def refuse(self, spec: TaskSpec, at: datetime) -> None:
        """A task of that account failed at its login."""
        if _program(spec) in _PROGRAMS:
            self._refused[account_of(spec)] = _Refused(self.login_of(spec), at)
            self._accepted.pop(account_of(spec), None)
            self._vault.replace(spec.credential)

    def accept(self, spec: TaskSpec) -> bool:
        """A task of that account has succeeded; whether that is news."""
        if _program(spec) in _PROGRAMS:
            self._accepted[account_of(spec)] = self.login_of(spec)
        return self._refused.pop(account_of(spec), None) is not None

    def is_refused(self, task: Task) -> bool:
        """Whether it would run into what another one has."""
        account = account_of(task.spec)
        known = self._refused.get(account)
        if task.login is None and known is None:
            return False
        login = self.login_of(task.spec)
        if self._accepted.get(account) == login:
            return False
        if task.login is not None:
            return task.login == login
        return known is not None and known.login == login and task.created_at <= known.at

    def login_of(self, spec: TaskSpec) -> str:
        """Tells logins apart: the credential's fingerprint, or what the file of the CLI's own login looks like."""
        credential = spec.credential
        if credential is not None and credential.variable is not None:
            return self._vault.fingerprint_of(credential)
        return _looks_of_file(_program(spec), spec.environment)


def has_expired(spec: TaskSpec, now: datetime) -> bool:
    """Whether it would be shown a login of its CLI's own that is over. Without a sandbox the CLI renews that itself."""
    credential, endpoint = spec.credential, find_endpoint(spec.agent_name)
    if endpoint is None or spec.sandbox == "none" or (credential is not None and credential.variable is not None):
        return False
    login = find_own_login(endpoint, spec.environment)
    expires_at = find_expiry(login) if login is not None else None
    return expires_at is not None and expires_at <= (now + _SOON).timestamp()


def renewal_advice(spec: TaskSpec) -> str:
    """What a task waits for whose login is over, and what to type."""
    program = _program(spec)
    what = f"login: that of {program} has expired, and no agent in a sandbox renews it"
    return f"{what}; it goes on when you have used `{program}` once yourself, which does, or there is another one: {_PROGRAMS[program]}"


def advice(spec: TaskSpec) -> str:
    """What a task waits for whose login was refused, and what to type."""
    program, credential = _program(spec), spec.credential
    if credential is not None and credential.variable is not None:
        what = f"login: {program}'s {credential.variable} was refused"
        return f"{what}; with another in it, or from `devsh auth`, any devsh command lets it go on"
    return f"login: that of {program} was refused or is none; it goes on when there is another one: {_PROGRAMS[program]}"


def _program(spec: TaskSpec) -> str:
    return spec.agent_name.partition("/")[0]


def _looks_of_file(program: str, environment: Mapping[str, str]) -> str:
    found = next((agent.logins for agent in find_agents(environment) if agent.name == program), ())
    place = next((login.place for login in found if login.variable is None), "")
    try:
        seen = os.stat(place)
        looks = f"{place} {seen.st_ino} {seen.st_size} {seen.st_mtime_ns}"
    except OSError:
        looks = place
    return hashlib.sha256(looks.encode(errors="replace")).hexdigest()[:16]
