"""A socket that listens on loopback inside a sandbox's network, made from outside: nothing has to run in there.

A child enters the namespaces of a process of the sandbox, makes the socket there and hands it out; this process never leaves its own.
"""

import array
import contextlib
import ctypes
import fcntl
import os
import select
import signal
import socket
import sys
import typing

_NS_GET_USERNS = 0xB701  # who owns a namespace; a process inside may itself have gone one deeper
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_WITHIN = 5.0  # seconds
_BACKLOG = 128


class NotInside(Exception):
    """There is no such socket, and the text says why."""


def listen_inside(pid: int, port: int) -> socket.socket:
    """Listens on 127.0.0.1:`port` in the network of process `pid`, which is root's or our user's. NotInside."""
    ours, theirs = socket.socketpair()
    with ours:
        child = os.fork()
        if child == 0:
            _hand_out(pid, port, theirs)
        theirs.close()
        try:
            return _receive(ours)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):  # the shim's loop buries as well
                os.waitpid(child, 0)


def listen_here() -> socket.socket:
    """The same for an agent that shares our network, on a port that is free."""
    return _listening(0)


def _receive(ours: socket.socket) -> socket.socket:
    if not select.select([ours], [], [], _WITHIN)[0]:
        raise NotInside("the sandbox's network cannot be entered: no answer")
    descriptors = array.array("i")
    content, ancillary, _, _ = ours.recvmsg(4096, socket.CMSG_SPACE(descriptors.itemsize))
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    if not descriptors:
        raise NotInside(f"the sandbox's network cannot be entered: {content.decode(errors='replace') or 'it has gone'}")
    os.set_inheritable(descriptors[0], False)
    return socket.socket(fileno=descriptors[0])


def _hand_out(pid: int, port: int, theirs: socket.socket) -> typing.NoReturn:
    """The child's whole life."""
    try:
        _enter(pid)
        with _listening(port) as listener:
            theirs.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listener.fileno()]))])
    except OSError as error:
        theirs.send(str(error.strerror or error).encode())
    except BaseException:  # noqa: BLE001  the top of a process: nothing may return into the shim's own code
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(0)


def _enter(pid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    owner = fcntl.ioctl(network, _NS_GET_USERNS)
    # Whose rights we have already, as root has outside of any user namespace, cannot be entered once more.
    kinds = [] if os.fstat(owner).st_ino == os.stat("/proc/self/ns/user").st_ino else [(owner, _CLONE_NEWUSER)]
    for descriptor, kind in (*kinds, (network, _CLONE_NEWNET)):
        if libc.setns(descriptor, kind) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _listening(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener
