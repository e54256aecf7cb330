"""`devsh config` and `devsh trust`: what is set, where it comes from, and what a repository may say."""

import os
from collections.abc import Mapping
from pathlib import Path

import click

from devsh_memory_mcp.cli import failure
from devsh_memory_mcp.cli.group import MEMORY, LazyGroup, command
from devsh_memory_mcp.cli.output import facts, quoted, warn, write_json
from devsh_memory_mcp.cli.question import is_agreed, yes_option
from devsh_memory_mcp.cli.session import Session, session_of
from devsh_memory_mcp.clients.text import TextChange, put_text, read_text, spliced
from devsh_memory_mcp.clients.toml_text import with_value
from devsh_memory_mcp.domain.durations import duration_text
from devsh_memory_mcp.domain.sizes import size_text
from devsh_memory_mcp.errors import InvalidRequest, NotFound
from devsh_memory_mcp.settings import (
    REPOSITORY_FILE,
    Settings,
    Values,
    acts_for_user,
    checked_key,
    load_settings,
    parse_file,
    parse_words,
    read_file,
    user_file,
    users_values,
    variable_of,
)
from devsh_memory_mcp.trust import is_trusted, revoke, trust, trusted_files

KEYS = "  ".join(Values.model_fields)


@click.group(
    cls=LazyGroup,
    members={"get": "settings:config_get", "set": "settings:config_set"},
    examples=(
        "devsh config",
        "devsh config get default_agent",
        "devsh config set timeout 30m",
        "devsh config set --project setup 'npm ci'",
        "DEVSH_MAX_TASKS=100 devsh orchestrate spawn-batch plan.yaml",
    ),
    invoke_without_command=True,
    short_help="Settings, and where each comes from.",
)
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout, and nothing else.")
@click.pass_context
def config(context: click.Context, *, as_json: bool) -> None:
    """Show what is set, and where each value comes from.

    A flag comes before the environment (DEVSH_ and the key in capitals), that before .devsh.toml in the repository's root, that before
    ~/.config/devsh/config.toml, that before what is built in. Keys: default_agent, branch_prefix, auto_pr, max_concurrent, timeout,
    keep_days, setup, verify, include, sandbox, network, memory, cpus, disk, billing, max_depth, max_tasks.
    """
    if context.invoked_subcommand is not None:
        return
    session = session_of(context)
    settings = _settings(session)
    if as_json:
        write_json(_document(session, settings))
        return
    width = max(len(_text(settings, key)) for key in Values.model_fields)
    for key, field in Values.model_fields.items():
        origin = settings.origin(key)
        where = origin.place or origin.source
        click.echo(f"{key:<15} {_text(settings, key):<{min(width, 40)}}  {click.style(where, dim=origin.place is None)}")
        click.echo(click.style(f"{'':<15} {field.description}", dim=True))
    warn(settings.warnings)


@command("get", "devsh config get default_agent", "devsh config get include", hides=MEMORY, short_help="Print one value.")
@click.argument("key")
@click.pass_context
def config_get(context: click.Context, key: str, *, as_json: bool) -> None:
    """Print the value that holds here: nothing where there is none, a line for each of several."""
    session = session_of(context)
    checked_key(key)
    settings = _settings(session)
    if as_json:
        write_json(_document(session, settings)["settings"][key])
        return
    value = getattr(settings, key)
    lines = value if isinstance(value, tuple) else () if value is None else (_text(settings, key),)
    for line in lines:
        click.echo(line)


@command(
    "set",
    "devsh config set default_agent claude/sonnet",
    "devsh config set timeout 1h30m",
    "devsh config set --project include .env '*.local'",
    hides=MEMORY,
    short_help="Write one value.",
)
@click.option("--project", is_flag=True, help="Into .devsh.toml of this repository, not into your own file.")
@click.argument("key")
@click.argument("value", nargs=-1, required=True)
@click.pass_context
def config_set(context: click.Context, key: str, value: tuple[str, ...], *, project: bool, as_json: bool) -> None:
    """Write a value into your settings, or into the repository's. Comments and everything else in the file stay."""
    session = session_of(context)
    checked_key(key)
    plain = parse_words(key, value)
    environment = session.surroundings.environment
    path = session.caller().project_path / REPOSITORY_FILE if project else user_file(environment)
    before = read_text(path)
    found = parse_file(path, (before or "").encode())
    try:
        splice = with_value(before or "", key, plain)
    except ValueError as error:
        raise InvalidRequest(f"{path}: {error}.", next_step="Change it with an editor.") from error
    after = spliced(before or "", [splice])
    own = users_values(environment)
    was_allowed = not _needs_leave(found, own) or is_trusted(path, (before or "").encode(), environment)
    put_text(path, after, is_private=not project)
    if project and was_allowed and _needs_leave(parse_file(path, after.encode()), own):
        trust(path, after.encode(), environment)  # who typed it himself need not allow it once more
    settings = _settings(session)
    if as_json:
        write_json(_document(session, settings)["settings"][key] | {"written": str(path)})
        return
    click.echo("\n".join(TextChange(path, before, after, (splice,)).shown()))
    origin = settings.origin(key)
    if origin.place != str(path) and key not in settings.ignored:
        warn([f"here {origin.place or origin.source} comes before it and says {_text(settings, key)}"])
    warn(settings.warnings)


