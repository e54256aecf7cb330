"""Whose a tree is: all of it is given to somebody, whatever an agent has made of it.

Nothing may run in it meanwhile. It takes one descriptor however deep the tree is, and no path that is longer than a name.
"""

import os
import stat

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


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
        _note(failures, error)
    return (failures[0].strerror or "it cannot be read") if failures else None


def _give_below(path: str, user: int, failures: list[OSError]) -> None:
    here = os.open(path, _DIRECTORY)
    waiting = [_give_entries(here, user, failures)]  # by level: the directories that are still to be gone into
    come_from = [_identity(here)]
    try:
        while waiting:
            name = waiting[-1].pop() if waiting[-1] else None
            if name is None and len(waiting) == 1:
                return
            try:
                there = os.open(name or "..", _DIRECTORY, dir_fd=here)
            except OSError as error:
                if name is None:
                    raise
                _note(failures, error)
                continue
            os.close(here)
            here = there
            if name is not None:
                come_from.append(_identity(here))
                waiting.append(_give_entries(here, user, failures))
                continue
            del waiting[-1], come_from[-1]
            if _identity(here) != come_from[-1]:
                raise NotADirectoryError(0, "somebody moves directories in it")
    finally:
        os.close(here)


def _give_entries(directory: int, user: int, failures: list[OSError]) -> list[str]:
    """Gives what is in the directory, and names the directories of it."""
    with os.scandir(directory) as found:
        entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
    for name, _ in entries:
        try:
            os.chown(name, user, user, dir_fd=directory, follow_symlinks=False)
        except OSError as error:
            _note(failures, error)
    return [name for name, is_directory in entries if is_directory]


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _note(failures: list[OSError], error: OSError) -> None:
    """The first is told."""
    if not failures:
        failures.append(error)
