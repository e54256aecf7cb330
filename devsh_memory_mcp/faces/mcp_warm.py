"""The sessions of a warm process: each over the descriptors that a client's own process handed over, with his identity and environment.

The other side, with what is said between them, is `devsh_memory_mcp.handover`. No session waits for another one, and what goes wrong in one
ends that one alone.
"""

import array
import json
import logging
import os
import select
import socket
import stat
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.abc import TaskGroup
from mcp.server import MCPServer

from devsh_memory_mcp.faces.mcp_transport import serve, signalled
from devsh_memory_mcp.handover import READY

_FIRST_WITHIN = 10.0  # seconds, for whoever started us
_LINGERS = 2.0  # seconds behind the last session: clients come and go when they look whether a server works
_INTRODUCED_WITHIN = 10.0
_LONGEST = 8 * 1024 * 1024  # bytes of a request; an environment has two at most
_CHUNK = 64 * 1024
_QUEUE = 128
_FAILED = 1
_SIGNALLED = 143
_AT_ONCE = 4096  # a pipe that is writable takes this much without blocking (PIPE_BUF)

_stderr: ContextVar[int | None] = ContextVar("_stderr", default=None)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """What a client's process was started with. The environment may have secrets: it is kept in memory, and shown to nobody."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    directory: str


Prepare = Callable[[Request], Awaitable[tuple[MCPServer[Any], int]]]  # a server, and how many bytes a message to it may have


class WarmProcess:
    """Serves whoever is like this process, until nobody is left."""

    def __init__(self, likeness: str, prepare: Prepare, is_needed: Callable[[], Awaitable[None]]) -> None:
        """`prepare` makes a session's server; `is_needed` returns when, but for sessions, there is no reason to stay any more."""
        self._likeness = likeness
        self._prepare = prepare
        self._is_needed = is_needed
        self._sessions = 0
        self._changed = anyio.Event()
        self._is_leaving = anyio.Event()

    async def run(self, address: str, ready: Callable[[], None]) -> None:
        """Listens at `address`, where nobody does, until it is left alone or asked to leave with `leave`."""
        async with anyio.create_task_group() as tasks:
            with _listening(address) as listener:
                ready()
                tasks.start_soon(self._accept, listener, tasks)
                tasks.start_soon(self._heed_signals)
                await self._until_left()
            self._is_leaving.set()
            with anyio.move_on_after(_LINGERS):
                await self._until(lambda: not self._sessions)
            tasks.cancel_scope.cancel()

    def leave(self) -> None:
        """Ends all sessions, which tell their clients."""
        self._is_leaving.set()
        self._tell()

    async def _heed_signals(self) -> None:
        await signalled()
        self.leave()

    async def _until_left(self) -> None:
        pause = _FIRST_WITHIN
        while not self._is_leaving.is_set():
            with anyio.move_on_after(pause):
                await self._until(lambda: self._sessions or self._is_leaving.is_set())
            pause = _LINGERS
            if not self._sessions and not await self._is_needed_still():
                return
            await self._until(lambda: not self._sessions or self._is_leaving.is_set())

    async def _is_needed_still(self) -> bool:
        """Waits for a session, or until nothing is left to stay for: whether it was the session."""
        async with anyio.create_task_group() as tasks:

            async def look() -> None:
                await self._until(lambda: self._sessions or self._is_leaving.is_set())
                tasks.cancel_scope.cancel()

            tasks.start_soon(look)
            await self._is_needed()
            tasks.cancel_scope.cancel()
        return self._sessions > 0

    async def _until(self, is_so: Callable[[], object]) -> None:
        while not is_so():
            await self._changed.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def _accept(self, listener: socket.socket, tasks: TaskGroup) -> None:
        while True:
            try:
                await anyio.wait_readable(listener)
                connection, _ = listener.accept()
            except BlockingIOError:
                continue
            except (OSError, anyio.ClosedResourceError):
                return  # it is closed
            if _is_own(connection):
                self._sessions += 1
                self._tell()
                tasks.start_soon(self._serve, connection)
            else:
                connection.close()

    async def _serve(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        with connection, _closing() as wires:
            try:
                request = await self._introduced(connection, wires)
                if request is not None:
                    await self._hold(connection, request, wires)
            except OSError:
                pass  # the client's process has gone
            except Exception:  # noqa: BLE001  the top of one session, which ends no other one and not the process
                _log.exception("the session has failed")
                _say(connection, b"ended %d\n" % _FAILED)
            finally:
                self._sessions -= 1
                self._tell()

    async def _introduced(self, connection: socket.socket, wires: list[int]) -> Request | None:
        """What the session is, and its descriptors; None for who is not like us or says nothing."""
        with anyio.move_on_after(_INTRODUCED_WITHIN):
            request = _request(await _line(connection), self._likeness)
            if request is None:
                return None
            _say(connection, READY)
            await anyio.wait_readable(connection)
            wires += _descriptors(connection)
        return request if len(wires) == 3 else None

    async def _hold(self, connection: socket.socket, request: Request, wires: list[int]) -> None:
        for place, mode in enumerate((os.O_RDONLY, os.O_WRONLY, os.O_WRONLY)):
            wires[place] = _own_view(wires[place], mode)
        wire_in, wire_out, log = wires
        _stderr.set(log)
        try:
            server, longest = await self._prepare(request)
        except SystemExit as refused:  # the arguments are wrong, which is on stderr
            _say(connection, b"ended %s\n" % str(refused.code or 0).encode())
            return

        def tell(code: int) -> None:
            _say(connection, b"ended %d\n" % code)

        async def until() -> int:
            return await self._end_of(connection)

        await serve(server, wire_in, wire_out, until=until, on_end=tell, longest=longest)

    async def _end_of(self, connection: socket.socket) -> int:
        """Until the client's process is gone or going, or this one has to leave."""
        code = _SIGNALLED
        async with anyio.create_task_group() as tasks:

            async def hear() -> None:
                nonlocal code
                await anyio.wait_readable(connection)  # it says nothing any more, so this is its end
                code = 0
                tasks.cancel_scope.cancel()

            tasks.start_soon(hear)
            await self._is_leaving.wait()
            tasks.cancel_scope.cancel()
        return code


class SessionLog(logging.StreamHandler[Any]):
    """Log lines go to the stderr of the session that they are of, else to this process's own; where there is no room they are left out."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one."""
        descriptor = _stderr.get()
        if descriptor is None:
            super().emit(record)
            return
        content = f"{self.format(record)}\n".encode(errors="replace")
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        with suppress(OSError):
            for start in range(0, len(content), _AT_ONCE):
                if not poll.poll(0):
                    return
                os.write(descriptor, content[start : start + _AT_ONCE])


@contextmanager
def _listening(address: str) -> Iterator[socket.socket]:
    """Who still connects when it is closed finds out, and starts the next one."""
    with suppress(FileNotFoundError):
        os.unlink(address)  # of one that was killed
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.setblocking(False)
        listener.bind(address)
        listener.listen(_QUEUE)
        own = os.stat(address).st_ino
        try:
            yield listener
        finally:
            with suppress(OSError):
                if os.stat(address).st_ino == own:
                    os.unlink(address)
            anyio.notify_closing(listener)


@contextmanager
def _closing() -> Iterator[list[int]]:
    """A list of descriptors, closed at the end."""
    wires: list[int] = []
    try:
        yield wires
    finally:
        for wire in wires:
            os.close(wire)


def _is_own(connection: socket.socket) -> bool:
    """Whether who connects is of this user; the socket's directory is private already."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1]) == os.geteuid()


async def _line(connection: socket.socket) -> bytes:
    content = b""
    while not content.endswith(b"\n") and len(content) < _LONGEST:
        await anyio.wait_readable(connection)
        with suppress(BlockingIOError):
            more = connection.recv(_CHUNK)
            if not more:
                return b""
            content += more
    return content


def _request(line: bytes, likeness: str) -> Request | None:
    try:
        said = json.loads(line)
        if said["likeness"] != likeness:
            return None
        return Request(tuple(map(str, said["arguments"])), {str(k): str(v) for k, v in said["environment"].items()}, str(said["directory"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _descriptors(connection: socket.socket) -> list[int]:
    """Those that came with the byte; none are handed on to children."""
    found = array.array("i")
    _, ancillary, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(3 * found.itemsize))
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    for descriptor in found:
        os.set_inheritable(descriptor, False)
    return list(found)


def _own_view(wire: int, mode: int) -> int:
    """The wire in a way that cannot block this process, whoever else has it; the flags of a pipe that is shared are its owner's."""
    if not stat.S_ISFIFO(os.fstat(wire).st_mode):
        return wire
    try:
        opened = os.open(f"/proc/self/fd/{wire}", mode | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # not Linux, or made by somebody else
        return wire
    os.close(wire)
    return opened


def _say(connection: socket.socket, word: bytes) -> None:
    with suppress(OSError):  # it has gone, which is noticed where it is listened to
        connection.send(word)
