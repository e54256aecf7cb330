"""A socket that is shown to an agent and leads to one outside: whoever connects to it is led through, both ways, by this process's loop.

What is outside may go and come again, as a server does that is another runner's now. Who connects meanwhile waits, and whose connection
was cut connects again.
"""

import contextlib
import os
import select
import socket
import time
import typing

from devsh_memory_mcp.shim.loop import Loop, Timer

_MOST = 64  # connections at a time; the next ones wait in the queue of the socket
_CHUNK = 64 * 1024  # bytes
_AGAIN = 0.2  # seconds, while there is nobody outside
_WITHIN = 30.0  # seconds for somebody to be there


class Relay:
    """Leads those who connect to `listener` on to the socket at `address`."""

    def __init__(self, loop: Loop, listener: socket.socket, address: str) -> None:
        self._loop = loop
        self._listener = listener
        self._address = address
        self._led: set[_Led] = set()
        self._waiting: dict[socket.socket, float] = {}  # until when
        self._timer: Timer | None = None
        self._is_full = False
        listener.setblocking(False)
        loop.read(listener.fileno(), self._accept)

    def retry(self) -> None:
        """There may be somebody outside again."""
        for connection, until in list(self._waiting.items()):
            self._lead_on(connection, until)

    def end(self) -> None:
        """Hangs up on everybody."""
        if self._timer is not None:
            self._loop.cancel(self._timer)
        for led in list(self._led):
            led.close()
        for connection in self._waiting:
            connection.close()
        self._waiting.clear()
        self._loop.forget(self._listener.fileno())
        self._listener.close()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # who connected has gone
            return
        connection.setblocking(False)
        self._lead_on(connection, time.monotonic() + _WITHIN)
        self._heed_room()

    def _lead_on(self, connection: socket.socket, until: float) -> None:
        self._waiting.pop(connection, None)
        outside = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        outside.setblocking(False)
        try:
            outside.connect(self._address)
        except OSError:  # nobody is there, or there is a crowd
            outside.close()
            self._put_off(connection, until)
            return
        self._led.add(_Led(self._loop, connection, outside, self._drop))

    def _put_off(self, connection: socket.socket, until: float) -> None:
        if time.monotonic() >= until:
            connection.close()
            self._heed_room()
            return
        self._waiting[connection] = until
        if self._timer is None:
            self._timer = self._loop.at(time.monotonic() + _AGAIN, self._again)

    def _again(self) -> None:
        self._timer = None
        self.retry()

    def _drop(self, led: "_Led") -> None:
        self._led.discard(led)
        self._heed_room()

    def _heed_room(self) -> None:
        is_full = len(self._led) + len(self._waiting) >= _MOST
        if is_full and not self._is_full:
            self._loop.forget(self._listener.fileno())
        elif self._is_full and not is_full:
            self._loop.read(self._listener.fileno(), self._accept)
        self._is_full = is_full


class _Led:
    """Two sockets, each of which gets what the other one says, until both have hung up or one is gone."""

    def __init__(self, loop: Loop, inside: socket.socket, outside: socket.socket, gone: typing.Callable[["_Led"], object]) -> None:
        self._sockets = inside, outside
        self._gone = gone
        self._left = 2
        self._ways = (_Way(loop, inside, outside, self._over), _Way(loop, outside, inside, self._over))

    def _over(self, *, is_broken: bool) -> None:
        self._left -= 1
        if is_broken or not self._left:
            self.close()

    def close(self) -> None:
        """Hangs up on both."""
        for way in self._ways:
            way.close()
        for each in self._sockets:
            each.close()
        self._gone(self)


class _Way:
    """One direction. The loop knows one thing to await of a descriptor, so each direction has descriptors of its own."""

    def __init__(self, loop: Loop, source: socket.socket, sink: socket.socket, over: typing.Callable[..., object]) -> None:
        self._loop = loop
        self._source, self._sink = source.dup(), sink.dup()
        self._over = over
        self._rest = b""
        loop.read(self._source.fileno(), self._take)

    def close(self) -> None:
        """Awaits nothing more."""
        if self._source.fileno() >= 0:
            for each in (self._source, self._sink):
                self._loop.forget(each.fileno())
                each.close()

    def _take(self) -> None:
        try:
            content = self._source.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            self._over(is_broken=True)
            return
        if content:
            self._rest = content
            self._loop.forget(self._source.fileno())
            self._give()
            return
        self._loop.forget(self._source.fileno())
        with contextlib.suppress(OSError):
            self._sink.shutdown(socket.SHUT_WR)
        self._over(is_broken=_has_gone(self._source))

    def _give(self) -> None:
        try:
            self._rest = self._rest[self._sink.send(self._rest) :]
        except BlockingIOError:
            pass
        except OSError:
            self._over(is_broken=True)
            return
        self._loop.forget(self._sink.fileno())
        if self._rest:
            self._loop.write(self._sink.fileno(), self._give)
        else:
            self._loop.read(self._source.fileno(), self._take)


def _has_gone(connection: socket.socket) -> bool:
    """Whether the peer has closed it whole, so that what is said to it would be heard by nobody; one that only ended its part hears."""
    poll = select.poll()
    poll.register(connection.fileno(), 0)
    return any(event & select.POLLHUP for _, event in poll.poll(0))


def listen_in(directory: str, name: str) -> socket.socket:
    """A socket in there which anybody may use who gets to see it; made from within, since addresses are shorter than directories' names."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chdir(directory)
        listener.setblocking(False)
        listener.bind(name)
        os.chmod(name, 0o666)
        listener.listen()
    except OSError:
        listener.close()
        raise
    finally:
        os.fchdir(before)
        os.close(before)
    return listener
