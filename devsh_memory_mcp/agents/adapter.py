"""What an agent's adapter is: from a task to a command, from output lines to facts, from the exit to a verdict.

Adapters use the standard library only, since every shim imports them. They start nothing and read no file.
Named tuples and not dataclasses: those would double what every attempt pays for its imports.
"""

import types
import typing

SERVER = "devsh-memory"  # what our MCP server is called in an agent's session


class Session(typing.NamedTuple):
    """The agent's own memory of a conversation. `resumes` is the session that this one goes on from, `cost_usd` what that had cost."""

    id: str
    resumes: str | None = None
    cost_usd: float = 0.0


class Assignment(typing.NamedTuple):
    """What an adapter is told. `prompt_path` is a file that holds `prompt`; all paths are absolute.

    `server` is the command of our MCP server, `permissions` what the agent may do unasked (acceptEdits, bypass), and
    `allow` the repository's rules beside that. `credentials` are the variables that it will find beside `environment`,
    `hide` the MCP servers of its user's that it is not to see. `is_walled`: it is in a sandbox of ours.
    """

    agent_name: str
    prompt: str
    prompt_path: str
    workspace: str
    environment: typing.Mapping[str, str]
    session: Session | None = None
    permissions: str | None = None
    allow: tuple[str, ...] = ()
    cost_basis: str = "unknown"
    server: tuple[str, ...] = ()
    max_turns: int | None = None
    max_cost_usd: float | None = None
    credentials: tuple[str, ...] = ()
    hide: tuple[str, ...] = ()
    is_walled: bool = False


class Command(typing.NamedTuple):
    """How the agent is started. `environment` is added to the assignment's.

    `stdin` is what it reads first: None is /dev/null. It is closed behind that, or by the agent's talk where it has one.
    """

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
    """What an adapter makes of an ending. `result` is the agent's answer, `error_message` why it is not a success.

    `failure` is the class of what went wrong (see `domain.records.Failure`), `retry_at` the epoch seconds before which another try is
    of no use. `cost_usd` is this attempt's, `session_cost_usd` its whole session's. `needs_input` is what it was not allowed to do.
    `tool_calls` are all that it made, `commands` those that ran one; None where the agent tells of none. `stop_reason` is in its words.
    """

    succeeded: bool
    result: str | None
    error_message: str | None = None
    result_truncated: bool = False
    failure: str | None = None
    retry_at: float | None = None
    usage: dict[str, int] | None = None
    cost_usd: float | None = None
    session_cost_usd: float | None = None
    cost_basis: str | None = None
    session_id: str | None = None
    needs_input: str | None = None
    tool_calls: int | None = None
    commands: int | None = None
    stop_reason: str | None = None
    warnings: tuple[str, ...] = ()

    def despite(self, failure: str | None) -> "Verdict":
        """The same, or what it is where something else than the agent has failed."""
        if failure is None:
            return self
        return self._replace(succeeded=False, error_message=" ".join(filter(None, (self.error_message, failure))))


class Fact(typing.NamedTuple):
    """Something that a line of output says, as a report tells it; the keys of `values` by `kind`:

    session: sessionId, model · activity: words · usage: the verdict's `usage`, with costUsd · needs_input: kind, message ·
    delivered: messageId.
    """

    kind: str
    values: dict[str, typing.Any]


class Talk(typing.Protocol):
    """The conversation with one running agent over its stdin and stdout."""

    @property
    def is_over(self) -> bool:
        """Whether the agent has answered all that was said to it: its stdin is closed then."""
        ...

    @property
    def lingers(self) -> bool:
        """Whether it may stay for ever when its stdin is closed: it is asked to leave then, and that is no failure."""
        ...

    def hear(self, line: bytes) -> typing.Sequence[Fact]:
        """What a line of its output says; nothing where it is of no known kind."""
        ...

    def owed(self) -> bytes:
        """What to write to it now, for what it said since it was last asked: answers, and what had to wait for it."""
        ...

    def say(self, message_id: int, text: str, *, interrupt: bool = False) -> bytes:
        """What to write to it for a message, now; the rest of that is owed later. Its receipt is a `delivered` fact."""
        ...

    def verdict(self, ending: Ending) -> Verdict:
        """Whether it did its work, by facts and never by the exit code alone."""
        ...


class Provider(typing.NamedTuple):
    """The program behind a kind of agents, and how it is logged in.

    `variables` are those that hold a credential, with who pays, in the order in which the program heeds them. Its own login is
    `login_file` in the directory that `home_variable` names, else in `home` below the user's. `trust_file` (in the former, else in the
    user's) tells which repositories its user trusts, whose rules are in `settings_files`. `many` tells what logs in many at a time.
    `servers_file` lies beside the login and names MCP servers, of one that can only be told by name to leave them alone;
    one that `refuses_root` lets root do nothing unasked, where nobody says that the machine is a sandbox. `limits` are those that its
    agents keep: turns, cost; `tells_late` what they tell only when a turn is over. Beside the login lie `instructions`, the user's own for
    every agent, and the files of a session: `sessions` is a pattern with `{id}`, and `{project}` where there is a directory for each
    checkout, as `project` calls it.
    """

    program: str
    install: str
    login: str
    variables: tuple[tuple[str, typing.Literal["api", "subscription"]], ...]
    home_variable: str
    home: str
    login_file: str
    many: str
    trust_file: str = ""
    settings_files: tuple[str, ...] = ()
    servers_file: str = ""
    refuses_root: bool = False
    limits: tuple[str, ...] = ()
    tells_late: tuple[str, ...] = ()
    instructions: tuple[str, ...] = ()
    sessions: str = ""
    project: typing.Callable[[str], str] = str


class Adapter(typing.Protocol):
    """One kind of agent. Those that take messages have a talk; the others are judged by their ending.

    One that keeps sessions can go on with an ended one, in another checkout too.
    """

    takes_messages: bool
    keeps_sessions: bool

    @property
    def provider(self) -> Provider | None:
        """Its program; None where nothing has to be installed and nobody to log in."""
        ...

    def command(self, assignment: Assignment) -> Command:
        """How to start it."""
        ...

    def talk(self, assignment: Assignment) -> Talk | None:
        """The conversation with it, None where it reads nothing."""
        ...

    def verdict(self, ending: Ending) -> Verdict:
        """Whether it did its work, where it has no talk."""
        ...

    def narrate(self, line: str) -> str | None:
        """A line of its output as a person would read it, None where there is nothing to read."""
        ...

    def reopen(self, session_id: str) -> tuple[str, ...] | None:
        """The command of its own interactive session, None where it has none."""
        ...
