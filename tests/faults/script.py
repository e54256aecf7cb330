"""What is to happen at which boundary: one of the two scripts that a plan's directory can hold.

`{"role", "point", "nth", "act"}` does one act at one boundary of the first process that gets there. `{"seed", "rates", "budget"}` draws
for each boundary of each process, by the seed and by which process of its role it is, until the budget is spent. Both write what they
did to `done`, a line each; with `"trace": true` every boundary that is met is written to `trace`, with `"record": true` every operation
on the root's files to `log`, see `tests/power/recorder.py`.
"""

import errno
import io
import json
import os
import random
from typing import NamedTuple

_BY_PATH = frozenset(f"os.{name}" for name in ("open", "rename", "replace", "link", "symlink", "unlink", "mkdir", "rmdir"))
# What Python itself says of every such call, whoever makes it: for the others there are no events, and `os` has hooks for them.
_LOOKS = frozenset({"open", "os.listdir", "os.scandir", "os.chmod", "os.utime", "os.truncate"})
_TAKES_ROOM = frozenset({"open", "write", *(f"os.{name}" for name in ("open", "write", "writev", "pwrite", "mkdir", "link", "symlink"))})
_open, _write, _close, _stat, _listdir = os.open, os.write, os.close, os.stat, os.listdir
_LINE = 240  # bytes of a line in `done`, so that its size says how many there are
_POLLS = 20  # of a lock that are boundaries
_OF_NO_RUN = ("face", "runner", "starter")
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class Act(NamedTuple):
    """kill, half (the call is done by halves, then kill) or error with its number."""

    name: str
    number: int = 0


