"""The root of `devsh`, and the one place where everything that can go wrong is caught."""

import os
import sys
from collections.abc import Sequence

import click

from devsh_memory_mcp.cli import failure
from devsh_memory_mcp.cli.group import LazyGroup, directory_option
from devsh_memory_mcp.cli.session import Surroundings
from devsh_memory_mcp.config import VERSION

MEMBERS = {
    "orchestrate": "orchestrate:orchestrate",
    "demo": "demo:demo",
    "doctor": "doctor:doctor",
    "auth": "auth:auth",
    "setup": "setup:setup",
    "skill": "setup:skill",
    "config": "settings:config",
    "trust": "settings:trust_command",
    "serve": "serve:serve",
    "token": "serve:token",
    "fsck": "upkeep:fsck",
    "gc": "upkeep:gc",
    "completion": "completion:completion",
    "runner": "upkeep:runner",
}
EXAMPLES = (
    "devsh demo",
    'devsh orchestrate spawn --agent shell/bash "make test"',
    "devsh orchestrate status --watch",
    "devsh orchestrate results",
)


@click.group(cls=LazyGroup, members=MEMBERS, examples=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="devsh", message="%(prog)s %(version)s")
@directory_option
def root() -> None:
    """Hand work to sub-agents that run in parallel, each in its own checkout, and get back branches and results.

    `devsh demo` shows all of it in a few seconds, without a key.
    """


def run(arguments: Sequence[str], surroundings: Surroundings | None = None) -> int:
    """Runs one command line and answers its exit code."""
    surroundings = surroundings or Surroundings()
    colour = False if surroundings.environment.get("NO_COLOR") else None  # None: where it is a terminal
    with click.Context(root, color=colour).scope():
        return _run(list(arguments), surroundings, colour=colour)


def _run(arguments: list[str], surroundings: Surroundings, *, colour: bool | None) -> int:
    as_json = "--json" in arguments
    try:
        answer = root.main(arguments, prog_name="devsh", standalone_mode=False, obj=surroundings, color=colour)
        sys.stdout.flush()
    except failure.Interrupted as interrupted:
        click.echo(f"\n{interrupted}", err=True)
        return failure.INTERRUPTED
    except (KeyboardInterrupt, click.Abort):
        click.echo("\ninterrupted", err=True)
        return failure.INTERRUPTED
    except BrokenPipeError:
        # The reader has left (`devsh … | head`). Python would complain once more when it flushes stdout at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return failure.PIPE
    except Exception as error:  # noqa: BLE001  the top: a person gets a sentence, never a traceback
        if surroundings.environment.get("DEVSH_DEBUG") == "1":
            failure.show_traceback(error)
        return failure.report(error, as_json=as_json)
    return answer if isinstance(answer, int) else failure.OK
