"""Locks between processes: the journal's, whose holder can be named, and plain ones that are taken or not.

All are flocks: the kernel frees them with their holder, and nobody ever steals one. No lock file is ever unlinked but that of `alone`,
whose next taker sees that it is gone.
"""

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from filelock import lock_descriptor, unlock_descriptor

from devsh_memory_mcp.errors import JournalBusy

PATIENCE = 10.0  # seconds
_POLL = 0.001
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class HeldLock:
    """An exclusive lock that says in its file who holds it; used as a context. One instance belongs to one thread.

    The descriptor stays open between uses, so taking it costs three system calls and no path handling.
    """

    def __init__(self, path: Path, *, patience: float = PATIENCE) -> None:
        self._path = path
        self._patience = patience
        self._descriptor = -1
        self._me = b""

    def __enter__(self) -> None:
        """Takes the lock. JournalBusy, with the holder's pid, command and state, where it stays taken for ten seconds."""
        deadline = 0.0
        while not self._try():
            deadline = deadline or time.monotonic() + self._patience
            if time.monotonic() >= deadline:
                raise JournalBusy(*_told(self._path, self._patience))
            time.sleep(_POLL)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Frees it."""
        unlock_descriptor(self._descriptor)

    def close(self) -> None:
        """Gives the descriptor back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _try(self) -> bool:
        if self._descriptor < 0:
            self._descriptor = os.open(self._path, _FLAGS, 0o600)
            self._me = _description()
        if not lock_descriptor(self._descriptor, blocking=False):
            return False
        try:
            return self._sign()
        except OSError:
            self.close()  # and frees it: nobody would else, as long as this process lives
            raise

    def _sign(self) -> bool:
        """Says in the file who holds it; False where the file was removed, so that others lock another one.

        The name is for people: where it cannot be read or written, a full disk's for example, the lock holds without it.
        """
        if os.fstat(self._descriptor).st_nlink == 0:
            self.close()
            return False
        with suppress(OSError):
            if os.pread(self._descriptor, len(self._me) + 1, 0) != self._me:
                os.pwrite(self._descriptor, self._me, 0)
                os.ftruncate(self._descriptor, len(self._me))
        return True


def try_lock(path: Path) -> int | None:
    """A descriptor that holds the exclusive lock on `path`, None where somebody else does. Closing it frees the lock."""
    descriptor = os.open(path, _FLAGS, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def alone(directory: int, name: str) -> Iterator[bool]:
    """Whether nobody else holds the lock `name` in an open directory; it is held, and its file is there, while the context lasts."""
    descriptor = _taken(directory, name)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=directory)
            os.close(descriptor)


def _taken(directory: int, name: str) -> int | None:
    while True:
        descriptor = os.open(name, _FLAGS, 0o600, dir_fd=directory)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)  # its holder has just left and taken it away


def is_held(path: Path) -> bool:
    """Whether somebody holds the exclusive lock on `path`. Asked with a shared lock, which disturbs other askers least."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # what an agent put there may be a pipe
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _description() -> bytes:
    # The first argument and no more: the next may be a prompt.
    words = [os.path.basename(sys.argv[0]) if sys.argv else "python", *sys.argv[1:2]]
    return f"{os.getpid()} {_process(os.getpid())[1]} {' '.join(words)[:80]}\n".encode(errors="replace")


def _told(path: Path, patience: float) -> tuple[str]:
    pid_text, _, rest = path.read_text(errors="replace").strip().partition(" ")
    started, _, command = rest.partition(" ")
    pid = int(pid_text) if pid_text.isdigit() else 0
    state, start_time = _process(pid)
    if not pid or start_time != started:
        return (f"{path} has been locked for {patience:g} s by a process that did not name itself.",)
    advice = f" It is stopped: continue it (`kill -CONT {pid}`) or end it." if state in "Tt" else ""
    return (f"{path} has been locked for {patience:g} s by process {pid} ({command}, state {state}).{advice}",)


def _process(pid: int) -> tuple[str, str]:
    """State letter and start time of a process; `?` and empty where the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return "?", ""
    return fields[0], fields[19]
