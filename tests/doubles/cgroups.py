"""A machine's cgroups as a directory of a test's own, with the manners of the kernel that matter to us."""

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from devsh_memory_mcp.shim.cgroup import Files

_FILES = {"memory": ("memory.max", "memory.swap.max", "memory.events"), "cpu": ("cpu.max",), "pids": ("pids.max",)}
_OLD = {
    "memory": ("memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control"),
    "cpu": ("cpu.cfs_period_us", "cpu.cfs_quota_us"),
    "pids": ("pids.max",),
}


class Cgroups(Files):
    """Mounts are added one by one; `closed` are the groups that may not be written, `barred` that none of ours gets in."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.mounts, self.own = str(root / "mountinfo"), str(root / "self")
        self.closed: set[str] = set()
        self.barred = False
        for path in (self.mounts, self.own):
            Path(path).write_text("", encoding="utf-8")

    def mount(self, group: str, version: int, *controllers: str) -> Path:
        """A hierarchy with this process in `group`; all its groups hand down nothing yet. Answers with that group's directory."""
        point = self.root / ("unified" if version == 2 else controllers[0])
        kind, options = ("cgroup2", "rw") if version == 2 else ("cgroup", ",".join(("rw", *controllers)))
        with open(self.mounts, "a", encoding="utf-8") as file:
            file.write(f"30 20 0:26 / {point} rw,nosuid - {kind} {kind} {options}\n")
        with open(self.own, "a", encoding="utf-8") as file:
            file.write(f"{version - 2}:{'' if version == 2 else ','.join(controllers)}:{group}\n")
        made = point
        self._fill(made, version, controllers)
        for name in filter(None, group.split("/")):
            made /= name
            self._fill(made, version, controllers)
        return made

    def _fill(self, group: Path, version: int, controllers: Sequence[str]) -> None:
        group.mkdir()
        known = _FILES if version == 2 else _OLD
        for name in ("cgroup.procs", *(file for controller in controllers for file in known[controller])):
            (group / name).touch()
        if version == 2:
            (group / "cgroup.controllers").write_text(" ".join(controllers), encoding="utf-8")
            (group / "cgroup.subtree_control").touch()

    def write(self, path: str, text: str) -> None:
        group, name = os.path.split(path)
        if name == "cgroup.subtree_control":
            if Path(group, "cgroup.procs").read_text(encoding="utf-8"):
                raise OSError(errno.EBUSY, "Device or resource busy", path)
            text = f"{self.read(path)} {text[1:]}"
        super().write(path, text)

    def make(self, path: str) -> None:
        parent = Path(path).parent
        if (parent / "cgroup.controllers").exists():
            self._fill(Path(path), 2, self.read(f"{parent}/cgroup.subtree_control").split())
        else:
            self._fill(Path(path), 1, [parent.relative_to(self.root).parts[0]])

    def remove(self, path: str) -> None:
        if self.read(f"{path}/cgroup.procs"):
            raise OSError(errno.EBUSY, "Device or resource busy", path)
        shutil.rmtree(path)

    def is_writable(self, path: str) -> bool:
        return path not in self.closed and os.path.isdir(path)

    def can_enter(self, doors: Sequence[str]) -> bool:
        return not self.barred
