"""Shims as processes of this machine.

The run's lock is taken here and handed to the shim as an open descriptor, so that there is no instant at which a started attempt's
lock is free. Run locks are plain `flock`; our copy is closed, never unlocked, since unlocking would release the shim's as well.
"""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import anyio
from anyio import CancelScope, CapacityLimiter, to_thread
from anyio.abc import TaskGroup

import devsh_memory_mcp
from devsh_memory_mcp.agents.adapter import Verdict
from devsh_memory_mcp.backends.forkserver import ForkServer
from devsh_memory_mcp.ports import Start
from devsh_memory_mcp.shim import census, rundir, tree
from devsh_memory_mcp.shim.ending import Ended, Facts, outcome_of
from devsh_memory_mcp.shim.rundir import Letter, Outcome, Process, Report, Run
from devsh_memory_mcp.shim.runtime import clean_environment
from devsh_memory_mcp.shim.saving import Saved

_BOOT = "import sys; sys.path.insert(0, sys.argv.pop(1)); from devsh_memory_mcp.shim.__main__ import main; sys.exit(main(sys.argv[1:]))"
_FAILURES, _DEATHS = 3, 10  # recoveries that give up by themselves, and that are killed, before an attempt is given up
_NEW_LEVELS = 3  # names that may be new: `runs`, the task run's, the attempt's
_UNMISLED = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # an agent without a sandbox can put links and pipes here
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | _UNMISLED
_ENDS_WITHIN = 5.0  # seconds
_RECOVERS_WITHIN = 900.0
_THREADS = 200  # a thread waits for each attempt that is about to end


class LocalBackend:
    """Starts, ends and recovers shims. Blocking calls run in threads of its own limit.

    `ended` is called with the directory of each shim that has ended; `lock_goes` is how many seconds a lock may outlive its shim.
    """

    def __init__(self, root: Path, lock_goes: float, tasks: TaskGroup, ended: Callable[[str], None]) -> None:
        self._root = root
        self._lock_goes = lock_goes
        self._tasks = tasks
        self._server = ForkServer(root, tasks, ended)
        self._limiter = CapacityLimiter(_THREADS)

    async def start(self, directory: str, run: Run, secrets: Mapping[str, str]) -> Start:
        """See ports.Backend."""
        start, descriptors = await to_thread.run_sync(_prepare, directory, run, limiter=self._limiter)
        try:
            if not descriptors:
                return start
            return Start.STARTED if await self._server.start(directory, descriptors, secrets) else Start.ALIVE
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    async def forestall(self, directory: str) -> bool:
        """See ports.Backend."""
        return await to_thread.run_sync(_forestall, directory, limiter=self._limiter)

    async def finish(self, directory: str, run: Run, *, recover_unbegun: bool) -> Outcome | None:
        """See ports.Backend."""
        scope = anyio.CancelScope()
        self._tasks.start_soon(self._hurry, directory, scope)
        try:
            # Abandoned where the runner leaves: a lock may be waited for as long as a shim lives.
            finish = partial(self._finish, directory, run, recover_unbegun=recover_unbegun)
            return await to_thread.run_sync(finish, limiter=self._limiter, abandon_on_cancel=True)
        finally:
            scope.cancel()

    async def _hurry(self, directory: str, scope: CancelScope) -> None:
        """A lock that outlives its shim is held by a guard that is stopped, and is ended with its tree, or by what was to be the agent.

        That one holds it until it executes the agent; a guard that was killed when it had stopped it, to kill it, leaves it so.
        It may be held by a runner of before as well that was stopped over the launch, or by its fork server, whether or not the shim
        had begun.
        """
        lock = f"{directory}/{rundir.LOCK_FILE}"
        with scope:
            while True:
                await anyio.sleep(self._lock_goes)
                try:
                    found = await self.reports(directory, 0)
                except OSError:  # too many open files, for example: the next look may see
                    continue
                shim = next((report.process for report in found if report.type == "started"), None)
                guards = [report.process for report in found if report.type == "guard" and report.process is not None]
                if shim is None or not census.is_alive(shim):
                    await to_thread.run_sync(_end_starters, lock, str(self._root), limiter=self._limiter)
                    await to_thread.run_sync(_end_guards, lock, guards, limiter=self._limiter)

    async def send(self, directory: str, letter: Letter) -> None:
        """See ports.Backend."""
        await to_thread.run_sync(_send, directory, letter, limiter=self._limiter)

    async def reports(self, directory: str, after: int) -> list[Report]:
        """See ports.Backend."""
        path = f"{directory}/{rundir.REPORT_FILE}"
        found, _ = await to_thread.run_sync(rundir.read_lines, path, Report, limiter=self._limiter)
        return [report for report in found if report.n > after]

    async def kill(self, directory: str) -> None:
        """See ports.Backend."""
        started = next((report.process for report in await self.reports(directory, 0) if report.type == "started"), None)
        if started is not None:
            await to_thread.run_sync(census.end, started, _ENDS_WITHIN, limiter=self._limiter)

    async def is_saving(self, directory: str) -> bool:
        """See ports.Backend."""
        found = await self.reports(directory, 0)
        guards = [report.process for report in found if report.type == "guard"]
        shim = next((report.process for report in found if report.type == "started"), None)
        if shim is not None and census.is_stopped(shim):
            return False  # and would not come to an end
        return bool(guards) and not any(guard is not None and census.is_alive(guard) for guard in guards)

    async def has_rebooted(self, directory: str) -> bool:
        """See ports.Backend."""
        started = next((report.process for report in await self.reports(directory, 0) if report.process is not None), None)
        return started is not None and started.boot_id != census.boot_id()

    def _finish(self, directory: str, run: Run, *, recover_unbegun: bool) -> Outcome | None:
        """The lock first, the outcome second: an outcome is in place before its lock can go."""
        failures = deaths = 0
        while True:
            lock = _open_lock(directory)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                rundir.sweep(directory)
                outcome = _outcome(directory, run)
                if outcome is not None or not (recover_unbegun or os.path.exists(f"{directory}/{rundir.REPORT_FILE}")):
                    return outcome
                if failures == _FAILURES or deaths == _DEATHS:
                    return _lost(directory, run)
                recovery = _recovery(directory, lock)
            finally:
                os.close(lock)
            if _ended(recovery) < 0:
                deaths += 1
            else:
                failures += 1
                time.sleep(2 ** (failures - 1))  # for what passes, such as too many open files


