"""The process behind the socket at which heads in sandboxes reach the API: a child of the runner's, which is there while there is a head.

The socket is the runner's own, so that whoever connects while the child is being started, or started again, waits in its queue and is
not refused. The runner imports nothing of the web; the child ends at the end of its input, so it does not outlive the runner.
"""

import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio

from devsh_memory_mcp.engine.heads import Heads
from devsh_memory_mcp.shim.runtime import clean_environment

_BACKLOG = 512
_LEAVES_WITHIN = 5.0  # seconds
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0  # seconds between two starts
_STAYED = 30.0  # seconds after which a start was a good one


@asynccontextmanager
async def listening_at(address: str) -> AsyncIterator[socket.socket]:
    """A socket at that path for as long as the context lasts, for the child to answer at."""
    Path(address).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(address)
        os.chmod(address, 0o600)
        listener.listen(_BACKLOG)
        inode = os.stat(address).st_ino
        try:
            yield listener
        finally:
            with suppress(FileNotFoundError):
                if os.stat(address).st_ino == inode:
                    os.unlink(address)


async def serve(heads: Heads, listener: socket.socket, command: tuple[str, ...], log: Callable[[str], None]) -> None:
    """Has the child run whenever there are heads; without end."""
    pause = _FIRST_PAUSE
    while True:
        await heads.wanted.wait()
        began = time.monotonic()
        try:
            code = await _run(heads, listener, command)
        except OSError as error:
            log(f"the API of heads cannot be served: {error}")
            code = 1
        if code is None:
            continue
        pause = _FIRST_PAUSE if time.monotonic() - began > _STAYED else min(2 * pause, _LONGEST_PAUSE)
        log(f"the process that serves the API of heads has ended with {code}; another is started in {pause:.1f} s")
        await anyio.sleep(pause)


async def _run(heads: Heads, listener: socket.socket, command: tuple[str, ...]) -> int | None:
    """One child, until it ends by itself, which is its exit code, or there are no heads any more."""
    descriptor = listener.fileno()
    process = await anyio.open_process(
        [*command, "--socket-fd", str(descriptor)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=None,
        pass_fds=[descriptor],
        env=clean_environment(os.environ),
        cwd="/",
        start_new_session=True,
    )
    ended: list[int] = []
    is_over = False
    try:
        async with anyio.create_task_group() as tasks:

            async def await_end() -> None:
                ended.append(await process.wait())
                tasks.cancel_scope.cancel()

            tasks.start_soon(await_end)
            await heads.unwanted.wait()
            tasks.cancel_scope.cancel()
        is_over = True
    finally:
        with anyio.CancelScope(shield=True):
            await _end(process, patience=_LEAVES_WITHIN if is_over else 0.0)  # a runner that leaves waits for nobody
    return ended[0] if ended else None


async def _end(process: anyio.abc.Process, *, patience: float) -> None:
    """By the end of its input; by force where it does not heed that in so many seconds. It has nothing that could be lost."""
    if process.stdin is not None:
        await process.stdin.aclose()
    if patience:
        with anyio.move_on_after(patience):
            await process.wait()
            return
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()
