"""What a session of streamable HTTP has said lately: a client whose stream broke off hears the rest of it."""

from collections import deque
from typing import NamedTuple

from mcp.server.streamable_http import EventCallback, EventId, EventMessage, EventStore, StreamId
from mcp.types import JSONRPCMessage

MOST = 512  # events
MOST_BYTES = 4 * 1024 * 1024


class _Said(NamedTuple):
    number: int
    stream: StreamId
    message: JSONRPCMessage | None
    size: int


class Replay(EventStore):
    """The last events of one session, of all its streams, in memory: an answer that nobody came for is lost with the session."""

    def __init__(self) -> None:
        self._said: deque[_Said] = deque()
        self._bytes = 0
        self._last = 0

    async def store_event(self, stream_id: StreamId, message: JSONRPCMessage | None) -> EventId:
        """Keeps it, and answers its id."""
        self._last += 1
        size = len(message.model_dump_json()) if message is not None else 0
        self._said.append(_Said(self._last, stream_id, message, size))
        self._bytes += size
        while len(self._said) > MOST or (self._bytes > MOST_BYTES and len(self._said) > 1):
            self._bytes -= self._said.popleft().size
        return str(self._last)

    async def replay_events_after(self, last_event_id: EventId, send_callback: EventCallback) -> StreamId | None:
        """Says again what came behind that event on its stream; None where that is not known any more."""
        known = next((said for said in self._said if str(said.number) == last_event_id), None)
        if known is None:
            return None
        for said in tuple(self._said):
            if said.stream == known.stream and said.number > known.number and said.message is not None:
                await send_callback(EventMessage(said.message, str(said.number)))
        return known.stream
