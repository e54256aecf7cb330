"""How much room trees take on the disk, whatever somebody makes of them meanwhile.

The rule that must not be broken: nothing but directories is opened, no link is followed, no other file system gone into.
"""

import math
import os
import stat
import time
import typing

from devsh_memory_mcp.shim import kernel
from devsh_memory_mcp.shim.descent import descend, open_directory

_BLOCK = 512  # bytes, in which every file system counts
_PATIENCE = 2.0  # seconds for a careful count, once it has come to too much


def held_before(roots: typing.Sequence[str], settle: typing.Callable[[str], object] = kernel.settle) -> int:
    """Bytes that are there when nobody writes yet; a root that is not there has none.

    It is counted as `held` counts, or what is not there would be allowance. Some file systems tell only later how much room a new file
    takes: where one seems to take less than its size all is first written down, after which only holes still do.
    """
    quick = _Count()
    total = _summed(roots, quick)
    if not quick.is_doubtful:
        return total
    for root in roots:
        settle(root)
    return _summed(roots, _Count())


def held(roots: typing.Sequence[str], most: float) -> int:
    """Bytes that are there now. That it is more than `most` takes a second count, in which nothing that is moved counts twice."""
    quick = _summed(roots, _Count(most))
    return quick if quick <= most else _summed(roots, _Count(most, is_careful=True))


class _Count:
    """A careful one remembers every file, and goes on for a while when it has come to too much, so that it tells how much."""

    def __init__(self, most: float = math.inf, *, is_careful: bool = False) -> None:
        self._most = most
        self._is_careful = is_careful
        self._until = time.monotonic() + _PATIENCE if is_careful else 0.0
        self._seen: set[tuple[int, int]] = set()
        self.total = 0
        self.is_doubtful = False

    @property
    def is_enough(self) -> bool:
        """Whether the rest does not matter."""
        return self.total > self._most and time.monotonic() >= self._until

    def add(self, status: os.stat_result) -> None:
        """A file, once, whatever names it has."""
        if self._is_careful or (status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode)):
            key = status.st_dev, status.st_ino
            if key in self._seen:
                return
            self._seen.add(key)
        room = status.st_blocks * _BLOCK
        self.total += room
        self.is_doubtful |= stat.S_ISREG(status.st_mode) and room < status.st_size


class _Tree:
    """One root; directories of another file system are not there."""

    def __init__(self, top: int, count: _Count) -> None:
        self._count = count
        self._device = os.fstat(top).st_dev

    def take(self, directory: int) -> list[str]:
        """Counts what is in it."""
        found: list[str] = []
        with os.scandir(directory) as entries:
            for entry in entries:
                if self._has_below(entry):
                    found.append(entry.name)
                if self._count.is_enough:
                    break
        return found

    def _has_below(self, entry: os.DirEntry[str]) -> bool:
        """Counts it; whether it is a directory to go into."""
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            return False
        is_directory = stat.S_ISDIR(status.st_mode)
        if is_directory and status.st_dev != self._device:
            return False
        self._count.add(status)
        return is_directory


def _summed(roots: typing.Iterable[str], count: _Count) -> int:
    for root in roots:
        try:
            top = open_directory(root)
        except OSError:
            continue
        try:
            count.add(os.fstat(top))
            descend(top, _Tree(top, count).take, is_enough=lambda: count.is_enough, across=False)
        finally:
            os.close(top)
    return count.total
