"""What agents' CLIs are logged in with, in the runner's memory and nowhere else.

A face lends what its caller has in his environment each time it connects. A task names the variable and a fingerprint of the value,
so that it runs with the credential of whoever spawned it and never with another shell's. After a runner's restart a task whose
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
        self._lent = anyio.Event()
        self._settled_at = clock.monotonic() + _SETTLES_WITHIN

    @property
    def settles_in(self) -> float:
        """How many seconds whoever started the runner still has to lend what he has, before a task without is called held."""
        return max(0.0, self._settled_at - self._clock.monotonic())

    def lend(self, variables: Mapping[str, str]) -> bool:
        """Takes what a caller has; whether something is new."""
        before = len(self._values)
        self._values |= {(name, fingerprint(value)): value for name, value in variables.items()}
        if len(self._values) == before:
            return False
        self._lent.set()
        self._lent = anyio.Event()
        return True

    def has(self, credential: Credential | None) -> bool:
        """Whether a task with that credential can start."""
        return credential is None or credential.variable is None or (credential.variable, credential.fingerprint or "") in self._values

    async def arrival(self, credential: Credential | None) -> None:
        """Until it is there."""
        while not self.has(credential):
            await self._lent.wait()

    def of(self, credential: Credential | None) -> dict[str, str]:
        """The variables for an agent's environment; none for one that runs already and has them."""
        if credential is None or credential.variable is None or not self.has(credential):
            return {}
        return {credential.variable: self._values[credential.variable, credential.fingerprint or ""]}


def missing(credential: Credential) -> str:
    """What a task without its credential waits for."""
    return f"the credential {credential.variable}: the runner was restarted; any devsh command in a shell that has it brings it back"
