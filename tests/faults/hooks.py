"""Inside every process of ours: each system call that changes something is a boundary at which a script may kill it or refuse the call.

Standard library only, and installed before anything of ours is imported. A boundary is named by the function of ours that calls and by
what it calls, `store.files.append os.write`; what happens there is decided by the script in the plan's directory, see `script.py`.
"""

import _posixsubprocess  # type: ignore[import-not-found]
import builtins
import errno
import fcntl
import io
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from datetime import timedelta

from tests.faults.script import Act, Script
from tests.power.recorder import Recorder

CALLS = (
    *("open", "write", "writev", "pwrite", "pread", "fsync", "fdatasync", "ftruncate", "rename", "replace", "link", "symlink", "unlink"),
    *("remove", "mkdir", "mkfifo", "rmdir", "chmod", "utime", "truncate", "fork", "execve", "kill", "posix_spawn", "pidfd_open"),
    *("killpg", "fchmod", "chown"),
)
SOCKET_CALLS = ("bind", "connect", "send", "sendall", "sendmsg")
_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "devsh_memory_mcp") + os.sep
_CHILD = {"forkserver": "shim", "shim": "guard", "recovery": "guard", "guard": "agent"}
_WRITING = frozenset("wax+")


class Hooks:
    """The boundaries of one process. `role` is face, runner, forkserver, shim, recovery, guard, starter, or agent until it is one."""

    def __init__(self, plan: str, role: str) -> None:
        self.role = role
        self._script = Script(plan, role)
        root = self._script.recorded()
        self._recorder = Recorder(plan, root) if root else None
        self._has_clock = False

    def install(self) -> None:
        """From here on every call in CALLS, `open` for writing, `flock`, sockets and the start of a program are boundaries."""
        for name in CALLS:
            original = getattr(os, name)
            wrapped = self._wrapped(f"os.{name}", original, _PARTLY.get(name))
            for known in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
                if original in known:
                    known.add(wrapped)
            setattr(os, name, wrapped)
        for name in SOCKET_CALLS:
            setattr(socket.socket, name, self._speaking(f"socket.{name}", getattr(socket.socket, name)))
        signal.pidfd_send_signal = self._wrapped("signal.pidfd_send_signal", signal.pidfd_send_signal)  # type: ignore[assignment]
        fcntl.flock = self._wrapped("fcntl.flock", fcntl.flock)
        _posixsubprocess.fork_exec = self._wrapped("fork_exec", _posixsubprocess.fork_exec)
        if "subprocess" in sys.modules:  # which has a name of its own for it
            sys.modules["subprocess"]._fork_exec = _posixsubprocess.fork_exec  # type: ignore[attr-defined]
        builtins.open = io.open = self._opening(builtins.open)  # type: ignore[assignment]
        sys.addaudithook(self._script.heed)
        for name in ("stat", "lstat"):
            setattr(os, name, self._looking(getattr(os, name)))
        sys.stderr = _Log(sys.stderr, self)  # type: ignore[assignment]
        real_time = time.time
        time.time = lambda: real_time() + self._script.clock()
        os.register_at_fork(after_in_child=self._become_child)

    def _become_child(self) -> None:
        self.role = _CHILD.get(self.role, self.role)
        self._script.begin(self.role)

    def meet(self, call: str) -> Act | None:
        """What is to happen at this boundary, None for nothing; a kill happens here."""
        point = _caller(call)
        if point is None:
            return None
        wiring = sys.modules.get("devsh_memory_mcp.wiring")
        if wiring is not None and not self._has_clock and hasattr(wiring, "SystemClock"):
            self._has_clock = True
            self._step(wiring.SystemClock)
        act = self._script.at(point)
        if act is not None and act.name == "kill":
            _die()
        return act

    def refused(self, call: str, *arguments: object) -> Act | None:
        """Whether the memory root takes no such call at the moment."""
        number = self._script.refusal(call, *arguments) if arguments else 0
        return Act("error", number) if number else None

    def _step(self, clock: type) -> None:
        """The engine's clock, which asks the system past `time`."""
        real = clock.now  # type: ignore[attr-defined]
        clock.now = lambda this: real(this) + timedelta(seconds=self._script.clock())  # type: ignore[attr-defined]

    def _wrapped(self, call: str, original: Callable[..., object], partly: Callable[..., None] | None = None) -> Callable[..., object]:
        def wrapped(*arguments: object, **named: object) -> object:
            act = self.meet(call)
            act = act or self.refused(call, *arguments[:2])
            if act is not None:
                if act.name == "half":
                    if partly is not None:
                        partly(original, *arguments)
                    _die()
                raise OSError(act.number, os.strerror(act.number))
            return original(*arguments, **named) if self._recorder is None else self._recorder.perform(call, original, arguments, named)

        return wrapped

    def _speaking(self, call: str, original: Callable[..., object]) -> Callable[..., object]:
        """What is refused to a socket is refused by the other end: nobody is there, or has just gone."""

        def spoken(this: socket.socket, *arguments: object) -> object:
            is_own = this.family == socket.AF_UNIX and sys._getframe(1).f_code.co_name != "_write_to_self"  # asyncio wakes itself by one
            act = self.meet(call) if is_own else None
            if act is None:
                return original(this, *arguments)
            if act.name == "half":
                if call in ("socket.send", "socket.sendall"):
                    original(this, memoryview(arguments[0])[: len(arguments[0]) // 2])  # type: ignore[arg-type]
                _die()
            raise ConnectionRefusedError(errno.ECONNREFUSED, call) if call == "socket.connect" else BrokenPipeError(errno.EPIPE, call)

        return spoken

    def _looking(self, original: Callable[..., object]) -> Callable[..., object]:
        """For the two of which Python tells no audit hook."""

        def looked(place: object, *arguments: object, **named: object) -> object:
            if isinstance(place, str | bytes | os.PathLike) and self._script.is_hidden(os.fsdecode(place)):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), place)
            return original(place, *arguments, **named)

        for known in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
            if original in known:
                known.add(looked)
        return looked

    def _opening(self, original: Callable[..., io.IOBase]) -> Callable[..., object]:
        def opened(file: object, mode: str = "r", *arguments: object, **named: object) -> object:
            if not _WRITING & set(mode):
                return original(file, mode, *arguments, **named)
            act = self.meet("open") or self.refused("open", file)
            if act is not None:
                if act.name == "half":
                    original(file, mode, *arguments, **named).close()
                    _die()
                raise OSError(act.number, os.strerror(act.number), file)
            return _Written(original(file, mode, *arguments, **named), self)

        return opened


