"""`devsh setup` and `devsh skill`: our server and skill in other programs' files, shown before, undone on request."""

from collections.abc import Mapping

import click

from devsh_memory_mcp.cli import failure
from devsh_memory_mcp.cli.group import MEMORY, LazyGroup, command
from devsh_memory_mcp.cli.output import warn, write_json
from devsh_memory_mcp.cli.question import is_agreed, yes_option
from devsh_memory_mcp.cli.session import Session, session_of
from devsh_memory_mcp.clients.claude import ClaudeFiles, config_home, projects_files, users_files
from devsh_memory_mcp.clients.codex import codex_file
from devsh_memory_mcp.clients.notes import Plan, carry_out, read_notes
from devsh_memory_mcp.clients.server import server_command
from devsh_memory_mcp.clients.skill import Skill, skill_source
from devsh_memory_mcp.config import Caller

remove_option = click.option("--remove", is_flag=True, help="Take out what was put in, and nothing else.")
replace_option = click.option("--replace", is_flag=True, help="Take the place of a server of the same name; --remove puts it back.")


@click.group(
    cls=LazyGroup,
    members={"claude": "setup:setup_claude", "codex": "setup:setup_codex"},
    examples=("devsh setup claude", "devsh setup claude --project", "devsh setup codex", "devsh setup claude --remove"),
    short_help="Tell Claude Code or Codex of the MCP server.",
)
def setup() -> None:
    """Enter the MCP server where your agent's CLI looks for servers.

    What would change is shown first, and nothing is changed unless you agree. --remove takes out what was put in.
    """


@command(
    "claude",
    "devsh setup claude",
    "devsh setup claude --yes",
    "devsh setup claude --project       # .mcp.json of this repository, for all who work on it",
    "devsh setup claude --remove",
    hides=MEMORY,
    short_help="Claude Code: server, permission, skill.",
)
@click.option("--project", is_flag=True, help="In this repository (.mcp.json, .claude, .agents), not for all of yours.")
@remove_option
@yes_option
@replace_option
@click.pass_context
def setup_claude(context: click.Context, *, project: bool, remove: bool, yes: bool, replace: bool, as_json: bool) -> int:
    """Enter the server into Claude Code, allow its tools (mcp__devsh-memory) and install the skill.

    For you: ~/.claude.json, ~/.claude/settings.json and ~/.claude/skills, or what CLAUDE_CONFIG_DIR names. Your other entries, the files'
    modes and their formatting stay. A running Claude Code sees the server when it is started again.
    """
    session = session_of(context)
    environment = session.surroundings.environment
    files = _claude_files(session.caller(), environment, in_project=project)
    notes = read_notes(environment)
    plan = files.removing(notes) if remove else files.installing(notes, replace=replace)
    done = "Start Claude Code again, and ask it to spread work over agents."
    if project:
        done += " It asks once whether you trust this repository and its servers."
    return _finish(session, plan, done="" if remove else done, yes=yes, as_json=as_json)


@command(
    "codex",
    "devsh setup codex",
    "devsh setup codex --remove",
    hides=MEMORY,
    short_help="Codex: server, timeouts, permission.",
)
@remove_option
@yes_option
@replace_option
@click.pass_context
def setup_codex(context: click.Context, *, remove: bool, yes: bool, replace: bool, as_json: bool) -> int:
    """Enter the server into Codex: a table of its own at the end of ~/.codex/config.toml, or of CODEX_HOME's.

    It lets a call last half an hour, hands on the variables that agents need (by name, never by value) and allows the tools.
    """
    session = session_of(context)
    environment = session.surroundings.environment
    file, notes = codex_file(environment, server_command()), read_notes(environment)
    plan = file.removing(notes) if remove else file.installing(notes, replace=replace)
    done = "" if remove else "Start Codex again, and ask it to spread work over agents."
    return _finish(session, plan, done=done, yes=yes, as_json=as_json)


@click.group(
    cls=LazyGroup,
    members={"install": "setup:skill_install"},
    examples=("devsh skill install", "devsh skill install --project"),
    short_help="Install the skill for agents.",
)
def skill() -> None:
    """The skill devsh-orchestrator: what an agent should know before it hands out work."""


@command(
    "install",
    "devsh skill install",
    "devsh skill install --project      # .agents/skills of this repository, with a link from .claude/skills",
    "devsh skill install --remove",
    hides=MEMORY,
    short_help="Copy the skill to where agents look.",
)
@click.option("--project/--user", default=False, help="In this repository, or for all of yours (default).")
@remove_option
@yes_option
@click.pass_context
def skill_install(context: click.Context, *, project: bool, remove: bool, yes: bool, as_json: bool) -> int:
    """Copy the skill devsh-orchestrator into ~/.claude/skills, or into the repository that you are in.

    What is there and is not ours stays as it is. Repeating it after an update brings the newer text.
    """
    session = session_of(context)
    environment = session.surroundings.environment
    place = (
        Skill.of_project(session.caller().project_path, skill_source())
        if project
        else Skill.of_user(config_home(environment), skill_source())
    )
    notes = read_notes(environment)
    return _finish(session, place.removing(notes) if remove else place.installing(notes), done="", yes=yes, as_json=as_json)


def _claude_files(caller: Caller, environment: Mapping[str, str], *, in_project: bool) -> ClaudeFiles:
    if in_project:
        return projects_files(caller.project_path, environment, server_command(), skill_source())
    return users_files(environment, server_command(), skill_source())


def _finish(session: Session, plan: Plan, *, done: str, yes: bool, as_json: bool) -> int:
    """Shows the plan, asks, carries it out."""
    shown = plan.shown()
    if not as_json:
        warn(plan.said)
        for line in shown:
            click.echo(click.style(line, fg={"+": "green", "-": "red", "@": "cyan"}.get(line[:1])))
    if shown and not is_agreed("Make these changes?", yes=yes, as_json=as_json):
        return failure.FAILED
    carry_out(plan, session.surroundings.environment)
    if as_json:
        paths = [str(change.path) for change in plan.changes if change.shown()]
        write_json({"changed": paths, "diff": "\n".join(shown), "warnings": plan.said})
    elif shown:
        click.echo(f"Done. {done}".rstrip())
    else:
        click.echo("There is nothing to do.")
    return failure.OK
