"""What stdout is: a terminal that may be redrawn, or a stream of lines."""

import os
import sys
from typing import TextIO

import click


def is_foreground(stream: TextIO | None = None) -> bool:
    """Whether the stream is a terminal and this process its foreground job.

    A background job that moved the cursor would draw over the shell's prompt and over the other jobs.
    """
    stream = stream or sys.stdout
    try:
        descriptor = stream.fileno()
        return os.isatty(descriptor) and os.environ.get("TERM") != "dumb" and os.tcgetpgrp(descriptor) == os.getpgrp()
    except (OSError, ValueError):
        return False


def width(stream: TextIO | None = None, *, otherwise: int = 120) -> int:
    """How many columns a line may have."""
    try:
        return os.get_terminal_size((stream or sys.stdout).fileno()).columns or otherwise
    except (OSError, ValueError):
        return otherwise


def height(stream: TextIO | None = None, *, otherwise: int = 40) -> int:
    """How many lines fit on the screen."""
    try:
        return os.get_terminal_size((stream or sys.stdout).fileno()).lines or otherwise
    except (OSError, ValueError):
        return otherwise


def is_coloured() -> bool:
    """Whether the caller wants colours where there can be some; see NO_COLOR in `main`."""
    context = click.get_current_context(silent=True)
    return context is None or context.color is not False


def speaks_unicode() -> bool:
    """Whether symbols beyond ASCII arrive."""
    return (getattr(sys.stdout, "encoding", "") or "").lower().replace("-", "") == "utf8"
