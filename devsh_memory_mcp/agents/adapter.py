"""What an agent's adapter is: from a task to a command, from output lines to facts, from the exit to a verdict.

Adapters are pure and use the standard library only, since every shim imports them. They start nothing and read no file.
Named tuples and not dataclasses: those would double what every attempt pays for its imports.
"""

import types
import typing


class Assignment(typing.NamedTuple):
    """What an adapter is told. `prompt_path` is a file that holds `prompt`; all paths are absolute."""

    agent_name: str
    prompt: str
    prompt_path: str
    workspace: str
    environment: typing.Mapping[str, str]


class Command(typing.NamedTuple):
    """How the agent is started. `environment` is added to the assignment's; `stdin` is written and closed, None is /dev/null."""

    argv: tuple[str, ...]
    environment: typing.Mapping[str, str] = types.MappingProxyType({})
    stdin: bytes | None = None


class Ending(typing.NamedTuple):
    """How the agent's main process ended: one of `exit_code` and `signal` is set. The tails are the last bytes of its output."""

    exit_code: int | None
    signal: int | None
    stdout_tail: str
    stderr_tail: str
    truncated: bool


class Verdict(typing.NamedTuple):
    """What an adapter makes of an ending. `result` is the agent's answer, `error_message` why it is not a success."""

    succeeded: bool
    result: str | None
    error_message: str | None = None
    result_truncated: bool = False


class Adapter(typing.Protocol):
    """One kind of agent."""

    takes_messages: bool

    def command(self, assignment: Assignment) -> Command:
        """How to start it."""
        ...

    def verdict(self, ending: Ending) -> Verdict:
        """Whether it did its work, by facts and never by the exit code alone."""
        ...
