"""What an agent's CLI finds of its user's home in the private one of a sandbox, and what goes back: its instructions, and its session.

A session is the CLI's own memory of a conversation, by which a task is gone on with. What comes out of a sandbox was the agent's to write:
no link of his is followed, one file goes out, and nothing that is in the user's home is written over.
"""

import contextlib
import errno
import fnmatch
import glob
import os
import stat
import typing

from devsh_memory_mcp.agents.adapter import Provider
from devsh_memory_mcp.agents.catalogue import find_adapter
from devsh_memory_mcp.agents.plain import session_word
from devsh_memory_mcp.errors import NotFound, Unavailable, UnknownAgent
from devsh_memory_mcp.shim import rundir
from devsh_memory_mcp.shim.assignment import resumed
from devsh_memory_mcp.shim.rundir import Run

_LARGEST = 256 * 1024 * 1024  # bytes
_CHUNK = 1 << 16
_OPENING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ANEW = "Spawn a new task, without --resume, or go on without a sandbox (--sandbox none)."


def bring_in(run: Run, home: str) -> tuple[str, ...]:
    """Copies into the private `home` the user's instructions, and the session that is gone on with; warnings of the former.

    InvalidId, NotFound or Unavailable where that session cannot be had.
    """
    session_id = resumed(run)
    provider, users = _places(run)
    if provider is None or users is None:
        return ()
    inside, warnings = f"{home}/{provider.home}", []
    for name in provider.instructions:
        path = f"{users}/{name}"
        try:
            if os.path.isfile(path):
                _copy_in(path, f"{inside}/{name}")
        except OSError as error:
            warnings.append(f"The agent goes without {path}: {_reason(error)}.")
    if session_id is not None and provider.sessions:
        _bring_session(provider, users, inside, session_id)
    return tuple(warnings)


def _bring_session(provider: Provider, users: str, inside: str, session_id: str) -> None:
    names = _sessions(provider, users, session_id)
    if not names:
        raise NotFound(f"The session {session_id}, which is to be gone on with, is not in {users}.", next_step=_ANEW)
    for name in names:
        try:
            _copy_in(f"{users}/{name}", f"{inside}/{name}")
        except OSError as error:
            told = f"The session that is to be gone on with, {users}/{name}, cannot be copied: {_reason(error)}."
            raise Unavailable(told, next_step=_ANEW) from error


def bring_out(run: Run, directory: str, home: str, session_id: str | None) -> tuple[str, ...]:
    """Copies the session of an attempt in `directory` from the private `home`, in which nothing runs any more, to the user's.

    Answers warnings of what could not be, and never raises.
    """
    provider, users = _places(run)
    word = session_word(session_id)
    if provider is None or users is None or word is None or not provider.sessions:
        return ()
    checkout = f"{directory}/{rundir.WORKSPACE_DIRECTORY}"
    try:
        if not _sessions(provider, users, word):
            _take_out(home, provider, provider.sessions.format(project=provider.project(checkout), id=word), users)
    except OSError as error:
        return (f"Its session stayed in {home}/{provider.home}: {_reason(error)}.",)
    return ()


def _take_out(home: str, provider: Provider, pattern: str, users: str) -> None:
    private = os.open(home, os.O_DIRECTORY | _OPENING)
    try:
        found = _find_file(private, [*provider.home.split("/"), *pattern.split("/")])
    finally:
        os.close(private)
    if found is None:
        return
    name, descriptor = found
    with open(descriptor, "rb") as content:
        _copy(content, f"{users}/{name.removeprefix(f'{provider.home}/')}", os.link)  # over nothing


def _find_file(above: int, parts: list[str]) -> tuple[str, int] | None:
    """The first file of that pattern below a directory, opened; OSError where a link leads there."""
    for name in _names(above, parts[0]):
        try:
            descriptor = os.open(name, _OPENING | (os.O_DIRECTORY if parts[1:] else 0), dir_fd=above)
        except FileNotFoundError:
            continue
        if not parts[1:]:
            return name, descriptor
        try:
            found = _find_file(descriptor, parts[1:])
        finally:
            os.close(descriptor)
        if found is not None:
            return f"{name}/{found[0]}", found[1]
    return None


def _names(directory: int, pattern: str) -> list[str]:
    return sorted(fnmatch.filter(os.listdir(directory), pattern), reverse=True) if glob.has_magic(pattern) else [pattern]


def _places(run: Run) -> tuple[Provider | None, str | None]:
    """Whose program it is, and where that keeps what is the user's."""
    try:
        provider = find_adapter(run.agent_name).provider
    except UnknownAgent:  # of another release, whose attempt is recovered
        provider = None
    if provider is None:
        return None, None
    home, given = run.environment.get("HOME"), run.environment.get(provider.home_variable)
    return provider, given or (f"{home}/{provider.home}" if home else None)


def _sessions(provider: Provider, users: str, session_id: str) -> list[str]:
    """The files of a session in the user's directory, whatever checkout it was of."""
    return sorted(glob.glob(provider.sessions.format(project="*", id=session_id), root_dir=users))


def _copy_in(source: str, target: str) -> None:
    try:
        with rundir.open_regular(os.path.realpath(source)) as content:
            _copy(content, target, os.rename)
    except ValueError:
        raise OSError(errno.EINVAL, "it is no file") from None


def _copy(content: typing.BinaryIO, target: str, name: typing.Callable[[str, str], object]) -> None:
    """The file is there whole, or not at all. OSError, also where it is none or too large."""
    part = f"{os.path.dirname(target)}/.{os.path.basename(target)}.devsh"
    status = os.fstat(content.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no file")
    if status.st_size > _LARGEST:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
    try:
        with open(part, "wb", opener=rundir.create_private) as file:
            _pour(content, file)
        name(part, target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)


def _pour(content: typing.BinaryIO, file: typing.BinaryIO) -> None:
    """Holes stay holes: a file that takes no room must not fill the user's disk."""
    left = _LARGEST
    while left > 0 and (chunk := content.read(min(_CHUNK, left))):
        left -= len(chunk)
        if chunk.strip(b"\0"):
            file.write(chunk)
        else:
            file.seek(len(chunk), os.SEEK_CUR)
    file.truncate()


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
