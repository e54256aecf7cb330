"""Removing what an attempt left in its run directory, whatever it left there: nothing outside of it is ever touched.

Everything goes by descriptors that follow no link, so that a link can neither lead out nor be swapped in. A tree is renamed to
`<name>.going` first, so that half a checkout is never taken for one; what could not go is taken up again the next time.
"""

import contextlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

GOING = ".going"
_DEEPEST = 64  # levels; deeper trees are cut in pieces, since each level costs a descriptor and a frame
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class Freed:
    """How many bytes went, and by path below the run directory what could not go and why."""

    bytes: int = 0
    failures: dict[str, str] = field(default_factory=dict)


def open_run(directory: Path, task_run_id: str, attempt: int) -> int:
    """A descriptor of an attempt's directory below an orchestration's. OSError where it is not there, or a link leads to it."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for name in ("runs", task_run_id, str(attempt)):
        try:
            below = os.open(name, _DIRECTORY, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = below
    return descriptor


def remove(run: int, name: str) -> Freed:
    """Removes a file or a tree of a run directory. One that is not there is fine: somebody else was faster."""
    freed = Freed()
    try:
        status = os.stat(name, dir_fd=run, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            _unlink(run, name, status, name, freed)
            return freed
        going = name if GOING in name else _unused(run, name)
        if going != name:
            os.rename(name, going, src_dir_fd=run, dst_dir_fd=run)
        _remove_tree(run, going, freed)
    except FileNotFoundError:
        return freed
    except OSError as error:
        freed.failures[name] = error.strerror or str(error)
    return freed


def measure(run: int, name: str) -> int:
    """How many bytes would be freed; a file with names elsewhere frees none."""
    freed, seen = 0, dict[tuple[int, int], int]()
    with contextlib.suppress(OSError):
        status = os.stat(name, dir_fd=run, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            return status.st_blocks * 512 if status.st_nlink == 1 else 0
        for _, names, files, descriptor in os.fwalk(name, dir_fd=run):
            for entry in (*names, *files):
                with contextlib.suppress(OSError):
                    status = os.stat(entry, dir_fd=descriptor, follow_symlinks=False)
                    key = (status.st_dev, status.st_ino)
                    seen[key] = seen.get(key, 0) + 1
                    if stat.S_ISDIR(status.st_mode) or seen[key] == status.st_nlink:
                        freed += status.st_blocks * 512
    return freed


def _unused(run: int, name: str) -> str:
    taken, number, going = set(os.listdir(run)), 1, f"{name}{GOING}"
    while going in taken:
        number += 1
        going = f"{name}{GOING}-{number}"
    return going


def _remove_tree(run: int, name: str, freed: Freed) -> None:
    status = os.stat(name, dir_fd=run, follow_symlinks=False)
    top = _open(run, name, status)
    try:
        before: list[str] = []
        while (names := sorted(os.listdir(top))) and names != before:  # pieces of a deep tree come to stand here
            before = names
            for entry in names:
                _remove_entry(top, top, entry, f"{name}/{entry}", freed)
    finally:
        os.close(top)
    if not names:
        os.rmdir(name, dir_fd=run)
        freed.bytes += status.st_blocks * 512


def _remove_entry(top: int, parent: int, name: str, path: str, freed: Freed) -> None:
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            _unlink(parent, name, status, path, freed)
            return
        descriptor = _open(parent, name, status)
        try:
            if path.count("/") > _DEEPEST:
                _move(parent, name, top)
                return
            for entry in os.listdir(descriptor):
                _remove_entry(top, descriptor, entry, f"{path}/{entry}", freed)
        finally:
            os.close(descriptor)
        os.rmdir(name, dir_fd=parent)
        freed.bytes += status.st_blocks * 512
    except OSError as error:
        freed.failures.setdefault(path, error.strerror or str(error))


def _unlink(parent: int, name: str, status: os.stat_result, path: str, freed: Freed) -> None:
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return
    except OSError as error:
        freed.failures.setdefault(path, error.strerror or str(error))
        return
    if status.st_nlink == 1:
        freed.bytes += status.st_blocks * 512


def _move(parent: int, name: str, top: int) -> None:
    taken, number = set(os.listdir(top)), 0
    while (free := f"deep-{number}") in taken:
        number += 1
    os.rename(name, free, src_dir_fd=parent, dst_dir_fd=top)


def _open(parent: int, name: str, status: os.stat_result) -> int:
    """A directory's descriptor, after making it one that can be emptied: agents leave read-only trees, caches of modules above all."""
    if status.st_mode & 0o700 != 0o700:
        _make_writable(parent, name)
    return os.open(name, _DIRECTORY, dir_fd=parent)


def _make_writable(parent: int, name: str) -> None:
    if not hasattr(os, "O_PATH"):
        os.chmod(name, 0o700, dir_fd=parent, follow_symlinks=False)
        return
    descriptor = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        os.chmod(f"/proc/self/fd/{descriptor}", 0o700)
    finally:
        os.close(descriptor)
