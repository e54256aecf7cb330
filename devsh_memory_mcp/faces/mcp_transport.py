"""Serving one client over two descriptors, without a thread, and ending at once when he goes or a signal comes.

Only here are attributes used that the SDK does not call public; `tests/mcp/test_mcp_transport.py` fails loudly when one is gone.
"""

import gc
import os
import select
import signal
import socket
import stat
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar

import anyio
from mcp.server import MCPServer, Server
from mcp.server.connection import Connection
from mcp.server.context import HandlerResult, ServerRequestContext
from mcp.shared.message import SessionMessage
from mcp.types import INVALID_REQUEST, ErrorData, JSONRPCError, RequestParams, jsonrpc_message_adapter

Params = TypeVar("Params", bound=RequestParams)
Handler = Callable[[ServerRequestContext, Params], Awaitable[HandlerResult]]

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
CLOSING_SECONDS = 1.5  # a client kills two seconds after it closed our stdin
LONGEST_LINE = 64 * 1024 * 1024  # bytes of a head's message
LONGEST_OF_AGENTS = 1024 * 1024
_READ = 256 * 1024
_WRITE = 4096  # a pipe that is writable takes this much without blocking (PIPE_BUF)
_WAITING = 1024 * 1024  # so much unwritten output holds senders back


def run_stdio(server: MCPServer[Any], longest: int = LONGEST_LINE) -> NoReturn:
    """Serves stdin and stdout until the end, and ends the process: 0 when the client went, 128 + n after signal n.

    A message of more than `longest` bytes is refused, and never held.
    """
    wire_in, wire_out = _claimed(0, os.O_RDONLY), _claimed(1, os.O_WRONLY)
    gc.freeze()  # the SDK's classes are there for good: looking through them again and again would cost calls their evenness
    code = anyio.run(partial(serve, server, wire_in, wire_out, on_end=_bound_the_end, longest=longest, until=signalled))
    sys.stderr.flush()
    os._exit(code)  # nothing that is still in a buffer may reach the client, and no thread may hold us up


async def serve(
    server: MCPServer[Any],
    wire_in: int,
    wire_out: int,
    *,
    until: Callable[[], Awaitable[int]],
    on_end: Callable[[int], None] = lambda _: None,
    longest: int = LONGEST_LINE,
) -> int:
    """One connection over two descriptors; answers the exit code: 0 when the client went, else what `until` came to.

    In-flight calls are cancelled at its end, which `on_end` learns before.
    """
    code = 0
    async with anyio.create_task_group() as tasks:

        def end(with_code: int) -> None:
            nonlocal code
            code = code or with_code
            on_end(code)
            tasks.cancel_scope.cancel()

        async def end_when_told() -> None:
            end(await until())

        tasks.start_soon(end_when_told)
        writer = LineWriter(wire_out)
        reader = LineReader(wire_in, longest, lambda: writer.send(_too_long(longest)))
        tasks.start_soon(writer.drain, lambda: end(0))
        tasks.start_soon(_on_hang_up, wire_out, wire_in, lambda: end(0))
        low = server._lowlevel_server
        await low.run(reader, writer, low.create_initialization_options())
        end(0)
    return code


async def signalled() -> int:
    """Waits for a signal that ends a program; answers 128 + its number."""
    with anyio.open_signal_receiver(*SIGNALS) as received:
        async for number in received:
            return 128 + number
    raise AssertionError("signals do not end")


def low_level(server: MCPServer[Any]) -> Server[Any]:
    """The part of it that transports drive."""
    return server._lowlevel_server


def connection_of(request: ServerRequestContext) -> Connection:
    """The connection that a request came over, the same for all its requests; its exit stack is unwound when the client has gone."""
    return request.session._connection


def wrap_handler(
    server: MCPServer[Any], method: str, takes: type[Params], wrap: Callable[[Handler[Params] | None], Handler[Params]]
) -> None:
    """Serves a method of the protocol that the SDK serves in another way, or not at all: `wrap` gets what served it until now."""
    low = server._lowlevel_server
    served = low.get_request_handler(method)
    low.add_request_handler(method, takes, wrap(served.handler if served else None))


def _too_long(longest: int) -> SessionMessage:
    """The answer to a message that nobody has read, whose id is not known."""
    why = ErrorData(code=INVALID_REQUEST, message=f"A message has at most {longest} bytes; send less at a time.")
    return SessionMessage(JSONRPCError(jsonrpc="2.0", id=None, error=why))


def _bound_the_end(code: int) -> None:
    """However long something takes to close, the process is gone by then."""
    timer = threading.Timer(CLOSING_SECONDS, os._exit, (code,))
    timer.daemon = True
    timer.start()