def _end_guards(lock: str, guards: list[Process]) -> None:
    for guard in guards:
        census.end(guard, _ENDS_WITHIN)
    for left in census.holders(lock, {guard.pid for guard in guards}):
        tree.send(left.pid, signal.SIGKILL)


def _end_starters(lock: str, root: str) -> None:
    for left in census.holders(lock):
        if left.state == "T" and root in census.command_line(left.pid):
            tree.send(left.pid, signal.SIGKILL)


def _ended(recovery: subprocess.Popen[bytes]) -> int:
    """Its exit code; one that takes too long, being stopped for example, is ended."""
    try:
        return recovery.wait(_RECOVERS_WITHIN)
    except subprocess.TimeoutExpired:
        recovery.kill()
        return recovery.wait()


def _prepare(directory: str, run: Run) -> tuple[Start, tuple[int, ...]]:
    """The lock, held, and the log of an attempt that may begin; no descriptors where it has begun before."""
    _make_directory(directory, run)
    lock = _open_lock(directory)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.exists(f"{directory}/{rundir.OUTCOME_FILE}") or os.path.exists(f"{directory}/{rundir.REPORT_FILE}"):
            os.close(lock)
            return Start.OVER, ()
        return Start.STARTED, (lock, _open_log(directory))
    except BlockingIOError:
        os.close(lock)
        return Start.ALIVE, ()
    except OSError:
        os.close(lock)
        raise


def _make_directory(directory: str, run: Run) -> None:
    """The run directory with run.json in it, durable; repeatable, and an existing run.json stays as it is."""
    if os.path.exists(f"{directory}/{rundir.RUN_FILE}"):
        rundir.sync_directory(directory)  # who put it there may have been killed before it had done so
    else:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        rundir.write_json(f"{directory}/{rundir.RUN_FILE}", run)
    above = directory
    for _ in range(_NEW_LEVELS):
        above = os.path.dirname(above)
        rundir.sync_directory(above)


def _forestall(directory: str) -> bool:
    """A shim begins by making the report, which must not be there."""
    try:
        os.close(os.open(f"{directory}/{rundir.REPORT_FILE}", _APPEND | os.O_EXCL, 0o600))
    except FileExistsError:
        return False
    except (FileNotFoundError, NotADirectoryError):
        return True  # nor can a shim make it
    return True


def _open_lock(directory: str) -> int:
    return os.open(f"{directory}/{rundir.LOCK_FILE}", os.O_RDWR | os.O_CREAT | _UNMISLED, 0o600)


def _open_log(directory: str) -> int:
    return os.open(f"{directory}/{rundir.SHIM_LOG_FILE}", _APPEND, 0o600)


def _recovery(directory: str, lock: int) -> subprocess.Popen[bytes]:
    """A shim of its own for what a dead one left; isolated and without `site`, since it needs the standard library alone."""
    package = str(Path(devsh_memory_mcp.__file__).parent.parent)
    log = _open_log(directory)
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _BOOT, package, directory, "--lock-fd", str(lock), "--recover"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory, pass_fds=[lock],
            env=clean_environment(os.environ), start_new_session=True, umask=0o077,
        )  # fmt: skip
    finally:
        os.close(log)


def _outcome(directory: str, run: Run) -> Outcome | None:
    try:
        outcome = rundir.read_json(f"{directory}/{rundir.OUTCOME_FILE}", Outcome)
    except ValueError:
        return None
    return outcome if outcome and (outcome.task_run_id, outcome.attempt) == (run.task_run_id, run.attempt) else None


def _lost(directory: str, run: Run) -> Outcome:
    """Of an attempt that could not be recovered. What its agent had come to is told, but its work is where it was."""
    reports, _ = rundir.read_lines(f"{directory}/{rundir.REPORT_FILE}", Report)
    told = Ended.from_reports(reports) or Ended("lost", 0, None, None, Verdict(succeeded=False, result=None))
    message = f"The attempt was lost and could not be recovered; its checkout is kept: {directory}/{rundir.WORKSPACE_DIRECTORY}"
    started_at = reports[0].at if reports else datetime.now(UTC).isoformat()
    last = max((report.n for report in reports), default=0)
    facts = Facts("lost", started_at, told.duration_ms, last, told.exit_code, told.signal)
    return outcome_of(run, facts, told.verdict.despite(message), None, Saved(unsaved=True))


def _send(directory: str, letter: Letter) -> None:
    path = f"{directory}/{rundir.INBOX_FILE}"
    letters, end = rundir.read_lines(path, Letter)
    if any(known.id == letter.id and known.type == letter.type for known in letters):
        return
    descriptor = os.open(path, _APPEND, 0o600)
    try:
        if end < os.fstat(descriptor).st_size <= rundir.MOST_BYTES:
            os.ftruncate(descriptor, end)  # half a line, of a full disk or a power loss, would swallow this one; nobody has read it
        rundir.append_line(descriptor, letter)
    finally:
        os.close(descriptor)
