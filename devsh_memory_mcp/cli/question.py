"""What a command asks before it does something that was only shown."""

import sys

import click

yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def is_agreed(question: str, *, yes: bool, as_json: bool) -> bool:
    """Whether to go on; a usage error where there is nobody to ask."""
    if yes:
        return True
    if as_json or not sys.stdin.isatty():
        raise click.UsageError("There is nobody to ask: nothing was changed. --yes makes the changes without asking.")
    agreed = click.confirm(question, default=True)
    if not agreed:
        click.echo("Nothing was changed.")
    return agreed
