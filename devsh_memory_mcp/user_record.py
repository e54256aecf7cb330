"""A JSON record in the user's own configuration, which several of our processes may change at the same time."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from devsh_memory_mcp.config import config_directory
from devsh_memory_mcp.shim.rundir import write_file

Entry = TypeVar("Entry")


@contextmanager
def changed(name: str, environment: Mapping[str, str], read: Callable[[Mapping[str, str]], dict[str, Entry]]) -> Iterator[dict[str, Entry]]:
    """What `read` finds in the record `name`, to be changed under its lock and written when the body ends well."""
    directory = config_directory(environment)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(directory / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        record = read(environment)
        yield record
        write_file(str(directory / name), json.dumps(record, indent=2, sort_keys=True).encode() + b"\n")
    finally:
        os.close(lock)
