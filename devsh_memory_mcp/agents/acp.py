"""`acp/<command>`: any agent whose command speaks the Agent Client Protocol on its stdin and stdout, as in `acp/goose acp`.

Of such an agent nothing is known but what the protocol tells: it has the login that it keeps itself, and no model can be named for it.
"""

import shlex

from devsh_memory_mcp.agents.acp_manner import Manner
from devsh_memory_mcp.agents.acp_talk import AcpTalk
from devsh_memory_mcp.agents.acp_words import narrate
from devsh_memory_mcp.agents.adapter import Assignment, Command, Ending, Provider, Talk, Verdict


class Acp:
    """Runs a command; `manner` and `provider` are known of those that we know."""

    takes_messages = True
    keeps_sessions = True

    def __init__(self, argv: tuple[str, ...], manner: Manner, provider: Provider) -> None:
        self._argv = argv
        self._manner = manner
        self._provider = provider

    @property
    def provider(self) -> Provider:
        """Its program."""
        return self._provider

    def command(self, assignment: Assignment) -> Command:
        """The command, with what begins the conversation as its input; all else comes when it has answered."""
        return Command(self._argv, stdin=self._talk(assignment).opening())

    def reopen(self, session_id: str) -> tuple[str, ...] | None:
        """Nobody knows how its sessions are opened at a terminal."""
        return None

    def talk(self, assignment: Assignment) -> Talk | None:
        """The conversation that begins with the prompt."""
        return self._talk(assignment)

    def _talk(self, assignment: Assignment) -> AcpTalk:
        return AcpTalk(self._manner, assignment, [name for name, _ in self._provider.variables])

    def verdict(self, ending: Ending) -> Verdict:
        """Its talk knows; without one nothing was ever said."""
        return self._talk(Assignment("", "", "", "", {})).verdict(ending)

    def narrate(self, line: str) -> str | None:
        """A line of the protocol in words."""
        return narrate(line)


def any_agent(command: str) -> Acp:
    """The agent that a command line starts; words are quoted as for a shell."""
    argv = tuple(words_of(command))
    program = argv[0]
    provider = Provider(
        program=program,
        install=f"whatever brings {program}",
        login=f"log in with {program} itself",
        variables=(),
        home_variable="",
        home="",
        login_file="",
        many=f"what {program} says of many at a time",
    )
    return Acp(argv, Manner(program, provider.login), provider)


def words_of(command: str) -> list[str]:
    """The words of a command line; none where it is no whole one."""
    try:
        return shlex.split(command)
    except ValueError:
        return []


def near_miss(command: str) -> str | None:
    """What was probably meant: a command line has to have words."""
    return None if words_of(command) else "<command>"
