"""What an agent's CLI finds of its user's home in the private one of a sandbox, and what goes back: its instructions, and sessions.

Sessions are the CLI's own memory of a conversation, by which a task is gone on with. Nothing that is in the user's home is written over:
what comes out of a sandbox was the agent's to write.
"""

import contextlib
import errno
import glob
import os
import shutil

from devsh_memory_mcp.agents.adapter import Provider
from devsh_memory_mcp.agents.catalogue import find_adapter
from devsh_memory_mcp.errors import UnknownAgent
from devsh_memory_mcp.shim import rundir
from devsh_memory_mcp.shim.rundir import Run

_LARGEST = 256 * 1024 * 1024  # bytes of a session
_MOST = 20  # sessions


def bring_in(run: Run, home: str) -> None:
    """Copies into the private `home` the user's instructions, and the session that is gone on with. OSError."""
    provider, users = _places(run)
    if provider is None or users is None:
        return
    inside = f"{home}/{provider.home}"
    names = [name for name in provider.instructions if os.path.isfile(f"{users}/{name}")]
    if run.session is not None and run.session.resumes is not None:
        names += _sessions(provider, users, run.session.resumes)
    for name in names:
        _copy(f"{users}/{name}", f"{inside}/{name}")


def bring_out(run: Run, home: str) -> tuple[str, ...]:
    """Copies the sessions in the private `home`, in which nothing runs any more, to the user's; warnings of what could not be."""
    provider, users = _places(run)
    if provider is None or users is None:
        return ()
    inside = os.path.realpath(f"{home}/{provider.home}")
    warnings = []
    for name in _sessions(provider, inside, "*")[:_MOST]:
        path, target = f"{inside}/{name}", f"{users}/{name}"
        if os.path.realpath(path) != path or os.path.exists(target):  # a link is no session
            continue
        try:
            _copy(path, target)
        except OSError as error:
            warnings.append(f"Its session stayed in {path}: {error.strerror}.")
    return tuple(warnings)


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


def _sessions(provider: Provider, place: str, session_id: str) -> list[str]:
    """The files of a session, or of any (`*`), below a directory."""
    if not provider.sessions:
        return []
    shown = session_id if session_id == "*" else glob.escape(session_id)
    return sorted(glob.glob(provider.sessions.format(id=shown), root_dir=place))


def _copy(source: str, target: str) -> None:
    """The file is there whole, or not at all; OSError, also where it is none any more or too large."""
    part = f"{os.path.dirname(target)}/.{os.path.basename(target)}.devsh"
    os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
    try:
        with rundir.open_regular(os.path.realpath(source)) as content, open(part, "wb", opener=rundir.create_private) as file:
            if os.fstat(content.fileno()).st_size > _LARGEST:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
            shutil.copyfileobj(content, file)
        os.rename(part, target)
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error)) from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)
