"""Who of a memory root's processes is who, and what can be done to them from outside."""

import contextlib
import os
import signal
from pathlib import Path
from typing import NamedTuple

from tests.faults.evidence import Journal
from tests.faults.script import run_of


class Victim(NamedTuple):
    """A process, and the attempt that it works for: `<taskRunId>.<attempt>`, empty where it works for none, or for many."""

    pid: int
    role: str
    run: str = ""


def find(root: Path) -> list[Victim]:
    """Every process of the root but faces, which only a round knows: runners, fork servers, shims, guards, agents and their children."""
    needle, found = os.fsencode(root), []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{name}/cmdline").read_bytes()
            environment = Path(f"/proc/{name}/environ").read_bytes()
            if needle in words + environment and int(name) != os.getpid():
                role = _role(name, words, environment)
                found.append(Victim(int(name), role, "" if role == "runner" else run_of(name)))
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
    for journal in map(Journal, root.glob("orchestrations/*/EVENTS.jsonl")):
        for spawned in journal.spawned.values():
            if spawned["taskRunId"] == victim.run.rpartition(".")[0]:
                return str(spawned["id"])
    return None


def serving(root: Path) -> set[int]:
    """The runners that have adopted an orchestration."""
    journals = map(Journal, root.glob("orchestrations/*/EVENTS.jsonl"))
    return {event["pid"] for journal in journals for event in journal.events if event["event"] == "runner_started"}


def strike(pid: int, number: int = signal.SIGKILL) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
