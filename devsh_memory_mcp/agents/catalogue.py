"""Which agents there are: the one table from an agent's name to its adapter."""

import difflib

from devsh_memory_mcp.agents.adapter import Adapter
from devsh_memory_mcp.agents.shell import Shell
from devsh_memory_mcp.errors import NotAvailable, UnknownAgent

DEFAULT_AGENT = "claude/haiku-4.5"
SHELLS = ("bash", "sh")
PLANNED_PROVIDERS = ("claude", "codex", "gemini", "opencode")


def find_adapter(agent_name: str) -> Adapter:
    """The adapter of `provider/model`. UnknownAgent where there is none, NotAvailable where there will be."""
    provider, _, model = agent_name.partition("/")
    if provider == "shell" and model in SHELLS:
        return Shell(model)
    known = ", ".join(f"shell/{shell}" for shell in SHELLS)
    if provider in PLANNED_PROVIDERS and model:
        raise NotAvailable(f"This release cannot start {agent_name!r} yet.", next_step=f"Use one of {known}: the prompt is a script.")
    near = difflib.get_close_matches(agent_name, [f"shell/{shell}" for shell in SHELLS], n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    raise UnknownAgent(f"There is no agent {agent_name[:80]!r}.", next_step=f"{hint}Known are {known}.")
