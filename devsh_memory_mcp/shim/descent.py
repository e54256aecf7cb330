"""The way through a tree, whatever somebody has made of it or makes of it meanwhile.

The rule that must not be broken: nothing but directories is opened, and no link is followed. It takes two descriptors however deep a
tree is, and no path that is longer than a name.
"""

import os
import typing

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

Take = typing.Callable[[int], list[str]]


def open_directory(name: str, directory: int | None = None) -> int:
    """Its descriptor; OSError for what is none, a link to one above all."""
    return os.open(name, _DIRECTORY, dir_fd=directory)


def descend(
    top: int,
    take: Take,
    missed: typing.Callable[[OSError], object] = lambda _error: None,
    *,
    is_enough: typing.Callable[[], bool] = lambda: False,
    across: bool = True,
) -> None:
    """Calls `take` with a descriptor of each directory, beginning with this one; it names those in it that are to be gone into.

    `missed` is told why one was left out. Without `across` no other file system is gone into.
    """
    descent = _Descent(top, missed, across=across)
    try:
        descent.go_through(take, is_enough)
    finally:
        descent.close()


class _Level(typing.NamedTuple):
    """A directory on the way to the one that is looked at, and those in it that are still to be gone into."""

    name: str
    identity: tuple[int, int]
    left: list[str]


class _Descent:
    def __init__(self, top: int, missed: typing.Callable[[OSError], object], *, across: bool) -> None:
        self._top = top
        self._missed = missed
        self._device = None if across else os.fstat(top).st_dev
        self._here = os.dup(top)

    def go_through(self, take: Take, is_enough: typing.Callable[[], bool]) -> None:
        levels = [self._level("", take)]
        while levels and not is_enough():
            left = levels[-1].left
            if left:
                name = left.pop()
                if self._go(name, None):
                    levels.append(self._level(name, take))
                continue
            levels.pop()
            if levels and not self._go("..", levels[-1].identity):
                self._come_again(levels)

    def close(self) -> None:
        os.close(self._here)

    def _level(self, name: str, take: Take) -> _Level:
        left: list[str] = []
        try:
            left = take(self._here)
        except OSError as error:  # closed to us, or gone
            self._missed(error)
        return _Level(name, _identity(os.fstat(self._here)), left)

    def _go(self, name: str, expected: tuple[int, int] | None) -> bool:
        """Into the directory of that name, if it is one of here and the one that is expected."""
        try:
            there = open_directory(name, self._here)
        except OSError as error:
            self._missed(error)
            return False
        status = os.fstat(there)
        if self._device not in {None, status.st_dev} or (expected is not None and _identity(status) != expected):
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
                self._missed(NotADirectoryError(0, "somebody moves directories in it"))
                del levels[depth:]
                return


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
