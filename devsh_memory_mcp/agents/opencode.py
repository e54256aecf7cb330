"""`opencode/<provider>/<model>`: opencode, spoken to as `opencode acp`.

It takes a prompt in the middle of a turn, and tells what the session has cost. It is configured by what it is launched with: it asks us
before it does what is not permitted, and goes on when it is refused.
"""

import json
import re

from devsh_memory_mcp.agents.acp import Acp
from devsh_memory_mcp.agents.acp_manner import Manner
from devsh_memory_mcp.agents.adapter import SERVER, Assignment, Command, Provider
from devsh_memory_mcp.agents.document import Document

# By the provider in the model's name, as opencode calls it.
KEYS = {
    "anthropic": "ANTHROPIC_API_KEY",
    "openai": "OPENAI_API_KEY",
    "google": "GEMINI_API_KEY",
    "openrouter": "OPENROUTER_API_KEY",
    "opencode": "OPENCODE_API_KEY",
}
# The variable that has a provider's address, and what opencode expects behind that.
_ADDRESSES = {
    "anthropic": ("ANTHROPIC_BASE_URL", "/v1"),
    "openai": ("OPENAI_BASE_URL", ""),
    "google": ("GOOGLE_GEMINI_BASE_URL", "/v1beta"),
}
PROVIDER = Provider(
    program="opencode",
    install="npm install -g opencode-ai",
    login="run `opencode auth login`, or set the provider's key (ANTHROPIC_API_KEY, OPENAI_API_KEY …)",
    variables=tuple((name, "api") for name in KEYS.values()),
    home_variable="XDG_CONFIG_HOME",
    home=".config",
    login_file="",
    many="a provider's key in its variable is for many",
    servers_file="opencode/opencode.json",
    instructions=("opencode/AGENTS.md",),
    limits=("turns",),
    tells_late=("cost",),
)
FLOATING = "default"  # whichever model opencode would take by itself
# What it would do over the network by itself.
_QUIET = ("OPENCODE_DISABLE_AUTOUPDATE", "OPENCODE_DISABLE_MODELS_FETCH", "OPENCODE_DISABLE_SHARE", "OPENCODE_DISABLE_LSP_DOWNLOAD")
_UNASKED = ("read", "edit", "glob", "grep", "list", "todowrite", "todoread", "task", "skill", f"{SERVER}_*")
_FAMILIES = (("claude-", "anthropic"), ("gpt-", "openai"), ("gemini-", "google"))
_DOTTED = re.compile(r"(claude-[a-z]+-\d+)\.(\d+)")


class Opencode(Acp):
    """Runs `opencode acp` with one model."""

    keeps_sessions = False  # one that is loaded or forked elsewhere goes on working in the directory in which it began

    def __init__(self, model: str) -> None:
        self._model = None if model == FLOATING else model
        key = KEYS.get(model.partition("/")[0])
        provider = PROVIDER._replace(variables=tuple(pair for pair in PROVIDER.variables if key in (None, pair[0])))
        manner = Manner("opencode", PROVIDER.login, model=self._model, is_steerable=True)
        super().__init__(("opencode", "acp"), manner, provider)

    def command(self, assignment: Assignment) -> Command:
        """The command; its configuration goes over the user's, and the repository's is left alone, since it can name programs to run."""
        environment = dict.fromkeys(_QUIET, "1") | {"OPENCODE_CONFIG_CONTENT": json.dumps(self._configuration(assignment))}
        if assignment.permissions != "bypass":
            environment["OPENCODE_DISABLE_PROJECT_CONFIG"] = "1"
        return super().command(assignment)._replace(environment=environment)

    def _configuration(self, assignment: Assignment) -> Document:
        is_free = assignment.permissions == "bypass"
        return {
            **({"model": self._model} if self._model else {}),
            "permission": {"*": "allow"} if is_free else {"*": "ask"} | dict.fromkeys(_UNASKED, "allow"),
            "experimental": {"continue_loop_on_deny": True},
            "agent": {"title": {"disable": True}},  # a request of its own for what nobody reads
            "mcp": {name: {"enabled": False} for name in assignment.hide},
            **self._addressed(assignment),
            "share": "disabled",
            "autoupdate": False,
        }

    def _addressed(self, assignment: Assignment) -> Document:
        """In a sandbox its provider is where the broker listens, and its user's own configuration is not there."""
        provider = (self._model or "").partition("/")[0]
        variable, path = _ADDRESSES.get(provider, ("", ""))
        address = assignment.environment.get(variable) if assignment.is_walled else None
        return {"provider": {provider: {"options": {"baseURL": f"{address}{path}"}}}} if address else {}

    def reopen(self, session_id: str) -> tuple[str, ...] | None:
        """The same session for a person at a terminal."""
        return ("opencode", "--session", session_id)


def near_miss(given: str) -> str | None:
    """What was probably meant: `anthropic/claude-haiku-4-5` for `claude-haiku-4-5` and with a dot in it; None where it passes."""
    dashed = _DOTTED.sub(r"\1-\2", given)
    if given == FLOATING:
        return None
    if "/" in given:
        return None if dashed == given else dashed
    provider = next((name for family, name in _FAMILIES if given.startswith(family)), "<provider>")
    return f"{provider}/{dashed}"
