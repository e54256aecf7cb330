"""Who has a turn when, in the broker's one loop."""

import socket
import time

from devsh_memory_mcp.shim.broker import turns
from devsh_memory_mcp.shim.broker.turns import READ, Turns


class Counted(Turns):
    """Knows how often it has looked at the descriptors."""

    looks = 0

    def _look(self) -> None:
        self.looks += 1
        super()._look()


def test_who_is_ended_by_another_in_the_turn_that_was_his_leaves_nothing_behind() -> None:
    """Both were ready in one poll."""
    loop = Counted()
    (first, far), (second, other), (idle, _) = pairs = [socket.socketpair() for _ in range(3)]
    woken: list[str] = []

    async def watched() -> None:
        await turns.ready(second.fileno(), READ)
        woken.append("watched")
        loop.interrupt(task, ConnectionError("it has left"))

    async def served() -> None:
        await turns.ready(first.fileno(), READ)
        woken.append("served")
        await turns.ready(idle.fileno(), READ, time.monotonic() + 0.05)

    async def last() -> None:
        await turns.joined(task)
        loop.looks = 0
        try:
            await turns.ready(idle.fileno(), READ, time.monotonic() + 0.3)
        except TimeoutError:
            woken.append("last")

    loop.start(watched())  # whose turn is the earlier, as its descriptor was the first to be waited for
    task = loop.start(served())
    for peer in (far, other):
        peer.send(b"x")
    loop.run(loop.start(last()))
    for each in (each for pair in pairs for each in pair):
        each.close()
    assert task.is_over
    assert (woken[-1], loop.looks < 10) == ("last", True), (woken, loop.looks)