class Script:
    """The script as one process of a role follows it."""

    def __init__(self, plan: str, role: str) -> None:
        self._plan = plan
        with open(f"{plan}/script.json", encoding="utf-8") as file:
            self._given = json.load(file)
        self.begin(role)

    def begin(self, role: str) -> None:
        """From the start, for a process that has just become `role`."""
        self._role = role
        self._met: dict[str, int] = {}
        self._chance: random.Random | None = None

    def recorded(self) -> str:
        """The memory root whose files' operations are to be recorded; empty where nothing is."""
        return str(self._given["root"]) if self._given.get("record") else ""

    def refusal(self, call: str, place: object, flags: object = 0) -> int:
        """The number of the error that the call ends with, as the memory root is at the moment: unreadable, or without room; else 0."""
        is_full = call in _TAKES_ROOM and _is_there(f"{self._plan}/full")
        if not is_full and not (call in _BY_PATH and _is_there(f"{self._plan}/unreadable")):
            return 0
        path = _path(place)
        if not path.startswith(self._given["root"]):
            return 0
        if not is_full:
            return errno.EACCES
        is_there = call == "os.open" and (not isinstance(flags, int) or not flags & os.O_CREAT or _is_there(path))
        return 0 if is_there else errno.ENOSPC

    def heed(self, event: str, arguments: tuple[object, ...]) -> None:
        """An audit hook: whoever looks below a root that cannot be read is refused, however he asks."""
        if event in _LOOKS and arguments and isinstance(arguments[0], str | bytes | os.PathLike):
            path = os.fsdecode(arguments[0])
            if self.is_hidden(path):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    def is_hidden(self, path: str) -> bool:
        """Whether it is below the root, and the root cannot be read at the moment."""
        return path.startswith(self._given["root"]) and _is_there(f"{self._plan}/unreadable")

    def clock(self) -> float:
        """How many seconds the wall clock is ahead."""
        try:
            descriptor = _open(f"{self._plan}/clock", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return 0.0
        try:
            return float(os.read(descriptor, 32) or b"0")
        finally:
            _close(descriptor)

    def at(self, point: str) -> Act | None:
        """What happens at this boundary."""
        self._met[point] = nth = self._met.get(point, 0) + 1
        if point.endswith(" fcntl.flock") and nth > _POLLS:
            return None  # it waits for somebody, and time has to stand still for who is stopped
        self._ring()
        if self._given.get("trace"):
            self._append("trace", f"{self._role} {point} {nth}\n")
        act = self._drawn(point) if "seed" in self._given else self._enumerated(point, nth)
        if act is None:
            return None
        run = "" if self._role in _OF_NO_RUN else run_of("self")
        return act if self._claimed(f"{self._role} {run or '-'} {point} {nth} {act.name} {act.number}") else None

    def _enumerated(self, point: str, nth: int) -> Act | None:
        given = self._given
        if given.get("point") != point or given["role"] != self._role or given["nth"] != nth:
            return None
        return _act(given["act"])

    def _drawn(self, point: str) -> Act | None:
        rate = self._given["rates"].get(self._role, 0.0)
        if self._chance is None:
            self._chance = random.Random(f"{self._given['seed']} {self._role} {self._ordinal()}")
        drawn = self._chance.random()
        if drawn >= rate:
            return None
        kind = self._chance.choices(("kill", "half", "ENOSPC", "EACCES", "EIO"), self._given["weights"])[0]
        return _act(kind)

    def _ordinal(self) -> int:
        """Which process of its role this one is."""
        number = 0
        while True:
            try:
                _close(_open(f"{self._plan}/processes/{self._role}.{number}", os.O_WRONLY | os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                number += 1
            else:
                return number

    def _claimed(self, what: str) -> bool:
        """Whether there was budget left for it, and it is written down."""
        path = f"{self._plan}/done"
        try:
            spent = _stat(path).st_size // _LINE
        except FileNotFoundError:
            spent = 0
        if spent >= self._given.get("budget", 1):
            return False
        self._append("done", f"{os.getpid()} {what}"[: _LINE - 1].ljust(_LINE - 1) + "\n")
        return True

    def _ring(self) -> None:
        """Tells the campaign that there was a boundary, where it listens."""
        try:
            bell = _open(f"{self._plan}/bell", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENXIO):
                return
            raise
        try:
            _write(bell, b".")
        except BlockingIOError:
            return  # it has enough to hear
        finally:
            _close(bell)

    def _append(self, name: str, line: str) -> None:
        descriptor = _open(f"{self._plan}/{name}", _APPEND, 0o600)
        _write(descriptor, line.encode())
        _close(descriptor)


def run_of(pid: str) -> str:
    """The attempt that a shim, a guard, or what stands below them works for; a fork server only while it holds that one's lock.

    `<taskRunId>.<attempt>`, and nothing where there is none: an agent may go where it likes, so its mark is asked first.
    """
    try:
        with io.FileIO(_open(f"/proc/{pid}/environ", os.O_RDONLY | os.O_CLOEXEC)) as file:
            for variable in file.readall().split(b"\0"):
                if variable.startswith(b"DEVSH_RUN="):
                    return variable.partition(b"=")[2].decode()
        held = [f"/proc/{pid}/fd/{name}" for name in _listdir(f"/proc/{pid}/fd")]
    except OSError:  # it has gone, or is about to
        return ""
    for link in (f"/proc/{pid}/cwd", *held):
        try:
            words = os.readlink(link).split("/")
        except OSError:
            continue
        if "orchestrations" in words and "runs" in words[:-2]:
            at = words.index("runs")
            return f"{words[at + 1]}.{words[at + 2]}"
    return ""


def _is_there(path: str) -> bool:
    """By a call that cannot be refused itself."""
    try:
        _stat(path)
    except OSError:
        return False
    return True


def _path(place: object) -> str:
    """Of a path, or of what a descriptor leads to."""
    if isinstance(place, int):
        return os.readlink(f"/proc/self/fd/{place}")
    return os.fspath(place) if isinstance(place, str | os.PathLike) else ""


def _act(kind: str) -> Act:
    return Act(kind) if kind in ("kill", "half") else Act("error", getattr(errno, kind))
