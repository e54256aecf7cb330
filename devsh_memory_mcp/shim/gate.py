"""The guard's side of a sandbox: it hears when the walls stand, lets the command begin, and learns how that really ended.

bubblewrap's exit code tells a signal as 128 and its number, as a script's own `exit 137` would look. Newer kernels (6.15) tell the
difference to whoever held the process by a descriptor; with others a code of 128 and a signal's number is taken for that signal.
"""

import contextlib
import fcntl
import os
import signal
import struct

_GET_INFO = 0xC040FF0B  # PIDFD_GET_INFO with the 64 bytes of its first version
_EXIT = 1 << 3  # PIDFD_INFO_EXIT
_LAYOUT = struct.Struct("=QQ11Ii")


class Gate:
    """Two pipes through the walls: the word of the command's side, and the one that it waits for the end of.

    `is_around`: the walls are a process of their own around the command, as bubblewrap is. Else that process becomes the command.
    """

    def __init__(self, *, is_around: bool) -> None:
        self._is_around = is_around
        self.word, self._speaks = os.pipe()
        self._waits, self._holds = os.pipe()
        self.has_spoken = False
        self._handle: int | None = None

    @property
    def inside(self) -> tuple[int, int]:
        """The ends for the command."""
        return self._speaks, self._waits

    def stand(self) -> None:
        """Gives up the command's ends, in the guard."""
        for descriptor in self.inside:
            os.close(descriptor)

    def hear(self) -> bytes:
        """The word; empty where there was nobody to say it."""
        self.has_spoken = True
        return os.read(self.word, 64).strip()

    def open(self, outer: int) -> None:
        """Lets the command begin. It is the only child of bubblewrap's only child, as long as it waits here."""
        if self._is_around:
            with contextlib.suppress(OSError, ValueError):  # an older kernel: its end is then read from the exit code
                self._handle = os.pidfd_open(_only_child(_only_child(outer)))
        os.close(self._holds)

    def true_status(self, status: int) -> int:
        """The command's own status by that of the process that was started."""
        if not self._is_around or not os.WIFEXITED(status):
            return status
        if self._handle is not None:
            with contextlib.suppress(OSError):
                told = _LAYOUT.unpack(fcntl.ioctl(self._handle, _GET_INFO, _LAYOUT.pack(_EXIT, *[0] * 13)))
                if told[0] & _EXIT:
                    return int(told[-1])
        number = os.WEXITSTATUS(status) - 128
        return number if number in signal.valid_signals() else status


def _only_child(pid: int) -> int:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return int(file.read())
