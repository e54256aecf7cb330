"""The runner's side of the fork server: it asks for shims, and is told when they have ended.

A server that dies takes no shim along. What it was asked for in that instant may run or not; the run's lock tells.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

import devsh_memory_mcp
from devsh_memory_mcp.shim.runtime import clean_environment

_BOOT = "import sys; sys.path.insert(0, sys.argv.pop(1)); from devsh_memory_mcp.shim.forkserver import main; sys.exit(main(sys.argv[1:]))"


_ANSWERS_WITHIN = 10.0  # seconds


class ForkServer:
    """One server process at a time, started with the first shim. `ended` is called with the directory of each shim that has ended."""

    def __init__(self, root: Path, tasks: TaskGroup, ended: Callable[[str], None]) -> None:
        self._root = root
        self._tasks = tasks
        self._ended = ended
        self._asking = anyio.Lock()
        self._connection: socket.socket | None = None
        self._process: subprocess.Popen[bytes]
        self._started: dict[str, asyncio.Future[bool]] = {}
        self._alive: set[str] = set()

    async def start(self, directory: str, descriptors: tuple[int, ...], secrets: Mapping[str, str]) -> bool:
        """Forks a shim that has its own copies of the lock and the log; False where it is not known whether there is one.

        OSError (too long) where the secrets do not fit into a pipe.
        """
        credentials = _piped(json.dumps(dict(secrets)).encode())
        try:
            return await self._ask(directory, [*descriptors, credentials])
        finally:
            os.close(credentials)

    async def _ask(self, directory: str, descriptors: list[int]) -> bool:
        async with self._asking:
            connection = self._connection or await self._open()
            started: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            self._started[directory] = started
            self._alive.add(directory)
            try:
                socket.send_fds(connection, [os.fsencode(directory) + b"\n"], descriptors)
            except OSError:
                return False  # its end is being heard of
            with anyio.move_on_after(_ANSWERS_WITHIN):
                return await started
            self._process.kill()  # it is stopped, or hangs: the next one is another
            return False

    async def _open(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        package = str(Path(devsh_memory_mcp.__file__).parent.parent)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _BOOT, package, str(self._root), "--socket-fd", str(theirs.fileno())],
                stdin=subprocess.DEVNULL, cwd="/", pass_fds=[theirs.fileno()],
                env=clean_environment(os.environ), start_new_session=True, umask=0o077,
            )  # fmt: skip
        ours.setblocking(False)
        with anyio.CancelScope(shield=True):  # or its end would not be heard of
            reader, writer = await asyncio.open_unix_connection(sock=ours)
        self._connection, self._process = ours, process
        self._tasks.start_soon(self._listen, process, reader, writer)
        return ours

    async def _listen(self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until the server has gone, or the runner goes: then the server hears the end and follows."""
        try:
            with suppress(ConnectionError):  # a reset is an end like any other
                while line := await reader.readline():
                    self._hear(os.fsdecode(line.rstrip(b"\n")))
        finally:
            self._connection = None
            unheard, self._alive = self._alive, set()
            writer.close()
            for asked in list(self._started):
                self._settle(asked, known=False)
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(process.wait)
        for directory in unheard:  # nobody will tell of their ends any more: their locks do
            self._ended(directory)

    def _hear(self, line: str) -> None:
        word, _, directory = line.partition(" ")
        if word == "started":
            self._settle(directory, known=True)
        else:
            self._alive.discard(directory)
            self._ended(directory)

    def _settle(self, directory: str, *, known: bool) -> None:
        asked = self._started.pop(directory, None)
        if asked is not None and not asked.done():
            asked.set_result(known)


def _piped(content: bytes) -> int:
    """A pipe that holds the content and whose writing end is closed; BlockingIOError where it is more than a pipe holds."""
    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        if os.write(writing, content) < len(content):
            raise BlockingIOError(f"{len(content)} bytes of credentials are more than a pipe holds")
    except OSError:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    return reading
