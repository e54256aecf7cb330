"""How often the model of an ACP agent has answered in a session, told from what the agent says and calls. Pure.

The protocol has no word for it. An answer begins with what is said or called when no call goes on, and ends when each call of it is over:
the model is asked again then, for what they came to.
"""

import typing


class Answers:
    """Of one session. `belongs` says of a call's id that it is of the answer before, for agents that make the calls of one in turn."""

    def __init__(self, belongs: typing.Callable[[str], bool]) -> None:
        self._belongs = belongs
        self._is_on = False
        self._going: set[str] = set()
        self.count = 0

    def speak(self) -> None:
        """Something is said."""
        self._begin()

    def call(self, call_id: str) -> None:
        """A tool is called."""
        if not self._belongs(call_id):
            self._begin()
        self._is_on = True
        self._going.add(call_id)

    def settle(self, call_id: str) -> None:
        """A call is over."""
        self._going.discard(call_id)
        self._is_on = self._is_on and bool(self._going)

    def turn(self) -> None:
        """A turn is over: what is said next is another answer."""
        self._going.clear()
        self._is_on = False

    def _begin(self) -> None:
        if not self._is_on:
            self.count += 1
            self._is_on = True