async def _on_hang_up(wire_out: int, wire_in: int, end: Callable[[], None]) -> None:
    """Notices that nobody reads our output any more, before we write. A reader's end shows as readiness of the writing end."""
    mode = os.fstat(wire_out)
    if not (stat.S_ISFIFO(mode.st_mode) or (stat.S_ISSOCK(mode.st_mode) and mode.st_ino != os.fstat(wire_in).st_ino)):
        return
    try:
        await anyio.wait_readable(wire_out)
    except OSError:
        return  # not a descriptor that can be watched: the next write will tell
    if stat.S_ISFIFO(mode.st_mode) or _is_closed(wire_out):
        end()


def _is_closed(descriptor: int) -> bool:
    with socket.socket(fileno=os.dup(descriptor)) as peer:
        try:
            return peer.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except OSError:
            return True


def _claimed(descriptor: int, mode: int) -> int:
    """The wire under a number of its own; what children and stray prints know as stdin is empty, as stdout our stderr."""
    wire = os.dup(descriptor)  # closed on exec, as every new descriptor is
    stand_in = os.open(os.devnull, mode) if mode == os.O_RDONLY else os.dup(2)
    os.dup2(stand_in, descriptor)
    os.close(stand_in)
    return wire


class _Stream:
    """What the SDK wants of both directions."""

    async def aclose(self) -> None:
        """Nothing: the descriptors live as long as the process."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()


async def _ignored() -> None:
    """Where nobody is to be told."""


class LineReader(_Stream):
    """The client's messages, one a line, read when the descriptor says that there is something.

    One of more than `longest` bytes is left out, and `on_too_long` awaited as soon as that is seen.
    """

    def __init__(self, descriptor: int, longest: int = LONGEST_LINE, on_too_long: Callable[[], Awaitable[None]] = _ignored) -> None:
        self._descriptor = descriptor
        self._longest = longest
        self._on_too_long = on_too_long
        self._messages = self._received()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        return await anext(self._messages)

    async def receive(self) -> SessionMessage | Exception:
        """The next message; EndOfStream after the last."""
        try:
            return await anext(self._messages)
        except StopAsyncIteration:
            raise anyio.EndOfStream from None

    async def _received(self) -> AsyncIterator[SessionMessage | Exception]:
        async for line in self._lines():
            if line.strip():
                yield _parsed(bytes(line))

    async def _lines(self) -> AsyncIterator[bytearray]:
        rest, is_refused = bytearray(), False  # the latter of the line that `rest` is the beginning of
        while chunk := await self._chunk():
            *ends, last = chunk.split(b"\n")
            for end in ends:
                line, rest = rest + end, bytearray()
                if len(line) <= self._longest and not is_refused:
                    yield line
                elif not is_refused:
                    await self._on_too_long()
                is_refused = False
            rest += last
            if is_refused or len(rest) > self._longest:
                rest = bytearray()
                if not is_refused:
                    await self._on_too_long()
                is_refused = True
        if not is_refused:
            yield rest

    async def _chunk(self) -> bytes:
        while True:
            with suppress(PermissionError):  # a plain file or /dev/null, which is always ready
                await anyio.wait_readable(self._descriptor)
            try:
                return os.read(self._descriptor, _READ)
            except BlockingIOError:
                continue  # somebody else who has it too was quicker
            except OSError:
                return b""  # the other end was reset: the same as its end


def _parsed(line: bytes) -> SessionMessage | Exception:
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError as error:
        return error


class LineWriter(_Stream):
    """Our messages, one a line: written at once where there is room, by `drain` where there is none. Never a part of a line alone."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._unwritten = bytearray()
        self._is_broken = False
        self._has_rest = anyio.Event()
        self._has_room = anyio.Event()

    async def send(self, item: SessionMessage) -> None:
        """Writes the message; waits only while too much is unwritten. BrokenResourceError when nobody reads any more."""
        if self._is_broken:
            raise anyio.BrokenResourceError
        self._unwritten += item.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
        self._write()
        while len(self._unwritten) > _WAITING and not self._is_broken:
            self._has_room = anyio.Event()
            await self._has_room.wait()

    async def drain(self, on_broken: Callable[[], None]) -> None:
        """Writes what did not fit at once, without end; calls `on_broken` when nobody reads any more."""
        while not self._is_broken:
            await self._has_rest.wait()
            self._has_rest = anyio.Event()
            while self._unwritten and not self._is_broken:
                await anyio.wait_writable(self._descriptor)
                self._write()
                self._has_room.set()
        on_broken()

    def _write(self) -> None:
        try:
            while self._unwritten and self._has_place():
                del self._unwritten[: os.write(self._descriptor, self._unwritten[:_WRITE])]
        except BlockingIOError:
            pass  # somebody else who has it too has filled it
        except OSError:
            self._is_broken = True
        if self._unwritten or self._is_broken:
            self._has_rest.set()

    def _has_place(self) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(0))
