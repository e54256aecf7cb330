"""Starting a program at a pseudo-terminal without a fork of this process, which may have threads."""

import fcntl
import os
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path

# The leader of a new session makes its stdin its terminal, and is the foreground job there.
TAKE_TERMINAL = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"


def start(
    command: Sequence[str], directory: Path, environment: Mapping[str, str], *, columns: int = 80, lines: int = 24
) -> tuple["subprocess.Popen[bytes]", int]:
    """The program's process, and the descriptor of our end of its terminal."""
    ours, theirs = os.openpty()
    set_size(ours, columns, lines)
    take = [sys.executable, "-I", "-S", "-c", TAKE_TERMINAL]
    try:
        process = subprocess.Popen(
            [*take, *command], cwd=directory, env=dict(environment), start_new_session=True, stdin=theirs, stdout=theirs, stderr=theirs
        )
    except OSError:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return process, ours


def set_size(ours: int, columns: int, lines: int) -> None:
    """As when a window is made or changed."""
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
