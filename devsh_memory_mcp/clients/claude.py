"""Our server, its permission and its skill in Claude Code's files, for a user or for a project.

Where the files are is what Claude Code 2.1.330 was seen to read and write.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from devsh_memory_mcp.clients import json_text
from devsh_memory_mcp.clients.json_file import JsonFile
from devsh_memory_mcp.clients.notes import Notes, Plan
from devsh_memory_mcp.clients.server import SERVER_NAME, WAIT_SECONDS, shared_command
from devsh_memory_mcp.clients.skill import Skill
from devsh_memory_mcp.clients.text import read_text
from devsh_memory_mcp.config import home_directory
from devsh_memory_mcp.errors import Conflict, InvalidRequest

SERVER = ("mcpServers", SERVER_NAME)
RULES = ("permissions", "allow")
RULE = f"mcp__{SERVER_NAME}"
PLUGIN = "devsh"
COMMAND = "setup"


@dataclass(frozen=True, slots=True)
class ClaudeFiles:
    """The three places that `devsh setup claude` changes, and how our server is started from there."""

    servers: JsonFile
    settings: JsonFile
    skill: Skill
    command: tuple[str, ...]

    @property
    def entry(self) -> dict[str, object]:
        """Our server as Claude Code knows it; without the timeout a call ends when nothing was heard for half an hour."""
        program, *arguments = self.command
        return {"type": "stdio", "command": program, "args": arguments, "env": {}, "timeout": WAIT_SECONDS * 1000}

    def installing(self, notes: Notes, *, replace: bool) -> Plan:
        """All three put in, as far as they are not there."""
        plan = self.servers.with_member(SERVER, self.entry, notes, replace=replace)
        plan += self.settings.with_element(RULES, RULE)
        try:
            plan += self.skill.installing(notes, by=COMMAND)
        except Conflict as conflict:  # what it says is of use without the skill too
            plan.said.append(f"The skill is left out: {conflict.message}")
        return plan

    def removing(self, notes: Notes) -> Plan:
        """What was put in, taken out."""
        plan = self.servers.without_member(SERVER, self.entry, notes)
        plan += self.settings.without_element(RULES, RULE, notes)
        plan += self.skill.removing(notes, by=COMMAND)
        return plan


def config_home(environment: Mapping[str, str]) -> Path:
    """CLAUDE_CONFIG_DIR, else `~/.claude`."""
    named = environment.get("CLAUDE_CONFIG_DIR")
    return Path(os.path.abspath(Path(named).expanduser())) if named else home_directory(environment) / ".claude"


def users_files(environment: Mapping[str, str], command: tuple[str, ...], source: Path) -> ClaudeFiles:
    """Those of the user, for all his projects."""
    home = config_home(environment)
    return ClaudeFiles(
        JsonFile(_main_file(environment), locks=True), JsonFile(home / "settings.json"), Skill.of_user(home, source), command
    )


def projects_files(project: Path, environment: Mapping[str, str], command: tuple[str, ...], source: Path) -> ClaudeFiles:
    """Those that lie in a repository, for everybody who works on it."""
    servers = JsonFile(project / ".mcp.json", is_private=False)
    settings = JsonFile(project / ".claude" / "settings.json", is_private=False)
    return ClaudeFiles(servers, settings, Skill.of_project(project, source), shared_command(command, environment))


def find_server(project: Path, environment: Mapping[str, str]) -> str | None:
    """How Claude Code knows our server: by the user's file, the plugin, else the project's file. What cannot be read says nothing."""
    main = _main_file(environment)
    if json_text.find(_document(main), SERVER) is not None:
        return f"for you, by {main}"
    plugins = json_text.find(_document(config_home(environment) / "settings.json"), ("enabledPlugins",))
    if isinstance(plugins, dict) and any(name.startswith(f"{PLUGIN}@") and enabled for name, enabled in plugins.items()):
        return "for you, by the plugin"
    shared = project / ".mcp.json"
    return f"in this repository alone, by its own {shared}" if json_text.find(_document(shared), SERVER) is not None else None


def _document(path: Path) -> json_text.Json:
    try:
        return json_text.parse(read_text(path) or "")
    except (InvalidRequest, ValueError):
        return {}


def _main_file(environment: Mapping[str, str]) -> Path:
    legacy = config_home(environment) / ".config.json"
    if legacy.is_file():
        return legacy
    named = environment.get("CLAUDE_CONFIG_DIR")
    return (config_home(environment) if named else home_directory(environment)) / ".claude.json"
