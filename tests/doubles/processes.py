"""The processes of this machine that belong to a directory, and ways to wait for what they do without looking twice."""

import contextlib
import fcntl
import os
import select
import signal
from pathlib import Path

import anyio


def processes_of(directory: Path) -> dict[int, str]:
    """Every process but this one that names the directory in its command or its environment."""
    needle, found = os.fsencode(directory), {}
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{name}/cmdline").read_bytes()
            if int(name) != os.getpid() and needle in words + Path(f"/proc/{name}/environ").read_bytes():
                title = Path(f"/proc/{name}/comm").read_text(encoding="utf-8").strip()
                found[int(name)] = f"{title}: {words.replace(bytes(1), b' ').decode(errors='replace')[:400]}"
    return found


def is_runner(words: str) -> bool:
    return "devsh_memory_mcp.runner" in words


def follows_runner(words: str) -> bool:
    """The fork server, and what is warm for MCP sessions: they end with their runner."""
    is_fork_server = "shim.forkserver" in words and not words.startswith("devsh-shim: ")  # it has another name until it is up
    return is_fork_server or "devsh_memory_mcp.warm" in words or "devsh_memory_mcp.api" in words


def await_end(pid: int, seconds: float) -> bool:
    """Blocks until a process has ended; False where it has not by then."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


class Pipe:
    """A FIFO that agents write to: their lines come here, and its end once nobody of theirs is left."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._content = b""

    async def lines(self, count: int) -> list[str]:
        """The first lines, as soon as there are so many."""
        while self._content.count(b"\n") < count:
            await self._read()
        return self._content.decode().splitlines()

    async def end(self) -> list[str]:
        """All lines, once nobody holds the pipe any more. To be asked after a line has come."""
        while await self._read():
            pass
        return self._content.decode().splitlines()

    async def _read(self) -> bool:
        await anyio.wait_readable(self._descriptor)
        with contextlib.suppress(BlockingIOError):
            content = os.read(self._descriptor, 65536)
            self._content += content
            return bool(content)
        return True

    def close(self) -> None:
        os.close(self._descriptor)


class Gate:
    """Closed until it is opened: an agent passes with `pass_through` in its script."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        self.pass_through = f"flock -s {path} true"

    def open(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
