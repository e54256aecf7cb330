"""The runner's control socket as its callers see it: where it is, how to ring, and how to make sure that a runner lives.

A doorbell and a pulse, never data: lines tell the other side to read its files, an end of file that the peer has died.
Standard library only and synchronous; shims call it directly, faces from a thread.

    client → runner   {"hello": "shim"|"face", "format", "version", "taskRunId"?, "attempt"?}, answered by {"pid", "format", "version"}
    client → runner   ring <orchestrationId>  the journal has grown (face; answered by heard <orchestrationId>), my report has grown (shim)
    client → runner   follow <orchestrationId>  ring me when its journal has grown (face)
    client → runner   lend <JSON>             credentials of the caller, by variable; kept in memory alone (face)
    client → runner   leave                   make way for who mends the files; the connection ends with it (face)
    client → runner   ping                    answered by pong
    runner → client   ring <orchestrationId>  read the journal (face), read your inbox (shim)
"""

import errno
import fcntl
import hashlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time

from devsh_memory_mcp.shim import census
from devsh_memory_mcp.shim.rundir import RUN_MARKER, RUN_ROOT
from devsh_memory_mcp.shim.runtime import NotPrivate, clean_environment, runtime_directory

FORMAT = 1
ANSWER_WITHIN = 10.0  # seconds; a runner silent for longer is stopped or wedged, and is replaced
START_WITHIN = 10.0
RUNNER_LOCK_FILE = "runner.lock"  # held by the runner of a root, with its pid in it
_START_LOCK = "runner.start.lock"
_ENDS_WITHIN = 1.0  # seconds
_LONGEST_LOG = 5_000_000  # bytes


class NoRunner(Exception):
    """No runner could be started; the message says why."""


def socket_path(root: str) -> str:
    """The control socket of the memory root; short, since an address is at most 104 bytes, whatever the root's path."""
    return f"{_name(root)}.sock"


def api_path(root: str) -> str:
    """The socket beside it at which heads in sandboxes, led there by their shims, reach the API."""
    return f"{_name(root)}.api"


def _name(root: str) -> str:
    status = os.stat(root)
    try:
        directory = runtime_directory()
    except NotPrivate as error:
        raise NoRunner(str(error)) from None
    name = hashlib.sha256(f"{status.st_dev}:{status.st_ino}".encode()).hexdigest()[:16]
    return f"{directory}/{name}"


def ensure_runner(root: str, command: tuple[str, ...], hello: dict[str, object], patience: float = ANSWER_WITHIN) -> socket.socket:
    """A connection to a living runner of `root` that has answered `hello`; starts one with `command` where there is none.

    One that is silent for `patience` seconds is ended. Blocking, at most half a minute. NoRunner where it cannot be had.
    Inside an agent's tree none is started, since it would be ended with the agent: the agent's shim sees to one.
    """
    path, is_inside = socket_path(root), RUN_MARKER in os.environ
    until = time.monotonic() + (START_WITHIN if is_inside else 3 * START_WITHIN)
    while time.monotonic() < until:
        connection = _connect(path, patience)
        if connection is not None and _greet(connection, hello):
            return connection
        if is_inside:
            _demand_own(root, connection)
        if connection is not None:
            _end_silent(connection)
        if is_inside:
            time.sleep(0.02)
        else:
            _start_one(root, command)
    raise NoRunner(f"the runner of {root} does not answer; its log is {root}/runner.log")


def ask_to_leave(root: str, patience: float = ANSWER_WITHIN) -> bool:
    """Asks the runner of `root` to leave; whether it was there, understood and closed its door within `patience` seconds. NoRunner."""
    connection = _connect(socket_path(root), patience)
    if connection is None:
        return False
    with connection:
        try:
            if not _greet(connection, {"hello": "face"}):
                return False
            connection.sendall(b"leave\n")
            return connection.recv(1) == b""
        except TimeoutError:
            return False
        except ConnectionError:
            return True


def _demand_own(root: str, connection: socket.socket | None) -> None:
    """NoRunner where `root` is another one than that of the agent around us, whose shim would not see to a runner of it."""
    own = os.environ.get(RUN_ROOT, "")
    if os.path.isdir(own) and os.path.samefile(root, own):
        return
    if connection is not None:
        connection.close()
    raise NoRunner(
        f"no runner of {root} answers, and one started from inside an agent would end with that agent; "
        f"use the agent's own memory root, {own or 'which is not known'}, or start one from outside"
    )


def _connect(path: str, patience: float) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(patience)
        connection.connect(path)
        return connection
    except (FileNotFoundError, ConnectionRefusedError, TimeoutError):
        connection.close()
        return None


