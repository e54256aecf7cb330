"""`codex/<model>`: Codex, spoken to as its `app-server` over stdin and stdout, since `codex exec` hears nothing while it works.

Outside of a sandbox of ours it has its own, in which it may write its checkout and commit there, without a network; what it asks for
beyond that is refused and told. It sees our MCP server alone, under the run's identity.
"""

import json
import typing

from devsh_memory_mcp.agents.adapter import Assignment, Command, Ending, Provider, Talk, Verdict
from devsh_memory_mcp.agents.codex_talk import CodexTalk
from devsh_memory_mcp.agents.codex_thread import placeholder
from devsh_memory_mcp.agents.codex_words import narrate
from devsh_memory_mcp.agents.endpoint import CHATGPT

_TWO = "[0-9][0-9]"
_YEAR = 2 * _TWO
PROVIDER = Provider(
    program="codex",
    install="npm install -g @openai/codex",
    login="run `codex login`, or set OPENAI_API_KEY",
    variables=(("CODEX_API_KEY", "api"), ("OPENAI_API_KEY", "api")),
    home_variable="CODEX_HOME",
    home=".codex",
    login_file="auth.json",
    servers_file="config.toml",
    limits=("turns",),
    instructions=("AGENTS.md",),
    sessions=f"sessions/{_YEAR}/{_TWO}/{_TWO}/rollout-{_YEAR}-{_TWO}-{_TWO}T{_TWO}-{_TWO}-{_TWO}-{{id}}.jsonl",
    many="an API key in CODEX_API_KEY is for many",
)
API = "https://api.openai.com/v1"
# Its apps and plugins bring servers of their own, and its notifications are for a person at a terminal.
_USUAL = ("--disable", "plugins", "--disable", "apps", "-c", "notify=[]")


class Codex:
    """Runs `codex app-server` with one model."""

    takes_messages = True
    keeps_sessions = True
    provider = PROVIDER

    def __init__(self, model: str) -> None:
        self._model = model

    def command(self, assignment: Assignment) -> Command:
        """The command, with what begins the conversation as its input; the prompt comes when it has answered."""
        hidden = json.dumps([variable for variable, _ in PROVIDER.variables])
        argv = [
            "codex",
            "app-server",
            *_USUAL,
            "-c",
            f"shell_environment_policy.exclude={hidden}",
            *(_key(assignment) or _login(assignment)),
        ]
        return Command(tuple(argv), stdin=self._talk(assignment).opening())

    def reopen(self, session_id: str) -> tuple[str, ...] | None:
        """The same session for a person at a terminal."""
        return ("codex", "resume", session_id)

    def talk(self, assignment: Assignment) -> Talk | None:
        """The conversation that begins with the prompt."""
        return self._talk(assignment)

    def _talk(self, assignment: Assignment) -> CodexTalk:
        return CodexTalk(self._model, assignment)

    def verdict(self, ending: Ending) -> Verdict:
        """Its talk knows; without one nothing was ever said."""
        return self._talk(Assignment("", "", "", "", {})).verdict(ending)

    def narrate(self, line: str) -> str | None:
        """A line of the app-server's in words."""
        return narrate(line)


def _key(assignment: Assignment) -> typing.Sequence[str]:
    """The app-server reads no key from its environment, unless a provider says where it is."""
    variable = next((name for name, _ in PROVIDER.variables if name in assignment.credentials), None)
    if variable is None:
        return ()
    where = assignment.environment.get("OPENAI_BASE_URL") or API
    table = f'{{name="OpenAI",base_url={json.dumps(where)},env_key={json.dumps(variable)},wire_api="responses"}}'
    return ("-c", 'model_provider="devsh"', "-c", f"model_providers.devsh={table}")


def _login(assignment: Assignment) -> typing.Sequence[str]:
    """A broker's address for a login of ChatGPT's; what else Codex asks its provider about whose login it is, leads to nothing there."""
    if placeholder(assignment) is None:
        return ()
    where = assignment.environment[CHATGPT.address_variable or ""]
    nowhere = f"{where.removesuffix(CHATGPT.at)}/none"
    return ("-c", f"openai_base_url={json.dumps(where)}", "-c", f"chatgpt_base_url={json.dumps(nowhere)}")
