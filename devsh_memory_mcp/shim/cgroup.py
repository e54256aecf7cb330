"""Groups of processes that the kernel keeps to limits: where one can be made, what it is given, what it counted, and its end.

cgroup v2 where a parent may be written that hands the controllers down, the nearest to this process first; else v1, a controller at a
time, below this process's own group. Nothing but groups of ours is changed, save that a parent is asked to hand a controller down.
"""

import contextlib
import os
import signal
import typing

MEMORY, CPU, PIDS = "memory", "cpu", "pids"
PREFIX = "devsh-"
_PERIOD = 100_000  # microseconds in which a quota of processor time is counted
_ENTER = 'for door; do echo 0 >"$door" || exit 1; done'


class Files:
    """The kernel's files; a test has others."""

    mounts = "/proc/self/mountinfo"
    own = "/proc/self/cgroup"

    def read(self, path: str) -> str:
        """Its content; empty where it cannot be had."""
        try:
            with open(path, "rb", buffering=0) as file:
                return file.read(1 << 20).decode(errors="replace")
        except OSError:
            return ""

    def write(self, path: str, text: str) -> None:
        """Gives a file of a group, which is there or the kernel does not know it, a value; OSError."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)

    def make(self, path: str) -> None:
        """A group; OSError."""
        os.mkdir(path, 0o755)

    def remove(self, path: str) -> None:
        """Ends a group in which nobody is; OSError."""
        os.rmdir(path)

    def below(self, path: str) -> list[str]:
        """The groups in a group."""
        try:
            with os.scandir(path) as entries:
                return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            return []

    def is_writable(self, path: str) -> bool:
        """Whether groups can be made in this one, as far as rights say."""
        return os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK)

    def can_enter(self, doors: typing.Sequence[str]) -> bool:
        """Whether a process of ours gets in: rights on a group do not say, since it leaves another. Costs a shell's start."""
        with open(os.devnull, "r+b", buffering=0) as nothing:
            given = [(os.POSIX_SPAWN_DUP2, nothing.fileno(), number) for number in range(3)]
            pid = os.posix_spawn("/bin/sh", ("sh", "-c", _ENTER, "sh", *doors), {"PATH": os.defpath}, file_actions=given)
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


class Mount(typing.NamedTuple):
    """Where a hierarchy is seen, from which of its groups on, and of which controllers it is; v2 names none."""

    point: str
    root: str
    version: int
    controllers: tuple[str, ...] = ()


class Place(typing.NamedTuple):
    """A group that is to be made, and what it is to limit."""

    directory: str
    version: int
    controllers: tuple[str, ...]

    @property
    def door(self) -> str:
        """What a process writes 0 into to be in the group."""
        return f"{self.directory}/cgroup.procs"


def plan(name: str, wanted: typing.Sequence[str], files: Files) -> tuple[Place, ...]:
    """Where groups of that name would be, for as many of the wanted controllers as can be had; nothing is made yet."""
    mounts, own = find_mounts(files), _own(files)
    found: dict[str, Place] = {}
    for mount in mounts:
        if mount.version == 2 and not found:
            place = _unified(mount, own.get("", "/"), name, wanted, files)
            found |= {place.directory: place} if place else {}
    for mount in mounts:
        had = {controller for place in found.values() for controller in place.controllers}
        left = tuple(controller for controller in wanted if controller in mount.controllers and controller not in had)
        parent = _seen(mount, own.get(left[0], "/")) if left else ""
        if left and files.is_writable(parent):
            found[f"{parent}/{name}"] = Place(f"{parent}/{name}", 1, left)
    return tuple(found.values())


def find_mounts(files: Files) -> list[Mount]:
    """Every hierarchy that is mounted where this process can see it."""
    found = []
    for line in files.read(files.mounts).splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, *rest) = before.split(), (after.split() or [""])
        if len(fields) > 4 and kind == "cgroup2":
            found.append(Mount(_plain(fields[4]), _plain(fields[3]), 2))
        elif len(fields) > 4 and kind == "cgroup":
            found.append(Mount(_plain(fields[4]), _plain(fields[3]), 1, tuple(rest[-1].split(","))))
    return found


def own_places(files: Files) -> list[str]:
    """The directories of this process's own groups, and for v2 those above."""
    own, found = _own(files), []
    for mount in find_mounts(files):
        name = next((controller for controller in mount.controllers if controller in own), "")
        found.append(directory := _seen(mount, own.get(name, "/")))
        while mount.version == 2 and directory != mount.point and directory != "/":  # noqa: PLR1714  a mount can have no end
            found.append(directory := os.path.dirname(directory))
    return found


def offered(group: str, files: Files) -> list[str]:
    """The controllers that a group of v2 has."""
    return files.read(f"{group}/cgroup.controllers").split()


def _plain(path: str) -> str:
    return path.replace("\\040", " ")


def _own(files: Files) -> dict[str, str]:
    """The group of this process by controller; that of v2 has no name."""
    found: dict[str, str] = {}
    for line in files.read(files.own).splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        found |= dict.fromkeys(controllers.split(","), path)
    return found


def _seen(mount: Mount, group: str) -> str:
    """A group as a directory below the mount. One that cannot be seen from here has the mount's own for the nearest."""
    inner = os.path.relpath(group, mount.root)
    return mount.point if inner == "." or inner.startswith("..") else f"{mount.point}/{inner}"


