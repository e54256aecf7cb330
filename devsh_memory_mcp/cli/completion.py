"""`devsh completion`: the tab key."""

import click
from click.shell_completion import get_completion_class

from devsh_memory_mcp.cli.group import Command


@click.command("completion", cls=Command, short_help="Tab completion for your shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell, to be evaluated by it."""
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"There is no completion for {shell}.", context)
    click.echo(found(context.find_root().command, {}, "devsh", "_DEVSH_COMPLETE").source())


completion.examples = (
    'eval "$(devsh completion bash)"   # in ~/.bashrc',
    'eval "$(devsh completion zsh)"    # in ~/.zshrc',
    "devsh completion fish > ~/.config/fish/completions/devsh.fish",
)
