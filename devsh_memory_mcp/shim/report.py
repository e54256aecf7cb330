"""The shim's side of the two streams: report.jsonl, which it alone writes, and inbox.jsonl, which it reads on."""

import errno
import os
import time
import typing

from devsh_memory_mcp.shim import rundir
from devsh_memory_mcp.shim.output import Relief
from devsh_memory_mcp.shim.rundir import Letter, Process, Report


def now() -> str:
    """This instant in ISO 8601, UTC."""
    instant = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(instant)) + f".{int(instant * 1000) % 1000:03d}Z"


class Reports:
    """Numbered, durable lines. FileExistsError at its creation says that the attempt was begun by somebody else."""

    def __init__(self, directory: str, relief: Relief) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(f"{directory}/{rundir.REPORT_FILE}", flags, 0o600)
        self._directory = directory
        self._relief = relief
        self.last = 0

    def add(
        self,
        kind: str,
        *,
        process: Process | None = None,
        message_id: int | None = None,
        facts: dict[str, typing.Any] | None = None,
        relief: bool = True,
    ) -> None:
        """Writes the next record. OSError where the disk takes it not even after the reserve was freed, which is for `relief` alone."""
        report = Report(self.last + 1, kind, now(), process=process, message_id=message_id, facts=facts or {})
        try:
            self._append(report)
        except OSError as error:
            if error.errno != errno.ENOSPC or not relief or not self._relief.free():
                raise
            self._append(report)
        self.last += 1
        if self.last == 1:
            rundir.sync_directory(self._directory)

    def _append(self, report: Report) -> None:
        start = os.fstat(self._descriptor).st_size
        try:
            rundir.append_line(self._descriptor, report)
        except OSError:
            os.ftruncate(self._descriptor, start)  # half a line would swallow the next one
            raise


class Inbox:
    """The runner's letters, each taken once."""

    def __init__(self, directory: str) -> None:
        self._path = f"{directory}/{rundir.INBOX_FILE}"
        self._offset = 0

    def take(self) -> list[Letter]:
        """The letters that have come since the last call."""
        letters, self._offset = rundir.read_lines(self._path, Letter, self._offset)
        return letters
