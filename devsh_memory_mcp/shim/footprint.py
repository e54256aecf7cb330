"""How much room trees take on the disk, whatever somebody makes of them meanwhile.

The rule that must not be broken: nothing but directories is opened, no link is followed, no other file system gone into. It takes two
descriptors however deep a tree is, and no path that is longer than a name.
"""

import math
import os
import stat
import time
import typing

from devsh_memory_mcp.shim import kernel

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
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


class _Level(typing.NamedTuple):
    """A directory on the way to the one that is looked at, and those in it that are still to be gone into."""

    name: str
    identity: tuple[int, int]
    left: list[str]


class _Tree:
    def __init__(self, path: str, count: _Count) -> None:
        self._count = count
        self._top = os.open(path, _DIRECTORY)
        self._here = os.dup(self._top)
        self._device = os.fstat(self._top).st_dev

    def walk(self) -> None:
        self._count.add(os.fstat(self._top))
        levels = [self._take("")]
        while levels and not self._count.is_enough:
            left = levels[-1].left
            if left:
                name = left.pop()
                if self._go(name, None):
                    levels.append(self._take(name))
                continue
            levels.pop()
            if levels and not self._go("..", levels[-1].identity):
                self._come_again(levels)

    def close(self) -> None:
        os.close(self._here)
        os.close(self._top)

    def _take(self, name: str) -> _Level:
        """Counts what is in the directory that we are in."""
        left: list[str] = []
        try:
            with os.scandir(self._here) as entries:
                for entry in entries:
                    if self._has_below(entry):
                        left.append(entry.name)
                    if self._count.is_enough:
                        break
        except OSError:  # closed to us, or gone
            left.clear()
        return _Level(name, _identity(os.fstat(self._here)), left)

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

    def _go(self, name: str, expected: tuple[int, int] | None) -> bool:
        """Into the directory of that name, if it is one of here and the one that is expected."""
        try:
            there = os.open(name, _DIRECTORY, dir_fd=self._here)
        except OSError:
            return False
        status = os.fstat(there)
        if status.st_dev != self._device or (expected is not None and _identity(status) != expected):
            os.close(there)
            return False
        os.close(self._here)
        self._here = there
        return True

    def _come_again(self, levels: list[_Level]) -> None:
        """From the top, since somebody has moved a directory on the way; what lies behind that is left."""
        os.close(self._here)
        self._here = os.dup(self._top)
        for depth, level in enumerate(levels[1:], 1):
            if not self._go(level.name, level.identity):
                del levels[depth:]
                return


def _summed(roots: typing.Iterable[str], count: _Count) -> int:
    for root in roots:
        try:
            tree = _Tree(root, count)
        except OSError:
            continue
        try:
            tree.walk()
        finally:
            tree.close()
    return count.total


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
