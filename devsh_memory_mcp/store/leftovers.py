"""What those leave who are killed: temporary files, a link that leads nowhere, locks that are none, a socket without a runner."""

import errno
import os
import re
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from devsh_memory_mcp.shim.doorbell import RUNNER_LOCK_FILE, NoRunner, socket_path
from devsh_memory_mcp.store.finding import Finding
from devsh_memory_mcp.store.inspection import RUNS
from devsh_memory_mcp.store.lock import is_held
from devsh_memory_mcp.store.root import LOCK_FILE, MemoryRoot

BROKEN_LINK = "link_broken"
BROKEN_LOCK = "lock_not_a_file"
STALE_FILE = "stale_temporary_file"
STALE_SOCKET = "stale_socket"
_TEMPORARY = re.compile(r".*\.(\d+)\.tmp")
_PATIENCE = 1.0  # seconds


def root_findings(root: MemoryRoot) -> Iterator[Finding]:
    """What lies in the memory root itself."""
    for path in temporary_files(root.path):
        yield stale_file(path)
    for path in broken_locks(root.path, (LOCK_FILE, RUNNER_LOCK_FILE)):
        yield broken_lock(path)
    if is_link_broken(root):
        where = f"It leads to {os.readlink(root.link)}, which is not there." if root.link.is_symlink() else "It is missing."
        does = "points it to the newest orchestration" if root.all() else "removes it, since there is no orchestration"
        yield Finding(BROKEN_LINK, root.link, where, mending=f"`devsh fsck --repair` {does}.")
    left = None if is_held(root.path / RUNNER_LOCK_FILE) else stale_socket(root.path)
    if left is not None:
        mending = "`devsh fsck --repair` removes it, or the next one replaces it."
        yield Finding(STALE_SOCKET, left, "The runner behind it was killed.", is_note=True, mending=mending)


def stale_file(path: Path) -> Finding:
    """The finding of a temporary file."""
    what = "Whoever wrote it is gone; what it was for was never said to be done."
    return Finding(STALE_FILE, path, what, mending="`devsh fsck --repair` removes it.")


def broken_lock(path: Path) -> Finding:
    """The finding of a lock that cannot be taken."""
    what = "It is not a regular file, so nobody can take the lock."
    return Finding(BROKEN_LOCK, path, what, mending="`devsh fsck --repair` sets it aside.")


def is_link_broken(root: MemoryRoot) -> bool:
    """Whether the path under which the newest orchestration is found leads to none though there is one."""
    return not root.link.exists() and (root.link.is_symlink() or bool(root.all()))


def temporary_files(place: Path) -> Iterator[Path]:
    """Temporary files in a directory whose writer is gone; of the same name there may be no directory."""
    for path in sorted(place.glob("*.tmp")):
        named = _TEMPORARY.fullmatch(path.name)
        if named and not _is_running(int(named[1])) and (path.is_symlink() or not path.is_dir()):
            yield path


def stale_files(directory: Path) -> Iterator[Path]:
    """Those of one orchestration and its run directories."""
    for place in (directory, *sorted((directory / RUNS).glob("*/*"))):
        yield from temporary_files(place)


def broken_locks(place: Path, names: tuple[str, ...]) -> Iterator[Path]:
    """Locks that are there and are no regular files."""
    for name in names:
        path = place / name
        if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
            yield path


def stale_socket(root: Path) -> Path | None:
    """The runner's socket where nobody listens at it."""
    try:
        path = Path(socket_path(str(root)))
        if not path.is_socket():
            return None
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_PATIENCE)
            connection.connect(str(path))
    except ConnectionRefusedError:
        return path
    except (OSError, NoRunner):
        return None
    return None


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError as error:
        return error.errno == errno.EPERM
    return True
