"""What an attempt's commands may use: asked for in run.json, kept by groups of the kernel's where they can be made, else told.

What is in force is a fact of the run, and an end for want of memory is claimed only where the kernel has counted it.
"""

import contextlib
import os
import signal
import sys
import time
import typing

from devsh_memory_mcp.agents.adapter import Verdict
from devsh_memory_mcp.errors import NoLimits
from devsh_memory_mcp.shim import cgroup
from devsh_memory_mcp.shim.bounds import Bounds, InForce, Limits, cpus_words, size_words
from devsh_memory_mcp.shim.cgroup import CPU, MEMORY, PIDS, Files, Group, Place
from devsh_memory_mcp.shim.loop import Loop
from devsh_memory_mcp.shim.probe import Missing
from devsh_memory_mcp.shim.report import Reports
from devsh_memory_mcp.shim.rundir import Report
from devsh_memory_mcp.shim.shape import from_json, to_json
from devsh_memory_mcp.shim.wall import Wall, decode_status

RLIMIT = "rlimit"
COUNTING = "counting"
_GOES_WITHIN = 2.0  # seconds for the last of a group to be gone
_FILES = Files()
_SCOPE = "start it in a scope of your own: systemd-run --user --scope -p Delegate=yes devsh …"
_ROOT = "run it as root, or on a machine with cgroup v2 and systemd"
_PRIVILEGED = "in a container: start it with --privileged, or with /sys/fs/cgroup writable"


class Cage:
    """The limits of one attempt: made before anything runs in them, gone before its outcome is written.

    Groups are in the report before they are made, so that whoever comes after a killed shim finds them.
    """

    def __init__(self, limits: Limits | None, name: str, reports: Reports | None, files: Files = _FILES) -> None:
        self._limits = limits or Limits()
        self._name = f"{cgroup.PREFIX}{name}"
        self._reports = reports
        self._files = files
        self._group = Group((), files)
        self.in_force: InForce | None = None
        self.bounds = Bounds()

    def make(self) -> tuple[str, ...]:
        """What there is to say of limits that cannot be kept; NoLimits where they are required."""
        missing = self.try_to_make()
        if missing is None:
            return ()
        if self._limits.required:
            self._group.end()
            self.in_force = None
            raise NoLimits(missing.why, next_step=f"What gets it: {missing.remedy}.")
        return (in_a_warning(missing),)

    def try_to_make(self) -> Missing | None:
        """What of the limits cannot be kept, why, and what gets it; None where all is in force."""
        limits, wanted = self._limits, _wanted(self._limits)
        self.bounds = Bounds(file=limits.disk)
        if limits.disk is not None:
            self.in_force = InForce(disk=limits.disk, by=COUNTING)
        if not wanted:
            return None
        places = cgroup.plan(self._name, wanted, self._files)
        if places and self._reports is not None:
            self._reports.add("limits", facts=to_json(_Told(places)))
        self._group = Group(places, self._files)
        failed = self._group.make({MEMORY: limits.memory or 0, CPU: limits.cpus or 0.0, PIDS: limits.processes})
        had = self._group.controllers
        each = limits.memory if MEMORY in wanted and MEMORY not in had and sys.platform == "linux" else None
        self.bounds = Bounds(self._group.doors, each, limits.disk)
        self.in_force = InForce(
            limits.memory if MEMORY in had else None, each, limits.cpus if CPU in had else None, limits.processes if PIDS in had else None,
            " and ".join(part for part in (self._group.version, RLIMIT if each else "", COUNTING if limits.disk else "") if part),
            limits.disk,
        )  # fmt: skip
        return _shortfall([kind for kind in wanted if kind not in had], limits, self._files, failed)

    @classmethod
    @contextlib.contextmanager
    def on_trial(cls, limits: Limits, files: Files = _FILES) -> typing.Iterator[tuple[InForce, Missing | None]]:
        """What would be in force here and what not, by making groups as an attempt does; they go at the end. Some 2 ms."""
        cage = cls(limits, f"trial.{os.getpid()}.{time.monotonic_ns()}", None, files)
        try:
            missing = cage.try_to_make()
            yield cage.in_force or InForce(), missing
        finally:
            cage.remove()

    def facts(self) -> dict[str, typing.Any]:
        """What the reports of its processes say of it."""
        return {} if self.in_force is None else {"limits": to_json(self.in_force)}

    def judge(self, cause: str | None, verdict: Verdict, agent: Wall | None) -> tuple[str | None, Verdict]:
        """The cause `oom` for an agent that failed when processes of its had been killed for memory, and no better reason is known."""
        if not self._group.has_starved():
            return cause, verdict
        much = size_words(self._limits.memory or 0)
        if cause != "exit" or verdict.succeeded or verdict.failure not in (None, "crash"):
            told = f"Of its processes some were ended, since together they used more than its {much} of memory."
            return cause, verdict._replace(warnings=(*verdict.warnings, told))
        code, number = decode_status(agent.status if agent is not None else None)
        if number == signal.SIGKILL or code == 128 + signal.SIGKILL:  # a shell tells it so
            told = f"It used more than its {much} of memory and was ended; give it more with --memory."
        else:
            told = f"It failed after a process of its used more than its {much} of memory and was ended; give it more with --memory."
        return "oom", verdict._replace(error_message=told, failure=None)

    def remove(self, loop: Loop | None = None) -> bool:
        """Leaves nothing of it behind; False where the kernel does not let it go."""
        return _remove(self._group, loop)


