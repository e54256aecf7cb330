"""The two ends of a connection in a test's own hands: nothing is said or read unless the test says so, and every wait has a bound."""

import socket
from typing import Self

WITHIN = 30


class Peer:
    """One end."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(WITHIN)
        self.socket, self._ahead = connection, b""

    @classmethod
    def to(cls, port: int) -> Self:
        return cls(socket.create_connection(("127.0.0.1", port), WITHIN))

    def say(self, content: bytes) -> Self:
        self.socket.sendall(content)
        return self

    def until(self, mark: bytes) -> bytes:
        """What has come up to and with `mark`; AssertionError where it ends before."""
        while mark not in self._ahead:
            more = self.socket.recv(65536)
            assert more, f"it ended with {self._ahead[-500:]!r} before {mark!r}"
            self._ahead += more
        found, _, self._ahead = self._ahead.partition(mark)
        return found + mark

    def head(self) -> bytes:
        return self.until(b"\r\n\r\n")

    def rest(self) -> bytes:
        """All until the other end says no more, a reset being one way to do that."""
        found, self._ahead = self._ahead, b""
        try:
            while more := self.socket.recv(65536):
                found += more
        except ConnectionResetError:
            pass
        return found

    def end_output(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.socket.close()


class RawHost:
    """A place that can be connected to."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(WITHIN)
        self.port = self._listener.getsockname()[1]
        self.met: list[Peer] = []

    def meet(self) -> Peer:
        """Whoever comes next."""
        self.met.append(Peer(self._listener.accept()[0]))
        return self.met[-1]

    def close(self) -> None:
        for each in (self._listener, *self.met):
            each.close()
