"""What only a system call can say: who adopts the orphans below us, who dies with his parent, who may look into a process, its name,
what it has open, and what of a disk is only in memory.

Linux has all of it; elsewhere they are left out, and a tree is found by its mark in the environment.
"""

import contextlib
import ctypes
import errno
import os
import signal
import sys
import typing

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_JOIN_SESSION_KEYRING = 1
_KEYCTL = {"x86_64": 250, "aarch64": 219, "riscv64": 219, "armv7l": 311, "ppc64le": 271, "s390x": 280}  # the C library has no name for it
_NO_KEYRINGS = (errno.ENOSYS, errno.EPERM, errno.EACCES)
_HEARD = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM)
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


ADOPTS = _libc is not None  # whether orphans can be had at all


def adopt_orphans(*, wanted: bool = True) -> None:
    """Makes this process the parent of whoever below it loses his own, or leaves them to the next one above."""
    _control(_PR_SET_CHILD_SUBREAPER, int(wanted))


def die_with_parent() -> None:
    """Has this process killed when its parent ends. It lasts over exec; a parent gone already is not noticed."""
    _control(_PR_SET_PDEATHSIG, signal.SIGKILL)


def forget_keys() -> None:
    """Leaves this process a session keyring of its own, without the keys of whoever started the first of its ancestors.

    Where the kernel has no keyrings, or a filter of system calls forbids them, there is nothing to be read either.
    """
    number = _KEYCTL.get(os.uname().machine)
    if _libc is None or number is None:
        return
    if _libc.syscall(ctypes.c_long(number), ctypes.c_long(_JOIN_SESSION_KEYRING), None) < 0 and ctypes.get_errno() not in _NO_KEYRINGS:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def close_all_but(kept: set[int]) -> None:
    """Leaves a process just forked nothing of its parent's: a pipe with a second writer would never end."""
    low = 0
    for descriptor in sorted(kept):
        if low < descriptor:  # an empty range, 0 to 0, is taken for all there are
            os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, max(low, os.sysconf("SC_OPEN_MAX")))


def reset_signals(*ignored: int, numbers: typing.Iterable[int] = _HEARD) -> None:
    """Leaves a process just forked the defaults of what its parent listened to, but for those that it is to ignore."""
    signal.set_wakeup_fd(-1)
    for number in numbers:
        with contextlib.suppress(OSError, ValueError):  # two belong to the C library
            signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)


def settle(path: str) -> None:
    """Writes down what the file system of that directory holds in memory; nothing where it is not there."""
    if _libc is None:
        os.sync()
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _libc.syncfs(descriptor)
        finally:
            os.close(descriptor)


def call_oneself(name: str) -> None:
    """What lists of processes show beside the command line; at most 15 characters."""
    if _libc is not None:
        _libc.prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()), 0, 0, 0)


def hide() -> None:
    """Lets nobody but root look into this process: not its memory, nor its descriptors, nor its environment."""
    _control(_PR_SET_DUMPABLE, 0)


def _control(option: int, value: int) -> None:
    if _libc is not None and _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
