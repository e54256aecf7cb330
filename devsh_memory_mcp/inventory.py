"""Which agent CLIs this machine has, with which login each would work, and who pays for it.

Cheap: names are looked up on PATH and files are looked at; nothing is started, and of a secret it is only told that it is there.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from devsh_memory_mcp.agents.catalogue import SHELLS
from devsh_memory_mcp.agents.claude import PROVIDER as CLAUDE
from devsh_memory_mcp.agents.codex import PROVIDER as CODEX
from devsh_memory_mcp.agents.gemini import PROVIDER as GEMINI
from devsh_memory_mcp.agents.opencode import PROVIDER as OPENCODE
from devsh_memory_mcp.config import home_directory
from devsh_memory_mcp.errors import SettingsInvalid
from devsh_memory_mcp.logins import KINDS as STORED_KINDS
from devsh_memory_mcp.logins import stored_variables

Payer = Literal["api", "subscription", "unknown"]
Environment = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Login:
    """Where a CLI finds its login: a variable or a file. `cost_basis` tells who pays, `plan` which subscription where it says so.

    `variable` and `value` are set where it is a value, out of the environment or, with `is_stored`, of `devsh auth`.
    """

    place: str
    cost_basis: Payer
    plan: str | None = None
    variable: str | None = None
    value: str | None = field(default=None, repr=False)
    is_stored: bool = False

    @property
    def payer(self) -> str:
        """Who pays, in words."""
        if self.cost_basis == "subscription":
            return f"paid by the {f'{self.plan} ' if self.plan else ''}subscription"
        return "paid by the token" if self.cost_basis == "api" else "whoever pays there"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of agent CLI; `logins` are in the order in which it takes them itself."""

    name: str
    logins: tuple[Callable[[Environment], Login | None], ...]
    install: str
    log_in: str


@dataclass(frozen=True, slots=True)
class AgentCli:
    """A CLI as it is found here; `logins` are all that are there, the one it uses first."""

    kind: Kind
    path: str | None
    logins: tuple[Login, ...]

    @property
    def name(self) -> str:
        """As in `provider/model`."""
        return self.kind.name

    @property
    def login(self) -> Login | None:
        """The one that it uses."""
        return self.logins[0] if self.logins else None


def find_agents(environment: Environment) -> tuple[AgentCli, ...]:
    """Every CLI that we know of, found or not, with what logs it in."""
    return tuple(
        AgentCli(
            kind,
            shutil.which(kind.name, path=environment.get("PATH", os.defpath)),
            (*_stored(kind.name, environment), *(login for find in kind.logins if (login := find(environment)) is not None)),
        )
        for kind in KINDS
    )


def in_words(environment: Environment) -> str:
    """What may be named as an agent here, for a model: the CLIs that are there, whether they are logged in, who pays."""
    said = []
    for agent in find_agents(environment):
        if agent.path is not None:
            login = agent.login.payer if agent.login else "no login was found"
            said.append(f"{agent.name}/<model> ({login})")
    scripts = ", ".join(f"shell/{shell}" for shell in SHELLS)
    return ", ".join([*said, f"{scripts} (the prompt is a script)"])


def _variable(name: str, cost_basis: Payer) -> Callable[[Environment], Login | None]:
    return lambda environment: Login(name, cost_basis, variable=name, value=environment[name]) if environment.get(name) else None


def _stored(name: str, environment: Environment) -> Iterator[Login]:
    """What `devsh auth` keeps in variables that it takes, which comes before all that it finds itself."""
    found = {}
    with suppress(SettingsInvalid):  # spawning and `devsh doctor` tell of it; the rest goes on
        found = stored_variables(environment)
    for kind in STORED_KINDS.values():
        for billing, variable in kind.variables.items():
            if variable in found and variable in _TAKEN[name]:
                yield Login("devsh auth", billing, variable=variable, value=found[variable], is_stored=True)


def _claude_login(environment: Environment) -> Login | None:
    """The login of its own: a file, on macOS the keychain, which is not asked."""
    named = environment.get(CLAUDE.home_variable)
    home = home_directory(environment)
    path = (Path(named) if named else home / CLAUDE.home) / CLAUDE.login_file
    if path.is_file():
        found = _json(path).get("claudeAiOauth")
        plan = found.get("subscriptionType") if isinstance(found, dict) else None
        return Login(str(path), "subscription", plan if isinstance(plan, str) else None)
    if sys.platform == "darwin" and "oauthAccount" in _json((Path(named) if named else home) / CLAUDE.trust_file):
        return Login("the keychain", "subscription")
    return None


def _codex_login(environment: Environment) -> Login | None:
    named = environment.get(CODEX.home_variable)
    path = (Path(named) if named else home_directory(environment) / CODEX.home) / CODEX.login_file
    found = _json(path)
    if found.get("tokens"):
        return Login(str(path), "subscription")
    return Login(str(path), "api") if found.get("OPENAI_API_KEY") else None


def _gemini_login(environment: Environment) -> Login | None:
    path = home_directory(environment) / GEMINI.home / GEMINI.login_file
    return Login(str(path), "subscription") if _json(path) else None


def _opencode_login(environment: Environment) -> Login | None:
    named = environment.get("XDG_DATA_HOME")
    path = (Path(named) if named else home_directory(environment) / ".local" / "share") / "opencode" / "auth.json"
    return Login(str(path), "unknown") if _json(path) else None


def _json(path: Path) -> dict[str, Any]:
    """What a CLI wrote, nothing where it cannot be read: the CLI itself will say what is wrong with it."""
    try:
        found = json.loads(path.read_bytes()) if path.is_file() else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


KINDS = (
    Kind(
        CLAUDE.program,
        # A key comes before a subscription that is there too, in the CLI's own order.
        (*(_variable(name, basis) for name, basis in CLAUDE.variables), _claude_login),
        CLAUDE.install,
        CLAUDE.login,
    ),
    Kind(
        CODEX.program,
        (_variable("CODEX_API_KEY", "api"), _codex_login, _variable("OPENAI_API_KEY", "api")),
        CODEX.install,
        CODEX.login,
    ),
    Kind(
        OPENCODE.program,
        (*(_variable(name, basis) for name, basis in OPENCODE.variables), _opencode_login),
        OPENCODE.install,
        OPENCODE.login,
    ),
    Kind(
        GEMINI.program,
        (*(_variable(name, basis) for name, basis in GEMINI.variables), _gemini_login),
        GEMINI.install,
        GEMINI.login,
    ),
)
# The variables that each one's CLI takes a key or a token from.
_TAKEN = {provider.program: frozenset(name for name, _ in provider.variables) for provider in (CLAUDE, CODEX, OPENCODE, GEMINI)}
# The variables that hold what agents' CLIs log in with. Their names may be written down, their values never.
CREDENTIALS = (
    "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CONFIG_DIR",
    "CODEX_API_KEY", "CODEX_HOME", "OPENAI_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY", "OPENROUTER_API_KEY",
    "OPENCODE_API_KEY",
)  # fmt: skip
