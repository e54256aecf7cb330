"""The key with which a user's servers sign tokens: what the environment says, else a file of his that is made once.

It lies in the config directory, which no agent sees, and never below a memory root.
"""

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from devsh_memory_mcp.config import config_directory
from devsh_memory_mcp.errors import Refused, SettingsInvalid
from devsh_memory_mcp.shim.rundir import sync_directory

VARIABLE = "CMUX_TASK_RUN_JWT_SECRET"
FILE = "server.key"
SHORTEST = 32  # bytes: what HS256 needs


def server_key(environment: Mapping[str, str]) -> bytes:
    """The key, made now where there is none. SettingsInvalid for one that is too short, Refused where it cannot be kept secret."""
    said = environment.get(VARIABLE)
    if said:
        if len(said.encode()) < SHORTEST:
            raise SettingsInvalid(f"{VARIABLE} has fewer than {SHORTEST} characters.", next_step="`openssl rand -hex 32` gives a good one.")
        return said.encode()
    path = config_directory(environment) / FILE
    try:
        return _read(path) or _make(path)
    except OSError as error:
        raise Refused(f"The signing key {path} cannot be read or made: {error.strerror}.") from error


def _read(path: Path) -> bytes | None:
    """What the file holds, None where there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise Refused(
                f"The signing key {path} can be read by others.", next_step=f"Remove it (tokens made with it end), or chmod 600 {path}."
            )
        key = file.read(4096).strip()
    if len(key) < SHORTEST:
        raise SettingsInvalid(f"The signing key {path} is too short.", next_step="Remove it, and another one is made.")
    return key


def _make(path: Path) -> bytes:
    """A new one. Of two who make one at the same moment, both get the same."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f"{FILE}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(secrets.token_hex(32).encode() + b"\n")
            file.flush()
            os.fsync(descriptor)
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink()
    sync_directory(str(path.parent))
    found = _read(path)
    assert found is not None
    return found
