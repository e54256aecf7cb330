"""`python -m devsh_memory_mcp.shim RUN_DIR [--recover] [--lock-fd N]`: one attempt, or the recovery of a dead one.

Exit codes: 0 the outcome is written · 2 called wrongly, or run.json cannot be used · 3 the attempt was begun before · 4 the lock is
somebody else's · 5 there is no outcome, and recovery has to be tried (again).
"""

import fcntl
import os
import sys
import types
import typing

from devsh_memory_mcp.shim import kernel, recovery, rundir
from devsh_memory_mcp.shim.attempt import Attempt
from devsh_memory_mcp.shim.enclosure import Walls
from devsh_memory_mcp.shim.loop import Loop
from devsh_memory_mcp.shim.place import Place
from devsh_memory_mcp.shim.process import Door
from devsh_memory_mcp.shim.rundir import Run

DONE, USAGE, BEGUN, LOCKED, UNFINISHED = 0, 2, 3, 4, 5


class Refusal(Exception):
    """The run cannot be worked on; `code` is the exit code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def main(arguments: list[str], secrets: typing.Mapping[str, str] = types.MappingProxyType({}), walls: Walls | None = None) -> int:
    """The whole process; its exit code. `secrets` are variables that the agent gets beside those in run.json.

    `walls` are what was seen to work here; without them each attempt tries for itself.
    """
    try:
        directory, is_recovery, inherited = _parse(arguments)
        lock = _hold(f"{directory}/{rundir.LOCK_FILE}", inherited)
        if os.path.exists(f"{directory}/{rundir.OUTCOME_FILE}"):
            return DONE if is_recovery else BEGUN
        run = _load(directory)
        return _work(run, _place(directory, lock, secrets, walls), is_recovery=is_recovery)
    except Refusal as refusal:
        os.write(2, f"{refusal}\n".encode(errors="replace"))
        return refusal.code


def _place(directory: str, lock: int, secrets: typing.Mapping[str, str], walls: Walls | None) -> Place:
    loop = Loop()
    log = os.open(f"{directory}/{rundir.SHIM_LOG_FILE}", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    return Place(directory, lock, loop, Door(loop, log), rundir.VERSION, secrets, walls)


def _work(run: Run, place: Place, *, is_recovery: bool) -> int:
    os.umask(0o022)  # what git and the agent make is the user's; the run directory itself is private
    kernel.adopt_orphans()
    try:
        done = recovery.recover(run, place) if is_recovery else Attempt(run, place).conduct()
    except FileExistsError as error:
        raise Refusal(BEGUN, f"{error.filename} exists: the attempt was begun before") from error
    except recovery.StillAlive as error:
        raise Refusal(UNFINISHED, str(error)) from error
    return DONE if done else UNFINISHED


def _parse(arguments: list[str]) -> tuple[str, bool, int | None]:
    directory, is_recovery, lock = "", False, None
    rest = iter(arguments)
    for argument in rest:
        if argument == "--recover":
            is_recovery = True
        elif argument == "--lock-fd":
            word = next(rest, "")
            if not word.isdecimal():
                raise Refusal(USAGE, "--lock-fd takes the number of a descriptor")
            lock = int(word)
        elif argument.startswith("-") or directory:
            raise Refusal(USAGE, f"{argument!r} is not understood; usage: RUN_DIR [--recover] [--lock-fd N]")
        else:
            directory = os.path.abspath(argument)
    if not directory:
        raise Refusal(USAGE, "usage: RUN_DIR [--recover] [--lock-fd N]")
    return directory, is_recovery, lock


def _hold(path: str, inherited: int | None) -> int:
    """The run's lock: handed over by who started us, so that there is no instant without a holder; else taken now."""
    try:
        if inherited is None:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            lock = inherited
            fcntl.fcntl(lock, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        ours, there = os.fstat(lock), os.stat(path)
    except BlockingIOError as error:
        raise Refusal(LOCKED, f"{path} is held by another process") from error
    except OSError as error:
        raise Refusal(LOCKED, f"{path}: {error.strerror}") from error
    if (ours.st_dev, ours.st_ino) != (there.st_dev, there.st_ino):
        raise Refusal(LOCKED, f"{path} is not the file that was locked")
    return lock


def _load(directory: str) -> Run:
    try:
        run = rundir.read_json(f"{directory}/{rundir.RUN_FILE}", Run)
    except (OSError, ValueError) as error:
        raise Refusal(USAGE, f"{directory}/{rundir.RUN_FILE} cannot be used: {error}") from error
    if run is None or run.format > rundir.FORMAT:
        raise Refusal(USAGE, f"{directory}/{rundir.RUN_FILE} is missing or of a newer release")
    return run


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
