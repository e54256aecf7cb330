"""One connection without blocking, with TLS or without: what comes is handed on as it comes."""

import contextlib
import socket
import ssl
import time
import typing

from devsh_memory_mcp.shim.broker import turns
from devsh_memory_mcp.shim.broker.body import Body

CHUNK = 65536
Count = typing.Callable[[int], object]


class Gone(Exception):
    """The other end has left before it had said, or heard, everything."""


class TooLong(Exception):
    """There is no end to it."""


class Stream:
    """Reads ahead of what was asked for only as much as came with it."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connection
        self.descriptor = connection.fileno()
        self.ahead = b""

    async def secure(self, context: ssl.SSLContext, host: str, until: float) -> None:
        """TLS from here on; ssl.SSLError where the other end is not who it should be."""
        wrapped = context.wrap_socket(self._socket, server_hostname=host, do_handshake_on_connect=False)
        self._socket = wrapped
        while True:
            try:
                wrapped.do_handshake()
            except ssl.SSLWantReadError:
                await turns.ready(self.descriptor, turns.READ, until)
            except ssl.SSLWantWriteError:
                await turns.ready(self.descriptor, turns.WRITE, until)
            else:
                return

    async def some(self, until: float | None = None) -> bytes:
        """What is there, at least a byte of it; nothing at the end."""
        if self.ahead:
            content, self.ahead = self.ahead, b""
            return content
        while True:
            try:
                return self._socket.recv(CHUNK)
            except (BlockingIOError, ssl.SSLWantReadError):
                await turns.ready(self.descriptor, turns.READ, until)
            except ssl.SSLWantWriteError:
                await turns.ready(self.descriptor, turns.WRITE, until)
            except OSError as error:
                raise Gone(str(error)) from error

    async def head(self, most: int, first: float | None, whole: float) -> bytes | None:
        """Up to and with the empty line; None where the other end has closed instead. TooLong, Gone in the middle of it.

        `first` is the instant until which it has to begin, `whole` the seconds that it may take from there.
        """
        content = await self.some(first)
        if not content:
            return None
        until = time.monotonic() + whole
        while (end := content.find(b"\r\n\r\n")) < 0 or end + 4 > most:
            if len(content) >= most:
                raise TooLong
            more = await self.some(until)
            if not more:
                raise Gone("it left in the middle of a head")
            content += more
        self.ahead = content[end + 4 :]
        return content[: end + 4]

    async def send(self, content: bytes) -> None:
        """All of it; Gone."""
        view = memoryview(content)
        while view:
            try:
                view = view[self._socket.send(view) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                await turns.ready(self.descriptor, turns.WRITE)
            except ssl.SSLWantReadError:
                await turns.ready(self.descriptor, turns.READ)
            except OSError as error:
                raise Gone(str(error)) from error

    async def left(self) -> bool:
        """Waits until the other end has closed, or says something more, which is not read; whether it closed. Never with TLS."""
        while not self.ahead:
            try:
                return not self._socket.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                await turns.ready(self.descriptor, turns.READ)
            except OSError:
                return True
        return False

    @property
    def is_quiet(self) -> bool:
        """Whether nothing has come that nobody asked for, its end above all."""
        if self.ahead:
            return False
        try:
            self._socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        return False

    def end_output(self) -> None:
        """It will hear no more from us, and may go on; with TLS it may not."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR if isinstance(self._socket, ssl.SSLSocket) else socket.SHUT_WR)

    def close(self) -> None:
        """Ends it, whatever is under way."""
        with contextlib.suppress(OSError):
            self._socket.close()


async def relay(source: Stream, target: Stream, body: Body, count: Count) -> None:
    """Hands a body on, each piece as it comes. Gone where one end has left; BadBody before anything wrong is handed on."""
    while not body.is_done:
        content = await source.some()
        if not content:
            if body.ends_with_connection:
                return
            raise Gone("it left in the middle of a body")
        taken = body.take(content)
        source.ahead = content[taken:]
        await target.send(content[:taken])
        count(taken)
        await turns.breathe()


async def pump(source: Stream, target: Stream, count: Count) -> None:
    """Hands on whatever comes until the end, and then the end."""
    with contextlib.suppress(Gone):
        while content := await source.some():
            await target.send(content)
            count(len(content))
            await turns.breathe()
    target.end_output()
