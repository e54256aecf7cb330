"""A client's connection as uvicorn has it, for answers that go on: a client that takes nothing can be cut off at once.

One that has vanished without a word is found out by the system, which asks it now and then.
"""

import asyncio
import socket
import sys

from uvicorn.protocols.http.h11_impl import H11Protocol

from devsh_memory_mcp.faces.http_events import TRANSPORT

SILENT_FOR = 60  # seconds in which nothing that was sent arrives: then nobody is there
_PROBES = 3


class OwnProtocol(H11Protocol):
    """Uvicorn's, which tells its requests the transport."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        self.app_state = {**self.app_state, TRANSPORT: transport}
        found = transport.get_extra_info("socket")
        if found is not None and found.family != socket.AF_UNIX:
            _probe(found)
        super().connection_made(transport)


def _probe(found: socket.socket) -> None:
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        each = SILENT_FOR // (_PROBES + 1)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, each)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, each)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENT_FOR * 1000)
