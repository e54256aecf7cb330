"""What the commands of one invocation share: where the work is, who calls, and how orchestrations are opened.

`Surroundings` is what `devsh` is started with and what a test puts in its place; `Session` adds the options of the command line.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from devsh_memory_mcp.config import BASE_URLS, TOKEN_VARIABLE, Caller, identity_of, memory_root
from devsh_memory_mcp.errors import Unauthenticated

Opener = Callable[[Path, Caller, str | None], AbstractAsyncContextManager[Any]]
DIRECTORY = "devsh.dir"
ORCHESTRATION = "devsh.orchestration"
REMOTE = "devsh.remote"
USE_ENV_JWT = "devsh.use_env_jwt"

Dialler = Callable[[str, str | None, Caller, str | None], AbstractAsyncContextManager[Any]]


def _open(root: Path, caller: Caller, orchestration_id: str | None) -> AbstractAsyncContextManager[Any]:
    from devsh_memory_mcp.wiring import open_orchestrations

    return open_orchestrations(root, caller, orchestration_id)


def _dial(address: str, token: str | None, caller: Caller, orchestration_id: str | None) -> AbstractAsyncContextManager[Any]:
    from devsh_memory_mcp.faces.http_address import parse_address
    from devsh_memory_mcp.faces.http_client import open_remote

    return open_remote(parse_address(address), token, caller, orchestration_id)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where and with what a command is run."""

    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    directory: Path = field(default_factory=Path.cwd)
    open: Opener = _open
    dial: Dialler = _dial


@dataclass(frozen=True, slots=True)
class Session:
    """One invocation, with what its options say."""

    surroundings: Surroundings
    given_root: str | None
    given_orchestration: str | None
    given_remote: str | None = None
    uses_env_jwt: bool = False

    @property
    def remote(self) -> str | None:
        """The server's address, None where the work is on this machine."""
        said = self.surroundings.environment
        return self.given_remote or next((said[name] for name in BASE_URLS if said.get(name)), None)

    @property
    def files(self) -> Path | None:
        """The memory root, None where a server has it."""
        return None if self.remote is not None else self.root

    @property
    def token(self) -> str | None:
        """What is shown to the server; Unauthenticated where `--use-env-jwt` demands one and there is none."""
        token = self.surroundings.environment.get(TOKEN_VARIABLE) or None
        if token is None and self.uses_env_jwt:
            raise Unauthenticated(f"--use-env-jwt is given, and {TOKEN_VARIABLE} is not set.")
        return token

    def opened(self, directory: Path | None = None) -> AbstractAsyncContextManager[Any]:
        """The orchestrations that the caller reaches, at a server or here."""
        token, caller = self.token, self.caller(directory)
        if self.remote is not None:
            return self.surroundings.dial(self.remote, token, caller, self.orchestration_id)
        if token is None or not self.uses_env_jwt:
            return self.surroundings.open(self.root, caller, self.orchestration_id)
        from devsh_memory_mcp.cli.bearer import borne  # what believes a token takes a tenth of a second to import

        caller, orchestration_id = borne(token, caller)
        return self.surroundings.open(self.root, caller, self.orchestration_id or orchestration_id)

    @property
    def root(self) -> Path:
        """The memory root; MemoryRootUnusable."""
        return memory_root(self.given_root, self.surroundings.environment)

    @property
    def orchestration_id(self) -> str | None:
        """The one that is named by option or environment."""
        return self.given_orchestration or self.surroundings.environment.get("CMUX_ORCHESTRATION_ID") or None

    def caller(self, directory: Path | None = None) -> Caller:
        """Who asks; `directory` is where he stands if not where the command was typed."""
        environment = self.surroundings.environment
        return Caller(
            directory=directory or self.surroundings.directory,
            environment=environment,
            identity=identity_of(environment),
            head_agent=environment.get("CMUX_HEAD_AGENT") or "cli",
        )


def session_of(context: click.Context) -> Session:
    """The session of the command that runs."""
    surroundings = context.find_root().obj
    return Session(
        surroundings=surroundings if isinstance(surroundings, Surroundings) else Surroundings(),
        given_root=context.meta.get(DIRECTORY),
        given_orchestration=context.meta.get(ORCHESTRATION),
        given_remote=context.meta.get(REMOTE),
        uses_env_jwt=bool(context.meta.get(USE_ENV_JWT)),
    )
