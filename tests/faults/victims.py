"""Who of a memory root's processes is who, and what can be done to them from outside."""

import contextlib
import os
import signal
from pathlib import Path
from typing import NamedTuple

from tests.faults.evidence import Journal


class Victim(NamedTuple):
    pid: int
    role: str


def find(root: Path) -> list[Victim]:
    """Every process of the root but faces: runners, fork servers, shims, guards, and agents with what they started."""
    needle, found = os.fsencode(root), []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{name}/cmdline").read_bytes()
            environment = Path(f"/proc/{name}/environ").read_bytes()
            if needle in words + environment and int(name) != os.getpid():
                found.append(Victim(int(name), _role(name, words, environment)))
    return [victim for victim in found if victim.role]


def _role(pid: str, words: bytes, environment: bytes) -> str:
    if b"DEVSH_RUN=" in environment:
        return "agent"
    if b"devsh_memory_mcp.runner" in words:
        return "runner"
    own = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    if own == "devsh-fork":
        return "forkserver"
    if own == "devsh-shim" or b"--recover" in words:
        above = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1]
        beside = Path(f"/proc/{above}/comm").read_text(encoding="utf-8").strip()
        if beside == own and Path(f"/proc/{above}/cmdline").read_bytes() == words:
            return "guard"
        return "recovery" if b"--recover" in words else "shim"
    return ""


def task_of(root: Path, victim: Victim) -> str | None:
    """The name of the task whose attempt the shim or guard looks after."""
    with contextlib.suppress(OSError):
        run = Path(os.readlink(f"/proc/{victim.pid}/cwd"))
        for journal in map(Journal, root.glob("orchestrations/*/EVENTS.jsonl")):
            for spawned in journal.spawned.values():
                if spawned["taskRunId"] in run.parts:
                    return str(spawned["id"])
    return None


def serving(root: Path) -> set[int]:
    """The runners that have adopted an orchestration."""
    journals = map(Journal, root.glob("orchestrations/*/EVENTS.jsonl"))
    return {event["pid"] for journal in journals for event in journal.events if event["event"] == "runner_started"}


def strike(pid: int, number: int = signal.SIGKILL) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
