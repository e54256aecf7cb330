"""Inside every process of ours: an ordered log of what it does to the files of a memory root, with all that is needed to do it again.

Standard library only. A line is written under the same lock under which the call is made, so the order of the lines is the order of the
calls, across processes. Git's files, checkouts and logs are not recorded: git syncs its own, and no promise rests on the others.
"""

import base64
import contextlib
import fcntl
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from typing import Any

_open, _write, _close, _flock, _fstat, _lseek = os.open, os.write, os.close, fcntl.flock, os.fstat, os.lseek
_readlink, _lexists, _getcwd, _fcntl = os.readlink, os.path.lexists, os.getcwd, fcntl.fcntl
_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "devsh_memory_mcp") + os.sep
_LEFT_OUT = {"workspace", "git", "mirrors", "prompt", "reserve", "bundle"}
_ON_DESCRIPTORS = {"os.write", "os.pwrite", "os.ftruncate", "os.fsync", "os.fdatasync"}
_TWO_NAMES = {"os.rename", "os.replace", "os.link"}
_ONE_NAME = {"os.unlink", "os.remove", "os.mkdir", "os.rmdir"}
Line = dict[str, Any]


class Recorder:
    """What one process does below `root`. The directory that holds the root is seen too, since the root's own name is in it."""

    def __init__(self, plan: str, root: str) -> None:
        self._log = f"{plan}/log"
        self._root = os.path.realpath(root)
        self._above = os.path.dirname(self._root)

    def mark(self, what: str, **fields: object) -> None:
        """An instant that is no file's: an answer was given, an agent begins."""
        with self._turn() as tell:
            tell({"op": what, **fields})

    def perform(self, call: str, original: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Makes the call, and records it where it is one of those and succeeds."""
        if call == "os.fork":
            self._look_for_agent()
        seen = self._seen(call, arguments, named)
        if seen is None:
            return original(*arguments, **named)
        with self._turn() as tell:
            before = self._before(call, arguments, seen)
            answer = original(*arguments, **named)
            line = {"op": call.removeprefix("os."), **before, **self._after(call, arguments, answer)}
            if not (line["op"] == "open" and not (line["new"] or line["cut"])):
                tell({**line, "by": _callers()})
        return answer

    @contextlib.contextmanager
    def _turn(self) -> Iterator[Callable[[Line], None]]:
        descriptor = _open(self._log, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            _flock(descriptor, fcntl.LOCK_EX)
            yield lambda line: _put(descriptor, json.dumps(line).encode() + b"\n")
        finally:
            _close(descriptor)

    def _seen(self, call: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Line | None:
        """The names that the call is about; None where it is not to be recorded."""
        if call in _ON_DESCRIPTORS:
            path = _readlink(f"/proc/self/fd/{arguments[0]}")
            return {"path": path} if self._is_ours(path) else None
        if call == "os.open":
            if not arguments[1] & (os.O_CREAT | os.O_TRUNC):
                return None
            path = _named(arguments[0], named.get("dir_fd"))
            return {"path": path} if self._is_ours(path) else None
        if call in _TWO_NAMES or call == "os.symlink":
            first = os.fspath(arguments[0]) if call == "os.symlink" else _named(arguments[0], named.get("src_dir_fd"))
            second = _named(arguments[1], named.get("dst_dir_fd"))
            return {"from": first, "path": second} if self._is_ours(second) else None
        if call in _ONE_NAME:
            path = _named(arguments[0], named.get("dir_fd"))
            return {"path": path} if self._is_ours(path) else None
        return None

    def _is_ours(self, path: str) -> bool:
        if path in (self._above, self._root):
            return True
        parts = path.removeprefix(f"{self._root}/").split("/")
        return path.startswith(f"{self._root}/") and not _LEFT_OUT & set(parts) and not path.endswith(".log")

    def _before(self, call: str, arguments: tuple[Any, ...], seen: Line) -> Line:
        if call == "os.open":
            return {**seen, "new": not _lexists(seen["path"]), "cut": bool(arguments[1] & os.O_TRUNC)}
        if call == "os.write":
            is_appended = _fcntl(arguments[0], fcntl.F_GETFL) & os.O_APPEND
            return {"at": _fstat(arguments[0]).st_size if is_appended else _lseek(arguments[0], 0, os.SEEK_CUR)}
        return seen

    def _after(self, call: str, arguments: tuple[Any, ...], answer: Any) -> Line:
        if call == "os.open":
            return {"inode": _fstat(answer).st_ino}
        if call not in _ON_DESCRIPTORS:
            return {}
        status = _fstat(arguments[0])
        line: Line = {"inode": status.st_ino, "directory": stat.S_ISDIR(status.st_mode)}
        if call in ("os.write", "os.pwrite"):
            line["data"] = base64.b64encode(bytes(memoryview(arguments[1])[:answer])).decode()
        if line["directory"]:
            line["path"] = _readlink(f"/proc/self/fd/{arguments[0]}")
        if call == "os.pwrite":
            line["at"] = arguments[2]
        if call == "os.ftruncate":
            line["size"] = arguments[1]
        return line

    def _look_for_agent(self) -> None:
        """The guard's fork is the instant from which an agent runs; its own helpers are not one."""
        frame = sys._getframe(3)
        if frame.f_code.co_qualname == "_Guard._start":
            self.mark("agent", guard=os.getpid(), words=list(frame.f_locals["self"]._errand.argv)[:3])


def _put(descriptor: int, content: bytes) -> None:
    while content:
        content = content[_write(descriptor, content) :]


def _named(path: Any, descriptor: int | None) -> str:
    """A name in full; what it is the name of may be a symlink, what it lies in may not."""
    above = _getcwd() if descriptor is None else _readlink(f"/proc/self/fd/{descriptor}")
    directory, name = os.path.split(os.path.join(above, os.fsdecode(path)).rstrip("/"))
    return os.path.join(os.path.realpath(directory), name)


def _callers() -> list[str]:
    """The functions of ours that are at work, the innermost first."""
    frame: Any = sys._getframe(2)
    found: list[str] = []
    while frame is not None and len(found) < 4:
        path = frame.f_code.co_filename
        if path.startswith(_PACKAGE):
            found.append(f"{path[len(_PACKAGE) : -3].replace(os.sep, '.')}.{frame.f_code.co_qualname}")
        frame = frame.f_back
    return found
