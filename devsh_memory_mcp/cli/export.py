"""`devsh orchestrate export`: one orchestration packed for a bug report, without secrets."""

import platform
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from devsh_memory_mcp import wiring
from devsh_memory_mcp.agents.figures import counted
from devsh_memory_mcp.cli.asking import given as named
from devsh_memory_mcp.cli.checkout import ask as ask_git
from devsh_memory_mcp.cli.group import command
from devsh_memory_mcp.cli.output import quoted, warn, write_json
from devsh_memory_mcp.cli.place import find_path, find_place
from devsh_memory_mcp.cli.session import session_of
from devsh_memory_mcp.config import VERSION
from devsh_memory_mcp.domain.instants import instant_text
from devsh_memory_mcp.errors import NotFound, Unavailable
from devsh_memory_mcp.store.bookkeeping import JOURNAL_FILE, VIEW_FILES
from devsh_memory_mcp.store.parcel import Parcel, pack
from devsh_memory_mcp.store.scrubber import Scrubber

STAYS = "Prompts, messages, results, names and paths stay in it: look through it before you give it away."


@command(
    "export",
    "devsh orchestrate export",
    "devsh orchestrate export orch_abc123 -o report.tar.gz",
    "devsh orchestrate replay report.tar.gz",
    short_help="Pack it for a bug report, without secrets.",
)
@click.argument("given", metavar="[ID|DIRECTORY]", required=False)
@click.option(
    "--output", "-o", metavar="FILE", help="The archive (default: the orchestration's id with .tar.gz, in the current directory)."
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@click.pass_context
def export(context: click.Context, given: str | None, *, output: str | None, force: bool, as_json: bool) -> None:
    """Pack journal, views, logs (their last MB) and what `devsh fsck` says of one orchestration into one .tar.gz.

    Never packed are checkouts, git objects, sockets and locks. What looks like a secret is scrubbed: the values of variables that
    hold credentials here, keys by their shape, passwords beside their names, what stands before an @ or behind a ? in URLs.
    It may be made while agents work. Where it comes to lie in a git checkout it says so: it is not for a commit.
    """
    session = session_of(context)
    directory = (find_path(session, named(given)) or find_place(session, given)).resolve()
    if not any((directory / name).exists() for name in (JOURNAL_FILE, *VIEW_FILES)):
        raise NotFound(f"{directory} is not an orchestration's directory: it has neither a journal nor views.")
    findings = wiring.check_directory(directory)
    about = {
        "format": 1,
        "createdAt": instant_text(datetime.now(UTC)),
        "versions": {"devsh": VERSION, "python": platform.python_version(), "system": platform.platform()},
        "fsck": [{"code": found.code, "path": str(found.path), "message": found.message} for found in findings],
    }
    target = _target(session.surroundings.directory, output, f"{directory.name}.tar.gz")
    parcel = pack(directory, target, about, Scrubber(session.surroundings.environment), force=force)
    if as_json:
        write_json(_document(parcel, len(findings)))
    else:
        _show(parcel, len(findings))
    warn(_dangers(target, session.surroundings.environment))


def _target(here: Path, output: str | None, name: str) -> Path:
    target = here / Path(output or name).expanduser()
    return target / name if target.is_dir() else target


def _dangers(target: Path, environment: Mapping[str, str]) -> list[str]:
    """A checkout in which it would be committed with the next `git add`."""
    try:
        code, _ = ask_git(target.parent, environment, "check-ignore", "-q", "--", target.name)
    except Unavailable:
        return []
    told = f"{target} lies in a git checkout that does not ignore it: do not commit it, or name another place with -o."
    return [told] if code == 1 else []


def _document(parcel: Parcel, findings: int) -> dict[str, object]:
    told = {key: value for key, value in asdict(parcel).items() if key not in ("path", "left_out")}
    return {"path": str(parcel.path), **told, "leftOut": dict(parcel.left_out), "findings": findings, "note": STAYS}


def _show(parcel: Parcel, findings: int) -> None:
    click.echo(f"{click.style(str(parcel.path), bold=True)}  {counted(parcel.files, 'file')}, {counted(findings, 'finding')} of fsck")
    click.echo(f"  left out  {_counted(parcel.left_out) or 'nothing'}")
    click.echo(f"  scrubbed  {_counted(parcel.scrubbed) or 'nothing was found that looks like a secret'}")
    if parcel.cut:
        click.echo(f"  cut       {counted(len(parcel.cut), 'log')} to the last MB")
    click.echo(f"  {STAYS}")
    click.echo(f"  {click.style('look:', dim=True)} {quoted('devsh', 'orchestrate', 'replay', str(parcel.path))}")


def _counted(found: Mapping[str, int]) -> str:
    return ", ".join(f"{what}{f' ({count})' if count > 1 else ''}" for what, count in found.items())
