"""What agents' CLIs are logged in with, in the runner's memory and nowhere else.

A face lends what its caller has in his environment each time it connects. A task names the variable and a fingerprint of the value,
so that it runs with the credential of whoever spawned it and never with another shell's. Where the provider has refused that one, what is
lent as new in the same variable afterwards stands in for it. After a runner's restart a task whose
credential has not been lent again is held, not failed.
"""

import hashlib
from collections.abc import Mapping

import anyio

from devsh_memory_mcp.domain.records import Credential
from devsh_memory_mcp.ports import Clock

_SETTLES_WITHIN = 1.0  # seconds


def fingerprint(value: str) -> str:
    """Tells credentials apart without saying anything of them."""
    return hashlib.sha256(f"devsh credential {value}".encode(errors="replace")).hexdigest()[:16]


class Vault:
    """Values by variable and fingerprint."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._values: dict[tuple[str, str], str] = {}
        self._instead: dict[tuple[str, str], tuple[str, str] | None] = {}  # of what was refused: what stands in for it, once there is one
        self._lent = anyio.Event()
        self._settled_at = clock.monotonic() + _SETTLES_WITHIN

    @property
    def settles_in(self) -> float:
        """How many seconds whoever started the runner still has to lend what he has, before a task without is called held."""
        return max(0.0, self._settled_at - self._clock.monotonic())

    def lend(self, variables: Mapping[str, str]) -> bool:
        """Takes what a caller has; whether something is new."""
        lent = {(name, fingerprint(value)): value for name, value in variables.items()}
        new = lent.keys() - self._values.keys()
        if not new:
            return False
        self._values |= lent
        for name, found in new - self._instead.keys():
            self._instead |= {old: (name, found) for old, other in self._instead.items() if other is None and old[0] == name}
        self._lent.set()
        self._lent = anyio.Event()
        return True

    def replace(self, credential: Credential | None) -> None:
        """It was refused: the next one that is lent in its variable stands in for it."""
        if credential is not None and credential.variable is not None:
            self._instead[credential.variable, self.fingerprint_of(credential)] = None

    def fingerprint_of(self, credential: Credential) -> str:
        """That of the value which a task with it runs with."""
        return _key(self._instead, credential)[1]

    def has(self, credential: Credential | None) -> bool:
        """Whether a task with that credential can start."""
        return credential is None or credential.variable is None or _key(self._instead, credential) in self._values

    async def arrival(self, credential: Credential | None) -> None:
        """Until it is there."""
        while not self.has(credential):
            await self._lent.wait()

    def of(self, credential: Credential | None) -> dict[str, str]:
        """The variables for an agent's environment; none for one that runs already and has them."""
        if credential is None or credential.variable is None or not self.has(credential):
            return {}
        return {credential.variable: self._values[_key(self._instead, credential)]}


def _key(instead: Mapping[tuple[str, str], tuple[str, str] | None], credential: Credential) -> tuple[str, str]:
    """Where the value is; a replacement is never one that was refused before, so that this ends."""
    key = credential.variable or "", credential.fingerprint or ""
    while (other := instead.get(key)) is not None:
        key = other
    return key


def missing(credential: Credential) -> str:
    """What a task without its credential waits for."""
    return f"the credential {credential.variable}: the runner was restarted; any devsh command in a shell that has it brings it back"
