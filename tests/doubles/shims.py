"""A backend whose shims are on paper alone: what they were given, and what they are said to have reported and come to."""

import errno
from collections.abc import Mapping

import anyio

from devsh_memory_mcp.ports import Start
from devsh_memory_mcp.shim.rundir import FORMAT, Letter, Outcome, Report, Run

AT = "2026-01-02T00:00:00+00:00"


class Shims:
    """How often something fails: `full` for letters, `refused` for starts, `unreadable` for reports; `unbegun` who never reports.

    `begun` is set once a shim was started, `started` are the secrets of each.
    """

    def __init__(self) -> None:
        self.started: list[dict[str, str]] = []
        self.begun = anyio.Event()
        self.sent: list[int] = []
        self.full = self.refused = self.unbegun = self.unreadable = 0
        self._reported: list[Report] = []

    def report(self, kind: str, **fields: object) -> None:
        self._reported.append(Report(len(self._reported) + 1, kind, AT, **fields))  # type: ignore[arg-type]

    async def start(self, _directory: str, _run: Run, secrets: Mapping[str, str]) -> Start:
        if self.refused:
            self.refused -= 1
            raise OSError(errno.EACCES, "Permission denied")
        self.started.append(dict(secrets))
        self.begun.set()
        return Start.STARTED

    async def forestall(self, _directory: str) -> bool:
        return not self._reported

    async def finish(self, _directory: str, run: Run, *, recover_unbegun: bool) -> Outcome | None:
        if self.unbegun and not recover_unbegun:
            self.unbegun -= 1
            return None
        return Outcome(FORMAT, run.task_run_id, run.attempt, "lost", False, AT, AT, 0, len(self._reported))

    async def send(self, _directory: str, letter: Letter) -> None:
        if self.full:
            self.full -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        self.sent.append(letter.id)

    async def reports(self, _directory: str, after: int) -> list[Report]:
        if self.unreadable:
            self.unreadable -= 1
            raise OSError(errno.EIO, "Input/output error")
        return [report for report in self._reported if report.n > after]

    async def kill(self, _directory: str) -> None: ...

    async def is_saving(self, _directory: str) -> bool:
        return False

    async def has_rebooted(self, _directory: str) -> bool:
        return False
