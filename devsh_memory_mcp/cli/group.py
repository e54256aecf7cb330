"""The shape of all commands: groups that import a command when it is called, options that all have, examples in their help."""

import difflib
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TypeVar

import click

from devsh_memory_mcp.cli.session import DIRECTORY, ORCHESTRATION, REMOTE, USE_ENV_JWT

Function = TypeVar("Function", bound=Callable[..., object])
PACKAGE = "devsh_memory_mcp.cli"
MEMORY = ("dir", "orchestration_id", "remote", "use_env_jwt")  # of no meaning to what does not touch orchestrations
LAST = ("use_env_jwt", "remote", "dir", "orchestration_id", "as_json")  # in the help, after what the command itself has


class LazyGroup(click.Group):
    """A group whose members are named by module; `aliases` are further names that the help does not list."""

    def __init__(
        self, *, members: Mapping[str, str], aliases: Mapping[str, str] | None = None, examples: tuple[str, ...] = (), **rest: object
    ):
        super().__init__(**rest)  # type: ignore[arg-type]
        self.members, self.aliases, self.examples = members, aliases or {}, examples

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they are used, not by alphabet."""
        return list(self.members)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports it."""
        name = self.aliases.get(cmd_name, cmd_name)
        if name not in self.members:
            return None
        module, _, attribute = self.members[name].partition(":")
        command: click.Command = getattr(import_module(f"{PACKAGE}.{module}"), attribute)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is meant; a usage error names the nearest, also where it stands one level deeper."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            raise click.UsageError(f"There is no command {name!r}.{self._nearest(name)}", ctx)
        return super().resolve_command(ctx, args)

    def _nearest(self, name: str) -> str:
        deeper = import_module(f"{PACKAGE}.orchestrate").MEMBERS if "orchestrate" in self.members else {}
        meant = {each: f"orchestrate {each}" for each in deeper} | {each: each for each in (*self.members, *self.aliases)}
        near = difflib.get_close_matches(name, meant, n=1, cutoff=0.5)
        return f" Did you mean `{meant[near[0]]}`?" if near else ""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples."""
        write_examples(self.examples, formatter)


class Command(click.Command):
    """A command with examples."""

    examples: tuple[str, ...] = ()

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples."""
        write_examples(self.examples, formatter)


def write_examples(examples: tuple[str, ...], formatter: click.HelpFormatter) -> None:
    """Lines to copy, never wrapped."""
    if not examples:
        return
    with formatter.section("Examples"):
        for example in examples:
            formatter.write(f"{' ' * formatter.current_indent}{example}\n")


def command(
    name: str, *examples: str, use_env_jwt_shown: bool = False, hides: tuple[str, ...] = (), **settings: object
) -> Callable[[Function], Command]:
    """A command with the options that all have: `--dir`, `--orchestration-id`, `--remote`, `--use-env-jwt` and `--json`.

    `hides` are those of them that mean nothing to it: they are taken, and not in its help.
    """

    def decorate(function: Function) -> Command:
        for option in (_json, _orchestration_id, directory_option, _remote):
            function = option(function)
        function = _use_env_jwt(hidden=not use_env_jwt_shown)(function)
        made: Command = click.command(name, cls=Command, **settings)(function)
        made.examples = examples
        made.params.sort(key=lambda parameter: parameter.name in LAST)
        for parameter in made.params:
            if isinstance(parameter, click.Option) and parameter.name in hides:
                parameter.hidden = True
        return made

    return decorate


def _remember(key: str) -> Callable[[click.Context, click.Parameter, str | bool | None], None]:
    def remember(context: click.Context, _parameter: click.Parameter, value: str | bool | None) -> None:  # noqa: FBT001  click's signature
        if value:
            context.meta[key] = value

    return remember


directory_option = click.option(
    "--dir", metavar="PATH", expose_value=False, callback=_remember(DIRECTORY), help="Memory root (else DEVSH_MEMORY_DIR)."
)
_orchestration_id = click.option(
    "--orchestration-id",
    metavar="ID",
    expose_value=False,
    callback=_remember(ORCHESTRATION),
    help="Orchestration (else CMUX_ORCHESTRATION_ID).",
)
_json = click.option("--json", "as_json", is_flag=True, help="JSON on stdout, and nothing else.")


_remote = click.option(
    "--remote",
    metavar="URL",
    expose_value=False,
    callback=_remember(REMOTE),
    help="A `devsh serve` elsewhere, http(s)://HOST:PORT or unix:/PATH (else CMUX_API_BASE_URL).",
)


def _use_env_jwt(*, hidden: bool) -> Callable[[Function], Function]:
    return click.option(
        "--use-env-jwt",
        is_flag=True,
        expose_value=False,
        hidden=hidden,
        callback=_remember(USE_ENV_JWT),
        help="Authenticate with CMUX_TASK_RUN_JWT; its absence is an error.",
    )
