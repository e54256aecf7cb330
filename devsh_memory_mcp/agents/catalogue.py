"""Which agents there are: the one table from an agent's name to its adapter."""

import difflib
import typing

from devsh_memory_mcp.agents import acp, claude, claude_model, codex, codex_model, gemini, opencode
from devsh_memory_mcp.agents.adapter import Adapter
from devsh_memory_mcp.agents.shell import Shell
from devsh_memory_mcp.errors import UnknownAgent

DEFAULT_AGENT = "claude/haiku-4.5"
SHELLS = ("bash", "sh")
PROVIDERS = (claude.PROVIDER, codex.PROVIDER, opencode.PROVIDER, gemini.PROVIDER)
_Kind = tuple[typing.Callable[[str], Adapter], typing.Callable[[str], str | None]]
_KINDS: dict[str, _Kind] = {
    "claude": (claude.Claude, claude_model.near_miss),
    "codex": (codex.Codex, codex_model.near_miss),
    "opencode": (opencode.Opencode, opencode.near_miss),
    "gemini": (gemini.Gemini, gemini.near_miss),
    "acp": (acp.any_agent, acp.near_miss),
}
_FORMS = {"opencode": "<provider>/<model>", "acp": "<command>"}


def find_adapter(agent_name: str) -> Adapter:
    """The adapter of `provider/model`. UnknownAgent where there is none."""
    provider, _, model = agent_name.partition("/")
    if provider == "shell" and model in SHELLS:
        return Shell(model)
    if provider in _KINDS and model:
        make, near_miss = _KINDS[provider]
        meant = near_miss(model)
        if meant is not None:
            raise UnknownAgent(f"There is no agent {agent_name[:80]!r}.", next_step=f"Did you mean '{provider}/{meant}'?")
        return make(model)
    known = ", ".join((*(f"{name}/{_FORMS.get(name, '<model>')}" for name in _KINDS), *(f"shell/{shell}" for shell in SHELLS)))
    near = difflib.get_close_matches(agent_name, [DEFAULT_AGENT, *(f"shell/{shell}" for shell in SHELLS)], n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    raise UnknownAgent(f"There is no agent {agent_name[:80]!r}.", next_step=f"{hint}Known are {known}.")
