"""How a command fails: one table from error to exit code, and the one or two lines that a person reads."""

import json
import sys
import traceback

import click

from devsh_memory_mcp import errors
from devsh_memory_mcp.errors import DevshError

OK, FAILED, USAGE, TIMEOUT, NOT_FOUND, CONFLICT, UNAVAILABLE, REFUSED, INTERNAL, INTERRUPTED, PIPE = 0, 1, 2, 3, 4, 5, 6, 7, 70, 130, 141

EXIT_CODES: dict[type[DevshError], int] = {
    errors.DevshError: INTERNAL,
    errors.InvalidRequest: USAGE,
    errors.InvalidId: USAGE,
    errors.UnknownAgent: USAGE,
    errors.UnknownDependency: USAGE,
    errors.DependencyCycle: USAGE,
    errors.RepositoryUnusable: USAGE,
    errors.BaseNotFound: USAGE,
    errors.SettingsInvalid: USAGE,
    errors.TooLarge: USAGE,
    errors.NotAvailable: USAGE,
    errors.NotFound: NOT_FOUND,
    errors.Conflict: CONFLICT,
    errors.IdempotencyConflict: CONFLICT,
    errors.TooDeep: CONFLICT,
    errors.TooManyTasks: CONFLICT,
    errors.Unavailable: UNAVAILABLE,
    errors.JournalBusy: UNAVAILABLE,
    errors.JournalDamaged: UNAVAILABLE,
    errors.DiskFull: UNAVAILABLE,
    errors.CommitUnknown: UNAVAILABLE,
    errors.MemoryRootUnusable: UNAVAILABLE,
    errors.RemoteFileSystem: UNAVAILABLE,
    errors.NoSandbox: UNAVAILABLE,
    errors.NoLimits: UNAVAILABLE,
    errors.Unreachable: UNAVAILABLE,
    errors.TooManyRequests: UNAVAILABLE,
    errors.FormatTooNew: UNAVAILABLE,
    errors.Refused: REFUSED,
    errors.Unauthenticated: REFUSED,
    errors.NotAllowed: REFUSED,
}


class Interrupted(Exception):
    """Ctrl-C, with what is to be said about it."""


def report(error: Exception, *, as_json: bool) -> int:
    """Tells the error (on stderr, with `as_json` on stdout too) and answers the exit code."""
    if isinstance(error, DevshError):
        return _tell(error.code, error.message, error.next_step, EXIT_CODES[type(error)], as_json=as_json)
    if isinstance(error, click.UsageError):
        return _tell("usage", _sentence(error), _where_help_is(error), USAGE, as_json=as_json)
    if isinstance(error, click.ClickException):
        return _tell("usage", _sentence(error), "", USAGE, as_json=as_json)
    again = "Set DEVSH_DEBUG=1 and repeat it to see where; please report it with that."
    return _tell("internal", f"This is a fault of devsh itself: {type(error).__name__}: {error}", again, INTERNAL, as_json=as_json)


def show_traceback(error: Exception) -> None:
    """The whole story, for DEVSH_DEBUG=1."""
    click.echo("".join(traceback.format_exception(error)), err=True, nl=False)


def _tell(code: str, message: str, next_step: str, exit_code: int, *, as_json: bool) -> int:
    click.echo(f"{click.style('devsh:', fg='red', bold=True)} {message}", err=True)
    if next_step:
        click.echo(f"       {next_step}", err=True)
    if as_json:
        sys.stdout.write(json.dumps({"error": {"code": code, "message": message, "next": next_step or None}}, indent=2) + "\n")
    return exit_code


def _sentence(error: click.ClickException) -> str:
    return " ".join(error.format_message().split())


def _where_help_is(error: click.UsageError) -> str:
    return f"`{error.ctx.command_path} --help` shows how it is meant." if error.ctx else ""
