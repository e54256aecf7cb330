"""`claude/<model>`: Claude Code, spoken to in stream-json over its stdin and stdout.

Outside of a sandbox it may edit its checkout, commit and run tests, and is refused the rest, which is told; inside it may do anything. It
sees our MCP server alone, under the run's identity.
"""

import json
import typing

from devsh_memory_mcp.agents.adapter import SERVER, Assignment, Command, Ending, Provider, Talk, Verdict
from devsh_memory_mcp.agents.claude_model import model_name
from devsh_memory_mcp.agents.claude_project import project_name
from devsh_memory_mcp.agents.claude_talk import ClaudeTalk, user_line
from devsh_memory_mcp.agents.claude_words import narrate
from devsh_memory_mcp.agents.permitted import COMMANDS

PERMISSION_MODES = {"acceptEdits": "acceptEdits", "bypass": "bypassPermissions"}
PROVIDER = Provider(
    program="claude",
    install="npm install -g @anthropic-ai/claude-code",
    login="run `claude` and type /login, or set ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN",
    variables=(("ANTHROPIC_AUTH_TOKEN", "api"), ("ANTHROPIC_API_KEY", "api"), ("CLAUDE_CODE_OAUTH_TOKEN", "subscription")),
    home_variable="CLAUDE_CONFIG_DIR",
    home=".claude",
    login_file=".credentials.json",
    trust_file=".claude.json",
    settings_files=(".claude/settings.json", ".claude/settings.local.json"),
    limits=("turns", "cost"),
    instructions=("CLAUDE.md",),
    sessions="projects/{project}/{id}.jsonl",
    project=project_name,
    many="`claude setup-token` gives a token for many: put it into CLAUDE_CODE_OAUTH_TOKEN",
    refuses_root=True,
)
# What needs no asking beside edits and what the CLI itself takes for reading.
ALLOWED = (f"mcp__{SERVER}", *(f"Bash({command}:*)" for command in COMMANDS))
_RETRIES = "4"  # of the API within the CLI; its own ten last three minutes where a key is refused


class Claude:
    """Runs `claude -p` with one model."""

    takes_messages = True
    keeps_sessions = True
    provider = PROVIDER

    def __init__(self, model: str) -> None:
        self._model = model_name(model)

    def command(self, assignment: Assignment) -> Command:
        """The command, with the prompt as the first line of its input."""
        session = assignment.session
        argv = ["claude", "-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose", "--replay-user-messages"]
        argv += ["--model", self._model, "--permission-mode", PERMISSION_MODES[assignment.permissions or "acceptEdits"]]
        argv += ["--strict-mcp-config", "--mcp-config", json.dumps(_servers(assignment.server))]
        if session is not None:
            argv += ["--session-id", session.id]
            if session.resumes:
                argv += ["--resume", session.resumes, "--fork-session"]
        argv += _limits(assignment)
        argv += ["--allowedTools", *ALLOWED, *assignment.allow]  # it takes all that follows
        usual = {"DISABLE_AUTOUPDATER": "1", "CLAUDE_CODE_MAX_RETRIES": _RETRIES, "ENABLE_TOOL_SEARCH": "false"}
        environment = {name: value for name, value in usual.items() if name not in assignment.environment}
        return Command(tuple(argv), environment, user_line(assignment.prompt, session, 0))

    def reopen(self, session_id: str) -> tuple[str, ...] | None:
        """The same session for a person at a terminal."""
        return ("claude", "--resume", session_id)

    def talk(self, assignment: Assignment) -> Talk | None:
        """The conversation that begins with the prompt."""
        return ClaudeTalk(assignment.session, assignment.cost_basis)

    def verdict(self, ending: Ending) -> Verdict:
        """Its talk knows; without one nothing was ever said."""
        return ClaudeTalk(None, "unknown").verdict(ending)

    def narrate(self, line: str) -> str | None:
        """A line of stream-json in words."""
        return narrate(line)


def _limits(assignment: Assignment) -> list[str]:
    """Its own: after these the turn ends with a result that says so."""
    turns, cost = assignment.max_turns, assignment.max_cost_usd
    return [*(["--max-turns", str(turns)] if turns else []), *(["--max-budget-usd", f"{cost:f}"] if cost else [])]


def _servers(command: typing.Sequence[str]) -> dict[str, object]:
    """Our server; it has no use for the credentials that claude would hand on to it."""
    if not command:
        return {"mcpServers": {}}
    program, *arguments = command
    return {"mcpServers": {SERVER: {"command": program, "args": arguments, "env": {variable: "" for variable, _ in PROVIDER.variables}}}}
