"""What the store does with files: make them durable, replace them whole, keep aside what it must not lose."""

import errno
import fcntl
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from devsh_memory_mcp.errors import CommitUnknown, DevshError, DiskFull, MemoryRootUnusable, NotFound, Unavailable
from devsh_memory_mcp.shim.rundir import sync_directory

Sync = Callable[[int], None]
Identity = tuple[int, int]  # device and inode

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
MODE = 0o600
_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)  # macOS, where fsync alone leaves the data in the drive's cache


def sync_data(descriptor: int) -> None:
    """Makes what was written to the descriptor durable."""
    if _FULL_SYNC is None:
        os.fdatasync(descriptor)
    else:
        fcntl.fcntl(descriptor, _FULL_SYNC)


def sync_file(path: Path) -> None:
    """Makes what whoever wrote into the file durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        sync_data(descriptor)
    finally:
        os.close(descriptor)


def identity_of(status: os.stat_result) -> Identity:
    """What tells a file from another of the same name."""
    return status.st_dev, status.st_ino


def explained(error: OSError, path: Path) -> DevshError:
    """The error of ours that an operating system's error on `path` is."""
    said = error.strerror or str(error)
    if error.errno in NO_ROOM:
        return DiskFull(f"There is no room for {path}: {said}.")
    if error.errno == errno.ENOENT:
        return NotFound(f"{path} does not exist.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
        return MemoryRootUnusable(f"{path} cannot be used: {said}.")
    return Unavailable(f"{path} cannot be used: {said}.")


def read_range(descriptor: int, start: int, stop: int) -> bytes:
    """The bytes from `start` to `stop`, or to the end of the file where that comes first."""
    content = os.pread(descriptor, stop - start, start)
    while content and len(content) < stop - start:
        more = os.pread(descriptor, stop - start - len(content), start + len(content))
        if not more:
            break
        content += more
    return content


def append(descriptor: int, content: bytes, at: int, path: Path, sync: Sync) -> None:
    """One write at the end of the file, which is `at`, made durable; where it does not fit, nothing is left of it.

    Raises DiskFull (nothing was written), CommitUnknown (the disk failed; it may be there).
    """
    failure = OSError(errno.ENOSPC, "the disk took only a part")
    try:
        if os.write(descriptor, content) == len(content):
            failure = OSError()
    except OSError as error:
        failure = error
    if failure.errno is not None:
        _take_back(descriptor, at, path, sync)
        raise explained(failure, path) from failure
    try:
        sync(descriptor)
    except OSError as error:
        raise CommitUnknown(f"{path} could not be made durable ({error.strerror}); the commit may or may not have been done.") from error


def _take_back(descriptor: int, at: int, path: Path, sync: Sync) -> None:
    try:
        os.ftruncate(descriptor, at)
        sync(descriptor)
    except OSError as error:
        raise CommitUnknown(f"A part of a commit is left in {path} ({error.strerror}); the next one moves it aside.") from error


def keep_aside(path: Path, content: bytes, why: str, number: int) -> Path:
    """Writes `content`, durable, to a new file beside `path`: `<name>.<why>-<ns>`."""
    kept = unused_name(path, why, number)
    descriptor = os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    except OSError:
        os.unlink(kept)
        raise
    finally:
        os.close(descriptor)
    sync_directory(str(path.parent))
    return kept


def nanoseconds(at: datetime) -> int:
    """Nanoseconds since 1970, for the names of files that are kept aside."""
    return int(at.timestamp() * 1000) * 1_000_000


def is_unlinkable(error: OSError) -> bool:
    """Whether a file can have no second name, there or because it is a directory."""
    return error.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)


def unused_name(path: Path, why: str, number: int) -> Path:
    """A name beside `path` that nothing has yet: `<name>.<why>-<ns>`."""
    while os.path.lexists(name := path.with_name(f"{path.name}.{why}-{number}")):
        number += 1
    return name


def create_file(path: Path, content: bytes) -> None:
    """Puts a new file in place, durable and whole or not at all. FileExistsError where the name is taken."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
        give_name(temporary, path)
    finally:
        os.close(descriptor)
        temporary.unlink(missing_ok=True)
    sync_directory(str(path.parent))


def give_name(temporary: Path, path: Path) -> None:
    """Gives a file that is whole its name. FileExistsError where the name is taken."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if not is_unlinkable(error):
            raise
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        os.rename(temporary, path)  # where files have one name only, somebody may take it in between


def replace_file(path: Path, content: bytes) -> os.stat_result:
    """Puts `content` at `path`, whole at every instant but not durable: for what can be made again."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, MODE)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        status = os.fstat(descriptor)
    except OSError:
        os.unlink(temporary)
        raise
    finally:
        os.close(descriptor)
    os.replace(temporary, path)
    return status


def make_directory(path: Path) -> None:
    """Makes a directory and those above it, mode 0700, each durable in its parent."""
    missing = [path]
    while not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    for directory in reversed(missing):
        directory.mkdir(mode=0o700, exist_ok=True)
        sync_directory(str(directory.parent))
