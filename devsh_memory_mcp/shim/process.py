"""The one door for the shim's own child processes: each is logged with its duration, bounded in time, and ended as a group.

While one runs the loop goes on, so that the agent is supervised and a cancel is heard.
"""

import contextlib
import os
import signal
import time
import typing

from devsh_memory_mcp.shim.address import without_secrets
from devsh_memory_mcp.shim.loop import Loop
from devsh_memory_mcp.shim.wall import find_program

_LIMIT = 32 * 1024 * 1024
_DRAIN_SECONDS = 2.0
_LEAVES_WITHIN = 1.0  # seconds, when it was asked to end


class Finished(typing.NamedTuple):
    """How a process ended and what it printed. A negative code is a signal."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        """What it printed, without the last newline."""
        return self.stdout.decode(errors="replace").rstrip("\n")


class CommandFailed(Exception):
    """A process of ours has failed; the message names it and ends with what it said."""


class Interrupted(Exception):
    """The attempt is to end, so what was being prepared is not needed any more."""


class Door:
    """Runs processes one after the other."""

    def __init__(self, loop: Loop, log: int) -> None:
        self._loop = loop
        self._log = log
        self.is_unwanted: typing.Callable[[], bool] = lambda: False  # whether what runs should be given up

    def run(self, argv: list[str], environment: dict[str, str], *, seconds: float = 120.0) -> Finished:
        """Runs to the end. CommandFailed where it could not start or took too long, Interrupted where it became unwanted."""
        began = time.monotonic()
        run = _Running(self._loop, argv, environment)
        done = self._loop.wait(lambda: run.has_ended or self.is_unwanted(), began + seconds)
        by_itself = run.has_ended
        if not by_itself:
            run.end(signal.SIGTERM)  # a git takes its locks away then
            self._loop.wait(lambda: run.has_ended, time.monotonic() + _LEAVES_WITHIN)
            run.end(signal.SIGKILL)  # whoever of its group has not heard
            self._loop.wait(lambda: run.has_ended)
        # Whoever it left behind, a shared connection for example, may hold its pipes open for ever.
        self._loop.wait(lambda: run.is_drained, time.monotonic() + _DRAIN_SECONDS)
        finished = run.finish()
        self._note(argv, finished, time.monotonic() - began)
        if not done:
            raise CommandFailed(f"`{_shown(argv)}` took longer than {seconds:.0f} s")
        if not by_itself:
            raise Interrupted
        return finished

    def check(self, argv: list[str], environment: dict[str, str], *, seconds: float = 120.0) -> Finished:
        """As `run`; CommandFailed where the exit code is not 0 either."""
        finished = self.run(argv, environment, seconds=seconds)
        if finished.code:
            said = finished.stderr.strip() or finished.text
            raise CommandFailed(f"`{_shown(argv)}` failed with {finished.code}: {without_secrets(said[-2000:])}")
        return finished

    def pause(self, seconds: float) -> None:
        """Waits, or until the attempt is to end."""
        self._loop.wait(self.is_unwanted, time.monotonic() + seconds)

    def note(self, text: str) -> None:
        """A line in the log."""
        try:
            os.write(self._log, f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {text}\n".encode(errors="replace"))
        except OSError:
            return  # the disk is full, which the attempt's end will say

    def _note(self, argv: list[str], finished: Finished, seconds: float) -> None:
        said = f": {without_secrets(finished.stderr.strip()[-500:])}" if finished.stderr.strip() else ""
        self.note(f"[{finished.code}] {seconds * 1000:.1f} ms {_shown(argv)}{said}")


class _Running:
    def __init__(self, loop: Loop, argv: list[str], environment: dict[str, str]) -> None:
        self._loop = loop
        self._content: dict[int, bytearray] = {}
        self._open: set[int] = set()
        self._status: int | None = None
        self._out, out = self._pipe()
        self._error, error = self._pipe()
        try:
            self.pid = os.posix_spawn(
                find_program(argv[0], environment), argv, environment,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, out, 1),
                    (os.POSIX_SPAWN_DUP2, error, 2),
                ],
                setpgroup=0, setsigmask=(), setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
            )  # fmt: skip
        except OSError as failure:
            self.finish()
            raise CommandFailed(f"{argv[0]} cannot be started: {failure.strerror}") from failure
        finally:
            os.close(out)
            os.close(error)
        loop.child(self.pid, self._ended)

    def _pipe(self) -> tuple[int, int]:
        reading, writing = os.pipe()
        self._content[reading] = bytearray()
        self._open.add(reading)
        self._loop.read(reading, lambda: self._take(reading))
        return reading, writing

    @property
    def has_ended(self) -> bool:
        return self._status is not None

    @property
    def is_drained(self) -> bool:
        return not self._open

    def _take(self, reading: int) -> None:
        content = os.read(reading, 65536)
        if not content:
            self._open.discard(reading)
            self._loop.close(reading)
        elif len(self._content[reading]) < _LIMIT:
            self._content[reading] += content

    def _ended(self, status: int) -> None:
        self._status = status

    def end(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def finish(self) -> Finished:
        for descriptor in self._open:
            self._loop.close(descriptor)
        code = 0 if self._status is None else os.waitstatus_to_exitcode(self._status)
        return Finished(code, bytes(self._content[self._out]), self._content[self._error].decode(errors="replace"))


def _shown(argv: list[str]) -> str:
    """The command for people, without the password that a URL may hold."""
    return without_secrets(" ".join(argv))[:1000]
