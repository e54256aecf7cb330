"""The runner's side of the control socket: who rings, who listens, and who has gone.

What a shim's connection says is only that there is something to read; its end says that the shim has ended.
"""

import json
import os
import socket
import traceback
from collections.abc import Awaitable, Callable, Mapping

import anyio
from anyio.abc import ByteReceiveStream, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from devsh_memory_mcp.config import VERSION
from devsh_memory_mcp.engine.attempts import Attempts
from devsh_memory_mcp.engine.desk import Fenced
from devsh_memory_mcp.engine.desks import Desks
from devsh_memory_mcp.shim.doorbell import FORMAT

_LONGEST_LINE = 65536


class Doorkeeper:
    """Serves the connections of faces and shims."""

    def __init__(
        self,
        desks: Desks,
        attempts: Attempts,
        hear_of: Callable[[str], Awaitable[None]],
        *,
        take_leave: Callable[[], None],
        borrow: Callable[[Mapping[str, str]], Awaitable[None]],
    ) -> None:
        self.adopted = anyio.Event()  # set when the attempts of earlier runners are known: a shim may call before that
        self._desks = desks
        self._attempts = attempts
        self._hear_of = hear_of
        self._take_leave = take_leave
        self._borrow = borrow
        self._followers: dict[str, set[SocketStream]] = {}

    async def receive(self, stream: SocketStream) -> None:
        """One connection, until its end."""
        lines = BufferedByteReceiveStream(_Incoming(stream))
        try:
            async with stream:
                hello = json.loads(await lines.receive_until(b"\n", _LONGEST_LINE))
                if not isinstance(hello, dict):
                    return
                if _is_newer(hello):
                    self._take_leave()
                    return
                greeting = {"pid": os.getpid(), "format": FORMAT, "version": VERSION}
                await stream.send(json.dumps(greeting).encode() + b"\n")
                if hello.get("hello") == "shim":
                    await self._serve_shim(stream, lines, str(hello.get("taskRunId")), int(hello.get("attempt", 0)))
                else:
                    await self._serve_face(stream, lines)
        except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, anyio.DelimiterNotFound, ValueError):
            return  # a peer that dies, or speaks another language, has nothing more to say
        except Fenced:
            raise
        except Exception as error:  # noqa: BLE001  the top of one connection, which ends no other one and not the runner
            self._desks.log(f"a caller is hung up on: {''.join(traceback.format_exception(error))}")

    async def _serve_face(self, stream: SocketStream, lines: BufferedByteReceiveStream) -> None:
        try:
            while True:
                word, _, rest = (await lines.receive_until(b"\n", _LONGEST_LINE)).decode().partition(" ")
                if word == "ping":
                    await stream.send(b"pong\n")
                elif word == "lend":
                    await self._borrow({str(name): str(value) for name, value in json.loads(rest).items()})
                elif word == "leave":
                    self._take_leave()
                    return
                elif word == "follow":
                    self._followers.setdefault(rest, set()).add(stream)
                elif word == "ring":
                    await self._hear_of(rest)
                    await stream.send(b"heard %s\n" % rest.encode())
        finally:
            for streams in self._followers.values():
                streams.discard(stream)

    async def _serve_shim(self, stream: SocketStream, lines: BufferedByteReceiveStream, task_run_id: str, number: int) -> None:
        if (task_run_id, number) not in self._desks.attempts:
            await self.adopted.wait()
        attempt = self._desks.attempts.get((task_run_id, number))
        desk = self._desks.of(attempt) if attempt is not None else None
        if attempt is None or desk is None:
            return  # its attempt is over, or of a journal that this runner does not know yet; the shim calls again
        ring = attempt.ring = _ringer(stream, attempt.run.orchestration_id)
        try:
            with anyio.CancelScope() as scope:
                desk.visitors.add(scope)
                ring()  # it read its inbox before this: what was put there since, it was not told of
                desk.wake()
                while await self._desks.alone(desk, lambda: self._attempts.read_reports(desk, attempt)):
                    await lines.receive_until(b"\n", _LONGEST_LINE)
        finally:
            desk.visitors.discard(scope)
            if attempt.ring is ring:
                attempt.ring = None
            self._attempts.hear_end(attempt)

    async def tell_followers(self, orchestration_id: str) -> None:
        """Rings those who follow; one that does not take it in is not waited for."""
        for stream in self._followers.get(orchestration_id, set()).copy():
            _ringer(stream, orchestration_id)()


class _Incoming(ByteReceiveStream):
    """What a peer sends. anyio's own `receive` leaves an error in the event loop where it is cancelled as something comes in."""

    def __init__(self, stream: SocketStream) -> None:
        self._raw: socket.socket = stream.extra(anyio.abc.SocketAttribute.raw_socket)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        while True:
            await anyio.wait_readable(self._raw)
            try:
                content = self._raw.recv(max_bytes)
            except BlockingIOError:
                continue
            except OSError as error:
                raise anyio.BrokenResourceError from error
            if not content:
                raise anyio.EndOfStream
            return content

    async def aclose(self) -> None:
        """The stream is closed by whom it belongs to."""


def _ringer(stream: SocketStream, orchestration_id: str) -> Callable[[], None]:
    """Rings without waiting: a full buffer means that rings are there already, unread."""
    raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)
    line = b"ring %s\n" % orchestration_id.encode()

    def ring() -> None:
        try:
            raw.send(line)
        except OSError:
            return  # gone or full; either way nothing is lost, since a ring carries nothing

    return ring


def _is_newer(hello: dict[str, object]) -> bool:
    """Whether the caller is of a later release than this runner."""
    theirs = str(hello.get("version", "0")).split(".")
    return [int(part) for part in theirs if part.isdecimal()] > [int(part) for part in VERSION.split(".") if part.isdecimal()]