def clear(reports: typing.Sequence[Report], name: str, loop: Loop, files: Files = _FILES) -> bool:
    """The same for an attempt whose shim died. Whoever is still in its groups is killed. A report that is cut says less than is there."""
    places = [Place(f"{directory}/{cgroup.PREFIX}{name}", 0, ()) for directory in cgroup.own_places(files)]
    for report in reports:
        if report.type == "limits":
            with contextlib.suppress(ValueError):
                places += from_json(_Told, report.facts).groups
    there = {place.directory: place for place in places if os.path.isdir(place.directory)}
    ours = [place for place in there.values() if os.path.basename(place.directory).startswith(cgroup.PREFIX)]
    return _remove(Group(ours, files), loop)


def in_force_of(reports: typing.Sequence[Report]) -> InForce | None:
    """What the last guard that stood was told to be in force."""
    last: dict[str, typing.Any] = next((report.facts for report in reversed(reports) if report.type == "guard"), {})
    return in_force_in(last)


def in_force_in(facts: dict[str, typing.Any]) -> InForce | None:
    """What the facts of a report say of it."""
    with contextlib.suppress(ValueError):
        return from_json(InForce, facts["limits"]) if facts.get("limits") else None
    return None


class _Told(typing.NamedTuple):
    groups: tuple[Place, ...] = ()


def _remove(group: Group, loop: Loop | None) -> bool:
    until, pause = time.monotonic() + _GOES_WITHIN, 0.001
    while not group.end():
        if time.monotonic() > until:
            os.write(2, f"not removed: {', '.join(place.directory for place in group.places)}\n".encode())
            return False
        if loop is None:
            time.sleep(pause)
        else:
            loop.wait(lambda: False, time.monotonic() + pause)
        pause = min(2 * pause, 0.1)
    return True


def _wanted(limits: Limits) -> tuple[str, ...]:
    """Controllers, the ones that were asked for first; without them nothing is made, and a start costs what it did."""
    asked = (*([MEMORY] if limits.memory is not None else []), *([CPU] if limits.cpus is not None else []))
    return (*asked, PIDS) if asked else ()


def in_a_warning(missing: Missing) -> str:
    """What is told where the agent runs all the same."""
    return f"{missing.why} What gets it: {missing.remedy}."


def _shortfall(kinds: typing.Sequence[str], limits: Limits, files: Files, failed: str | None) -> Missing | None:
    parts = [
        *([f"{size_words(limits.memory or 0)} of memory (only each process alone)"] if MEMORY in kinds else []),
        *([cpus_words(limits.cpus or 0)] if CPU in kinds else []),
    ]
    if not parts:
        return None
    why = _why(kinds[0], files, failed)
    return Missing(f"Nothing here keeps it to {' or '.join(parts)}: {why.why}.", why.remedy)


def _why(kind: str, files: Files, failed: str | None) -> Missing:
    """Why a controller is not to be had, and what gets it."""
    mounts = cgroup.find_mounts(files)
    if sys.platform != "linux":
        return Missing("this system has no cgroups", "run the work on Linux, in a virtual machine for example")
    unified = next((mount.point for mount in mounts if mount.version == 2 and kind in cgroup.offered(mount.point, files)), None)
    old = next((mount.point for mount in mounts if kind in mount.controllers), None)
    remedy = _PRIVILEGED if os.geteuid() == 0 else _SCOPE if unified else _ROOT
    point = unified or old
    if point is None:
        return Missing(f"no cgroups of {kind} are in sight", remedy)
    if failed is not None:
        return Missing(failed, remedy)
    if not any(files.is_writable(place) for place in cgroup.own_places(files) if f"{place}/".startswith(f"{point}/")):
        return Missing(f"the cgroups in {point} cannot be written", remedy)
    return Missing(f"the cgroups in {point} do not hand {kind} down", remedy)