def _unified(mount: Mount, group: str, name: str, wanted: typing.Sequence[str], files: Files) -> Place | None:
    """The nearest group above that hands all of it down, else the one that hands most of it down."""
    best: Place | None = None
    directory = _seen(mount, group)
    while directory.startswith(mount.point):
        offered = _handed_down(directory, wanted, files) if files.is_writable(directory) else ()
        if len(offered) > (len(best.controllers) if best else 0):
            best = Place(f"{directory}/{name}", 2, offered)
        if len(offered) == len(wanted):
            break
        directory = os.path.dirname(directory)
    return best


def _handed_down(directory: str, wanted: typing.Sequence[str], files: Files) -> tuple[str, ...]:
    """Of the wanted controllers those that groups in this one have, or have once it was asked. One with processes refuses that."""
    known, path = offered(directory, files), f"{directory}/cgroup.subtree_control"
    for controller in wanted:
        if controller in known and controller not in files.read(path).split():
            with contextlib.suppress(OSError):
                files.write(path, f"+{controller}")
    handed = files.read(path).split()
    return tuple(controller for controller in wanted if controller in handed)


class Group:
    """The groups of one attempt, a directory for each hierarchy that takes part."""

    def __init__(self, places: typing.Sequence[Place], files: Files) -> None:
        self._files = files
        self.places = tuple(places)

    @property
    def doors(self) -> tuple[str, ...]:
        """What a process writes 0 into, one after the other."""
        return tuple(place.door for place in self.places)

    @property
    def controllers(self) -> frozenset[str]:
        """What is limited."""
        return frozenset(controller for place in self.places for controller in place.controllers)

    @property
    def version(self) -> str:
        """As people call it."""
        return " and ".join(f"cgroup v{number}" for number in sorted({place.version for place in self.places}))

    def make(self, values: typing.Mapping[str, float]) -> str | None:
        """Makes them and sets the values by controller; what cannot be had is left out, and the reason for the first of it told."""
        made, why = [], None
        for place in self.places:
            try:
                self._make(place, values)
            except OSError as error:
                why = why or f"{error.filename or place.directory}: {error.strerror}"
                self._remove(place.directory)
            else:
                made.append(place)
        self.places = tuple(made)
        if made and not self._files.can_enter(self.doors):
            why = f"{made[0].door} takes no process of ours"
            self.end()
            self.places = ()
        return why

    def _make(self, place: Place, values: typing.Mapping[str, float]) -> None:
        with contextlib.suppress(FileExistsError):  # its maker was killed, and it was given none
            self._files.make(place.directory)
        for controller in place.controllers:
            for name, text, is_needed in _settings(place.version, controller, values[controller]):
                try:
                    self._files.write(f"{place.directory}/{name}", text)
                except OSError:
                    if is_needed:
                        raise

    def has_starved(self) -> bool:
        """Whether processes were killed because the group had met its own limit; the machine's own want of memory is not that."""
        place = next((place for place in self.places if MEMORY in place.controllers), None)
        if place is None:
            return False
        if place.version == 2:
            told = _counts(self._files.read(f"{place.directory}/memory.events"))
            return bool(told.get("oom_kill") and told.get("oom"))  # `max` counts what could still be freed too
        told = _counts(self._files.read(f"{place.directory}/memory.oom_control"))
        # Not by memory.failcnt, which stays 0 where swap is counted too; what was used last may be some pages short.
        most, used = (_number(self._files.read(f"{place.directory}/memory.{name}_in_bytes")) for name in ("limit", "max_usage"))
        return bool(told.get("oom_kill")) and used * 50 >= most * 49

    def end(self) -> bool:
        """Kills who is left in there and removes the groups; whether nothing of them is there any more. It may be repeated."""
        left = [place.directory for place in self.places if not self._remove(place.directory)]
        return not left

    def _remove(self, directory: str) -> bool:
        for inner in self._files.below(directory):  # made by an agent that has our rights
            self._remove(inner)
        try:
            self._files.remove(directory)
        except FileNotFoundError:
            return True
        except OSError:
            self._kill(directory)
            return False
        return True

    def _kill(self, directory: str) -> None:
        with contextlib.suppress(OSError):  # newer kernels: all at once
            self._files.write(f"{directory}/cgroup.kill", "1")
        listed = f"{directory}/cgroup.procs"
        for pid in self._files.read(listed).split():
            if pid in ("0", str(os.getpid())):  # of another pid namespace
                continue
            with contextlib.suppress(OSError):
                handle = os.pidfd_open(int(pid))
                try:
                    if pid in self._files.read(listed).split():  # or it is somebody else's by now
                        signal.pidfd_send_signal(handle, signal.SIGKILL)
                finally:
                    os.close(handle)


def _settings(version: int, controller: str, value: float) -> tuple[tuple[str, str, bool], ...]:
    """File, content, and whether the limit is none without it: not every kernel counts what was swapped out."""
    number = str(int(value))
    if controller == PIDS:
        return (("pids.max", number, True),)
    if controller == CPU:
        quota = str(max(1000, round(value * _PERIOD)))
        if version == 2:
            return (("cpu.max", f"{quota} {_PERIOD}", True),)
        return (("cpu.cfs_period_us", str(_PERIOD), True), ("cpu.cfs_quota_us", quota, True))
    if version == 2:
        return (("memory.max", number, True), ("memory.swap.max", "0", False))
    return (("memory.limit_in_bytes", number, True), ("memory.memsw.limit_in_bytes", number, False))


def _counts(text: str) -> dict[str, int]:
    return {name: _number(count) for name, _, count in (line.partition(" ") for line in text.splitlines())}


def _number(text: str) -> int:
    return int(text) if text.strip().isdecimal() else 0
