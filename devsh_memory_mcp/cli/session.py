"""What the commands of one invocation share: where the files are, who calls, and how orchestrations are opened.

`Surroundings` is what `devsh` is started with and what a test puts in its place; `Session` adds the options of the command line.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from devsh_memory_mcp.config import Caller, identity_of, memory_root

Opener = Callable[[Path, Caller, str | None], AbstractAsyncContextManager[Any]]
DIRECTORY = "devsh.dir"
ORCHESTRATION = "devsh.orchestration"


def _open(root: Path, caller: Caller, orchestration_id: str | None) -> AbstractAsyncContextManager[Any]:
    from devsh_memory_mcp.wiring import open_orchestrations

    return open_orchestrations(root, caller, orchestration_id)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where and with what a command is run."""

    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    directory: Path = field(default_factory=Path.cwd)
    open: Opener = _open


@dataclass(frozen=True, slots=True)
class Session:
    """One invocation, with what its options say."""

    surroundings: Surroundings
    given_root: str | None
    given_orchestration: str | None

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
    )
