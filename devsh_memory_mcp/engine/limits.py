"""How long a runner waits for what, and how it learns of the room on the disk. Durations are seconds."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


def free_bytes(path: Path) -> int:
    """The room on the disk that `path` lies on."""
    return shutil.disk_usage(path).free


@dataclass(frozen=True, slots=True)
class Limits:
    """What a runner keeps to.

    `linger` is how long it stays with nothing to do, `lock` how long it waits for one that is leaving, `hello` for an adopted shim to
    call, `lock_goes` for the lock of a shim that has gone, `escalation` for a shim that was asked to end beyond its grace, `saving` for
    one whose agent is gone, `again` until it looks again at a disk that is full, `pull_request` for each command that opens one.
    """

    linger: float = 20.0
    lock: float = 5.0
    hello: float = 5.0
    lock_goes: float = 10.0
    escalation: float = 3.0
    saving: float = 660.0
    again: float = 1.0
    pull_request: float = 300.0
    free: Callable[[Path], int] = free_bytes


USUAL = Limits()