@command(
    "trust",
    "devsh trust",
    "devsh trust ../other-repository --yes",
    "devsh trust --list",
    "devsh trust --revoke",
    hides=MEMORY,
    short_help="Allow what a repository's .devsh.toml does for you.",
)
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--list", "lists", is_flag=True, help="Show what was allowed.")
@click.option("--revoke", "revokes", is_flag=True, help="Allow it no longer.")
@yes_option
@click.pass_context
def trust_command(context: click.Context, path: Path | None, *, lists: bool, revokes: bool, yes: bool, as_json: bool) -> int:
    """Allow the .devsh.toml of a repository to act for you: to run its setup, to choose a shell agent, to open pull requests, to have
    ignored files copied into checkouts, to lift limits.

    What it wants is shown first, and allowed only if you agree; --revoke undoes it. It is allowed for what the file says now: when it
    changes, it has to be allowed anew. The record is kept in your configuration, not in the repository.
    """
    session = session_of(context)
    environment = session.surroundings.environment
    if lists:
        return _list(session, as_json=as_json)
    where = session.surroundings.directory / path if path else session.surroundings.directory
    file = session.caller(where).project_path / REPOSITORY_FILE if where.is_dir() else where
    if revokes:
        was = revoke(file, environment)
        write_json({"revoked": was, "path": str(file)}) if as_json else click.echo(
            f"{file} may no longer act for you." if was else f"{file} was not allowed to."
        )
        return failure.OK
    content = read_file(file)
    if content is None:
        raise NotFound(f"There is no {file}, so there is nothing to allow.", next_step="Name a repository that has a .devsh.toml.")
    return _allow(file, content, environment, yes=yes, as_json=as_json)


def _allow(file: Path, content: bytes, environment: Mapping[str, str], *, yes: bool, as_json: bool) -> int:
    """Shows what would be allowed, asks, and allows it."""
    found = {key: value for key, value in parse_file(file, content).items() if acts_for_user(key, value, users_values(environment))}
    undo = quoted("devsh", "trust", "--revoke", str(file.parent))
    if not as_json:
        click.echo(f"{file} wants to act for you:" if found else f"{file} names nothing that has to be allowed.")
        facts([(key, str(value)) for key, value in found.items()])
    if found and not is_agreed("Allow it?", yes=yes, as_json=as_json):
        return failure.FAILED
    trust(file, content, environment)
    if as_json:
        write_json({"trusted": str(file), "allowed": found})
    else:
        click.echo(f"It may from now on, as the file stands. Undo it: {undo}")
    return failure.OK


def _list(session: Session, *, as_json: bool) -> int:
    found = trusted_files(session.surroundings.environment)
    if as_json:
        write_json({"trusted": [{"path": str(each.path), "isCurrent": each.is_current} for each in found]})
        return failure.OK
    for each in found:
        changed = "" if each.is_current else click.style("  changed since or gone: ignored", fg="yellow")
        click.echo(f"{each.path}{changed}")
    if not found:
        click.echo("No repository was allowed to act for you.")
    return failure.OK


def _settings(session: Session) -> Settings:
    return load_settings(session.caller().project, session.surroundings.environment)


def _needs_leave(found: dict[str, object], own: dict[str, object]) -> bool:
    return any(acts_for_user(key, value, own) for key, value in found.items())


def _text(settings: Settings, key: str) -> str:
    value = getattr(settings, key)
    if value is None or value == ():
        return "-"
    if isinstance(value, tuple):
        return ", ".join(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return duration_text(value) if key == "timeout" else size_text(value) if key in ("memory", "disk") else str(value)


def _document(session: Session, settings: Settings) -> dict[str, dict[str, dict[str, object]]]:
    values = settings.model_dump(mode="json", include=set(Values.model_fields))
    project = settings.repository_file
    return {
        "settings": {
            key: {"value": values[key], "source": settings.origin(key).source, "place": settings.origin(key).place}
            | {"variable": variable_of(key), "ignored": key in settings.ignored}
            for key in Values.model_fields
        },
        "files": {
            "user": {"path": str(user_file(session.surroundings.environment))},
            "repository": {"path": str(project), "exists": project is not None and os.path.exists(project)},
        },
    }