def _greet(connection: socket.socket, hello: dict[str, object]) -> bool:
    """Says hello; False where nothing comes back in time (a stopped runner) or the runner has just gone."""
    try:
        connection.sendall(json.dumps({"format": FORMAT, **hello}).encode() + b"\n")
        answer = connection.makefile("rb", buffering=0).readline()
    except (TimeoutError, BrokenPipeError, ConnectionResetError):
        return False
    return answer.startswith(b"{")


def _end_silent(connection: socket.socket) -> None:
    """Locks are never stolen, holders are ended: the process at the other end is killed, by a handle that cannot mean another."""
    try:
        pid = peer_pid(connection)
        if pid and _still_silent(connection):
            kill_process(pid)
    finally:
        connection.close()


def _still_silent(connection: socket.socket) -> bool:
    """Whether the peer is there and mute, rather than gone."""
    connection.settimeout(0)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def peer_pid(connection: socket.socket) -> int | None:
    """The pid of the process that listens at the other end."""
    if hasattr(socket, "SO_PEERCRED"):
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", credentials)[0]) or None
    if sys.platform == "darwin":
        return int(struct.unpack("i", connection.getsockopt(0, 0x002, 4))[0]) or None  # SOL_LOCAL, LOCAL_PEERPID
    return None


def kill_process(pid: int) -> None:
    """SIGKILL, through a pidfd where there are such; a process that has gone already is fine."""
    try:
        if hasattr(os, "pidfd_open"):
            handle = os.pidfd_open(pid)
            try:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            finally:
                os.close(handle)
        else:
            os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _start_one(root: str, command: tuple[str, ...]) -> None:
    """Starts a runner and waits until it listens. Starters meet at a lock; who loses waits for the winner instead."""
    lock = os.open(f"{root}/{_START_LOCK}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if _lock(lock, START_WITHIN):
            return  # somebody else has started one meanwhile
        _launch(root, command)
    finally:
        os.close(lock)


def _lock(descriptor: int, seconds: float) -> bool:
    """Takes the start lock; True where it had to be waited for. NoRunner after `seconds`."""
    until, waited = time.monotonic() + seconds, False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return waited
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
        if time.monotonic() > until:
            raise NoRunner("another process has been starting a runner for too long")
        waited = True
        time.sleep(0.01)


def _launch(root: str, command: tuple[str, ...]) -> None:
    """The command forks itself away at once; it writes a byte to `--ready-fd` when it listens, or ends."""
    ready, told = os.pipe()
    try:
        _rotate(f"{root}/runner.log")
        log = os.open(f"{root}/runner.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            process = subprocess.Popen(
                [*command, "--ready-fd", str(told)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", pass_fds=[told],
                env=clean_environment(os.environ), start_new_session=True, umask=0o077,
            )  # fmt: skip
        except OSError as error:
            raise NoRunner(f"{command[0]} cannot be started: {error.strerror}") from error
        finally:
            os.close(log)
        os.close(told)
        told = -1
        if process.wait(START_WITHIN):
            raise NoRunner(f"{command[0]} failed with {process.returncode}; the log is {root}/runner.log")
        if not _is_up(ready):
            _end_stopped(root)
    except subprocess.TimeoutExpired as error:
        raise NoRunner(f"a runner does not come up; its log is {root}/runner.log") from error
    finally:
        os.close(ready)
        if told >= 0:
            os.close(told)


def _rotate(path: str) -> None:
    """A log that has grown long becomes the one before; starters come one at a time."""
    try:
        if os.stat(path).st_size > _LONGEST_LOG:
            os.replace(path, f"{path}.1")
    except OSError:
        return  # there is none, or it cannot be moved: then it goes on growing


def _is_up(descriptor: int) -> bool:
    """Whether the runner listens; False where it has ended, since another one was there. The caller tries to connect again."""
    if select.select([descriptor], [], [], START_WITHIN)[0] and not os.read(descriptor, 1):
        time.sleep(0.05)  # not at full speed from one that cannot stay to the next
        return False
    return True


def _end_stopped(root: str) -> None:
    """A runner that was stopped when it did not listen yet, or no more, keeps the root's lock and answers nobody: it is ended."""
    try:
        with open(f"{root}/{RUNNER_LOCK_FILE}", "rb") as file:
            pid = int(file.read(20))
    except (OSError, ValueError):
        return
    holder = census.identify(pid)
    if holder is not None and census.is_stopped(holder) and root in census.command_line(pid):
        census.end(holder, _ENDS_WITHIN)


def main(arguments: list[str]) -> int:
    """`ROOT HELLO COMMAND…`: makes sure that a runner of ROOT lives, for a caller that must not wait itself."""
    root, hello, *command = arguments
    try:
        ensure_runner(root, tuple(command), json.loads(hello)).close()
    except (NoRunner, OSError) as error:
        os.write(2, f"{error}\n".encode())
        return 1
    return 0