class _Written:
    """A file that is being written: what reaches the disk does so here, where it can be cut off."""

    def __init__(self, file: io.IOBase, hooks: Hooks) -> None:
        self._file = file
        self._hooks = hooks

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def __enter__(self) -> "_Written":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, content: "str | bytes") -> object:
        act = self._hooks.meet("write") or self._hooks.refused("write", self._file.fileno())
        if act is not None:
            if act.name == "half":
                self._file.write(content[: len(content) // 2])  # type: ignore[attr-defined]
                self._file.flush()
                _die()
            raise OSError(act.number, os.strerror(act.number))
        return self._file.write(content)  # type: ignore[attr-defined]


class _Log:
    """The error stream of a process, which is a file of the root's for most of ours: what is refused to others is refused to it."""

    def __init__(self, stream: io.TextIOBase, hooks: Hooks) -> None:
        self._stream = stream
        self._hooks = hooks

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> object:
        act = self._hooks.refused("write", 2)
        if act is not None:
            raise OSError(act.number, os.strerror(act.number))
        return self._stream.write(text)


def _half_write(original: Callable[..., object], descriptor: int, content: bytes, *rest: object) -> None:
    original(descriptor, memoryview(content)[: len(content) // 2], *rest)


_PARTLY = {"write": _half_write, "pwrite": _half_write}


def _caller(call: str) -> str | None:
    """`module.function call` of the innermost function of ours; None where none of ours is on the stack."""
    frame = sys._getframe(2)
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(_PACKAGE):
            module = path[len(_PACKAGE) : -3].replace(os.sep, ".")
            return f"{module}.{frame.f_code.co_qualname} {call}"
        frame = frame.f_back  # type: ignore[assignment]
    return None


def _die() -> None:
    _send_signal(_pidfd_open(os.getpid()), signal.SIGKILL)


_pidfd_open, _send_signal = os.pidfd_open, signal.pidfd_send_signal
