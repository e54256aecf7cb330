"""The processes of this machine: who descends from whom, and whether a recorded process is still that one.

A pid alone proves nothing, since it is given out again; nothing recorded is signalled without its start time, boot and pid namespace.
"""

import os
import select
import signal
import sys
import typing

from devsh_memory_mcp.shim.rundir import RUN_MARKER, Process

_LINUX = sys.platform == "linux"


class Entry(typing.NamedTuple):
    """One process as the system shows it."""

    pid: int
    parent: int
    group: int
    session: int
    state: str
    start_time: str


def identify(pid: int) -> Process | None:
    """How `pid` can be recognised later, None where there is no such process."""
    entry = find_entry(pid)
    return entry and Process(pid, entry.start_time, boot_id(), pid_namespace())


def is_alive(process: Process) -> bool:
    """Whether the recorded process still runs; a zombie does not."""
    if process.boot_id != boot_id() or process.pid_namespace != pid_namespace():
        return False
    entry = find_entry(process.pid)
    return entry is not None and entry.start_time == process.start_time and entry.state != "Z"


def is_stopped(process: Process) -> bool:
    """Whether the recorded process is there and was stopped, by SIGSTOP for example."""
    entry = find_entry(process.pid) if is_alive(process) else None
    return entry is not None and entry.state == "T"


def end(process: Process, seconds: float) -> bool:
    """Kills the recorded process and waits until it is gone; False where it is not after `seconds`.

    The handle is taken before the check, so that what was checked is what is killed.
    """
    if not hasattr(os, "pidfd_open"):
        if is_alive(process):
            os.kill(process.pid, signal.SIGKILL)
        return not is_alive(process)
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        if not is_alive(process):
            return True
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        return bool(select.select([handle], [], [], seconds)[0])
    except ProcessLookupError:
        return True
    finally:
        os.close(handle)


def descendants(root: int, spared: typing.Container[int] = ()) -> list[Entry]:
    """Every living process below `root`; those in `spared` and what is below them are left out."""
    children: dict[int, list[Entry]] = {}
    for entry in entries():
        children.setdefault(entry.parent, []).append(entry)
    found: list[Entry] = []
    parents = [root]
    while parents:
        below = [entry for entry in children.get(parents.pop(), ()) if entry.pid not in spared]
        found += [entry for entry in below if entry.state != "Z"]
        parents += [entry.pid for entry in below]
    return found


def marked(marker: str, sessions: typing.Container[int] = ()) -> list[Entry]:
    """Every living process but this one whose environment holds the run's marker, or that belongs to one of `sessions`."""
    needle = f"{RUN_MARKER}={marker}".encode()
    return [
        entry
        for entry in entries()
        if entry.state != "Z" and entry.pid != os.getpid() and (entry.session in sessions or _has_variable(entry.pid, needle))
    ]


def holders(path: str, sessions: typing.Container[int] | None = None) -> list[Entry]:
    """Every living process but this one that has the file open, of `sessions` where these are given: a number may be another's by now."""
    try:
        wanted = os.stat(path)
    except FileNotFoundError:
        return []
    found = (entry for entry in entries() if (sessions is None or entry.session in sessions) and entry.pid != os.getpid())
    return [entry for entry in found if _has_open(entry.pid, wanted)]


def _has_open(pid: int, wanted: os.stat_result) -> bool:
    directory = f"/proc/{pid}/fd"
    try:
        return any(os.path.samestat(os.stat(f"{directory}/{name}"), wanted) for name in os.listdir(directory))
    except OSError:  # it has gone, or one of its files has
        return False


def _has_variable(pid: int, needle: bytes) -> bool:
    if _LINUX:
        return needle in _read(f"/proc/{pid}/environ").split(b"\0")
    return needle in _ask("ps", "-E", "-ww", "-o", "command=", "-p", str(pid)).split()


def command_line(pid: int) -> list[str]:
    """The words that a process was started with; none where it has gone or is somebody else's."""
    if _LINUX:
        return os.fsdecode(_read(f"/proc/{pid}/cmdline")).split("\0")
    return os.fsdecode(_ask("ps", "-ww", "-o", "command=", "-p", str(pid))).split()


def entries() -> list[Entry]:
    """Every process that this one can see."""
    if not _LINUX:
        return [_entry_of_ps(line) for line in _ask("ps", "-ax", "-o", _PS_COLUMNS).decode().splitlines() if line.strip()]
    found = (find_entry(int(name)) for name in os.listdir("/proc") if name.isdecimal())
    return [entry for entry in found if entry is not None]


_PS_COLUMNS = "pid=,ppid=,pgid=,sess=,stat=,lstart="


def find_entry(pid: int) -> Entry | None:
    """The process `pid`, None where there is none."""
    if not _LINUX:
        line = _ask("ps", "-o", _PS_COLUMNS, "-p", str(pid)).decode().strip()
        return _entry_of_ps(line) if line else None
    content = _read(f"/proc/{pid}/stat")
    if not content:
        return None
    # The name stands in parentheses and may hold anything, so the fields are counted from the last one.
    fields = content[content.rindex(b")") + 2 :].split()
    return Entry(pid, int(fields[1]), int(fields[2]), int(fields[3]), fields[0].decode(), fields[19].decode())


def _entry_of_ps(line: str) -> Entry:
    pid, parent, group, _, state, start = line.split(None, 5)
    return Entry(int(pid), int(parent), int(group), 0, state[0], start)


def _read(path: str) -> bytes:
    """The content of a file in /proc; empty where the process has gone or is somebody else's."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except OSError:
        return b""


def _ask(*argv: str) -> bytes:
    reading, writing = os.pipe()
    pid = os.posix_spawnp(argv[0], argv, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, writing, 1)])
    os.close(writing)
    with open(reading, "rb") as file:
        content = file.read()
    os.waitpid(pid, 0)
    return content


def boot_id() -> str:
    """Which start of the machine this is."""
    if _LINUX:
        return _read("/proc/sys/kernel/random/boot_id").decode().strip()
    return _ask("sysctl", "-n", "kern.boottime").decode().split("}")[0]


def pid_namespace() -> str:
    """Where this process's pids mean something."""
    return os.readlink("/proc/self/ns/pid") if _LINUX else ""
