"""Whose a tree is: all of it is given to somebody, whatever an agent has made of it.

Nothing may run in it meanwhile.
"""

import functools
import os
import stat

from devsh_memory_mcp.shim.descent import descend, open_directory


def give(path: str, user: int) -> str | None:
    """Gives the tree (links themselves, never what they point at) to user and group `user`; why some of it was not, None where all was."""
    failures: list[OSError] = []
    try:
        os.chown(path, user, user, follow_symlinks=False)
        if stat.S_ISDIR(os.lstat(path).st_mode):
            _give_below(path, user, failures)
    except FileNotFoundError:
        return None
    except OSError as error:
        failures.append(error)
    return (failures[0].strerror or "it cannot be read") if failures else None


def _give_below(path: str, user: int, failures: list[OSError]) -> None:
    top = open_directory(path)
    try:
        descend(top, functools.partial(_give_entries, user, failures), functools.partial(_note, failures))
    finally:
        os.close(top)


def _give_entries(user: int, failures: list[OSError], directory: int) -> list[str]:
    """Gives what is in the directory, and names the directories of it."""
    with os.scandir(directory) as found:
        entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
    for name, _ in entries:
        try:
            os.chown(name, user, user, dir_fd=directory, follow_symlinks=False)
        except OSError as error:
            _note(failures, error)
    return [name for name, is_directory in entries if is_directory]


def _note(failures: list[OSError], error: OSError) -> None:
    """The first is told."""
    if not failures:
        failures.append(error)
