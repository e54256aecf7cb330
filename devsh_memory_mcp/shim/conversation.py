"""The talk with a running agent: its output becomes reports, the runner's letters become its input.

A report that the disk does not take costs a fact and not the agent.
"""

import time
import typing

from devsh_memory_mcp.agents.adapter import Fact, Talk
from devsh_memory_mcp.agents.plain import session_word
from devsh_memory_mcp.shim.loop import Loop, Timer
from devsh_memory_mcp.shim.pulse import Pulse
from devsh_memory_mcp.shim.report import Reports
from devsh_memory_mcp.shim.rundir import Letter
from devsh_memory_mcp.shim.wall import Wall

_LEAVES_WITHIN = 3.0  # seconds for an agent that may linger, when its input is closed
_BETWEEN = 1.0  # seconds between two reports of what it does
_MOST = 40_000  # of them in an attempt
_LIVE = ("activity", "usage")
_NEWS = ("delivered", "needs_input")


class Conversation:
    """One agent's. Letters that come before it runs wait for it."""

    def __init__(self, loop: Loop, reports: Reports, pulse: Pulse, note: typing.Callable[[str], object]) -> None:
        self._loop = loop
        self._reports = reports
        self._pulse = pulse
        self._note = note
        self._talk: Talk | None = None
        self._wall: Wall | None = None
        self._waiting: list[Letter] = []
        self._due: dict[str, Fact] = {}
        self._timer: Timer | None = None
        self._is_hushed = False
        self._told = 0

    def begin(self, talk: Talk, wall: Wall) -> None:
        """The agent stands behind this wall and can be spoken to."""
        self._talk, self._wall = talk, wall
        waiting, self._waiting = self._waiting, []
        for letter in waiting:
            self.deliver(letter)

    def deliver(self, letter: Letter) -> None:
        """Says what a letter says; the receipt comes later, from the agent. One that has been let go hears nothing more."""
        if self._is_hushed:
            return
        if self._talk is None or self._wall is None:
            self._waiting.append(letter)
        else:
            self._wall.say(self._talk.say(letter.id, letter.text, interrupt=letter.interrupt))

    def hear(self, line: bytes) -> None:
        """A line of the agent's output."""
        if self._talk is None:
            return
        for fact in self._talk.hear(line):
            if fact.kind in _LIVE:
                self._due[fact.kind] = fact
            else:
                self._tell(fact)
        self._tell_due()
        owed = self._talk.owed()
        if owed and self._wall is not None:
            self._wall.say(owed)
        if self._talk.is_over and self._wall is not None and not self._is_hushed:
            self._hush(self._wall, lingers=self._talk.lingers)

    def _hush(self, wall: Wall, *, lingers: bool) -> None:
        self._is_hushed = True
        wall.hush()
        if lingers:
            self._loop.at(time.monotonic() + _LEAVES_WITHIN, wall.dismiss)

    def end(self) -> None:
        """What was not told yet, now that nothing follows."""
        self._flush()

    def _tell_due(self) -> None:
        """The newest of each at most once a second: these reports are for looking at, and stay few."""
        if self._due and self._timer is None and self._told < _MOST:
            self._flush()
            self._timer = self._loop.at(time.monotonic() + _BETWEEN, self._later)

    def _later(self) -> None:
        self._timer = None
        self._tell_due()

    def _flush(self) -> None:
        due, self._due = self._due, {}
        for fact in due.values():
            self._told += 1
            self._write(fact)

    def _tell(self, fact: Fact) -> None:
        self._write(fact)
        if fact.kind in _NEWS:
            self._pulse.ring()

    def _write(self, fact: Fact) -> None:
        try:
            self._reports.add(fact.kind, message_id=fact.values.get("messageId"), facts=_checked(fact))
        except OSError as error:
            self._note(f"not in the report ({error}): {fact.kind}")


def _checked(fact: Fact) -> dict[str, typing.Any]:
    """What the report takes of it: who goes on with a session puts its id into a command."""
    if fact.kind != "session":
        return fact.values
    return {**fact.values, "sessionId": session_word(fact.values.get("sessionId"))}
