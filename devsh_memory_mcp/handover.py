"""A session of `devsh-memory-mcp` whose work is done by a warm process: it gets stdin, stdout and stderr, and this process stays for

their sake: for the signals, the exit status and the life of the session. Over a unix socket:

    here → warm   a line of JSON {"likeness", "arguments", "environment", "directory"}
    warm → here   ready
    here → warm   a byte with three descriptors
    warm → here   ended CODE     the session is being closed

The connection's end is the session's, at either side. Every session pays for what is imported here: standard library, and little of it.
"""

import fcntl
import json
import os
import signal
import socket
import stat
import sys
import types
import zlib
from collections.abc import Mapping, Sequence

from devsh_memory_mcp.shim.rundir import ISOLATION_VARIABLE, RUN_MARKER, VERSION
from devsh_memory_mcp.shim.runtime import NotPrivate, clean_environment, root_path, runtime_directory

LOG_FILE = "mcp.log"
READY = b"ready\n"
_CLOSING_SECONDS = 1.5  # a client kills two seconds after it closed our stdin
_START_LOCK = "mcp.start.lock"
_ANSWERS_WITHIN = 5.0  # seconds; one that is stopped or too busy is done without
_STARTS_WITHIN = 15.0  # seconds
_LONGEST_LOG = 5_000_000  # bytes
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_NAMESPACES = ("mnt", "net", "pid", "user")
# What a warm process can serve; with anything else a session is served here. That of an agent in a sandbox is bounded as a process of its
# own (`shim.mcp_socket`): one that all shared each of them could exhaust.
_WITH_VALUE = ("--dir", "--agent-name", "--agent", "--orchestration-id", "--remote")
_ALONE = ("--use-env-jwt",)
_BOOT = "import sys; sys.path.insert(0, sys.argv.pop(1)); from devsh_memory_mcp.warm import main; sys.exit(main(sys.argv[1:]))"


def hand_over(arguments: Sequence[str], environment: Mapping[str, str], directory: str) -> int | None:
    """Has the session served by the warm process of its memory root, which is started where there is none.

    The exit code at its end; None where this process has to serve it itself, with nothing read and nothing written.
    """
    root = _root_of(arguments, environment, directory)
    if root is None or not all(map(_is_wire, (0, 1))):
        return None
    try:
        place = socket_path(root)
        connection = _connected(place) or (None if RUN_MARKER in environment else _started(root, place))
        if connection is None:
            return None
        with connection:
            request = {"likeness": likeness(), "arguments": list(arguments), "environment": dict(environment), "directory": directory}
            return _stay(connection) if _is_passed(connection, request) else None
    except (NotPrivate, OSError):
        return None


def socket_path(root: str) -> str:
    """Where a warm process of the memory root listens that is like this one; at most 104 bytes, as addresses are. NotPrivate, OSError."""
    status = os.stat(root)
    return f"{runtime_directory()}/mcp-{status.st_dev:x}-{status.st_ino:x}-{zlib.crc32(likeness().encode()):08x}.sock"


def likeness() -> str:
    """What a process has that cannot be handed over: two that are not alike in it do not serve for each other."""
    mask = os.umask(0o077)
    os.umask(mask)
    package = os.path.dirname(os.path.abspath(__file__))
    own = (VERSION, package, sys.executable, os.geteuid(), os.getegid(), sorted(os.getgroups()), oct(mask), *map(_namespace, _NAMESPACES))
    return " ".join(map(str, own))


def _namespace(name: str) -> str:
    try:
        return os.readlink(f"/proc/self/ns/{name}")
    except OSError:  # not Linux
        return ""


def _root_of(arguments: Sequence[str], environment: Mapping[str, str], directory: str) -> str | None:
    """The memory root of a session that a warm process could serve, as an absolute path; None where it is none such."""
    if environment.get(ISOLATION_VARIABLE):
        return None
    given, words = None, iter(arguments)
    for word in words:
        name, _, value = word.partition("=")
        if name in _WITH_VALUE:
            value = value or next(words, "")
            if not value or value.startswith("-"):
                return None
            given = value if name == "--dir" else given
        elif word not in _ALONE:
            return None
    root = os.path.join(directory, root_path(given, environment))
    return root if os.path.isdir(root) else None


def _is_wire(descriptor: int) -> bool:
    """Whether it can be read or written by another process as well as by this one; a terminal cannot."""
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _connected(place: str) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(_ANSWERS_WITHIN)
        connection.connect(place)
        return connection
    except OSError:
        connection.close()
        return None


def _started(root: str, place: str) -> socket.socket | None:
    """Starts a warm process and waits until it listens. Of several that find none, one starts it and the others wait."""
    lock = os.open(f"{root}/{_START_LOCK}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    before = signal.signal(signal.SIGALRM, _give_up)
    signal.setitimer(signal.ITIMER_REAL, _STARTS_WITHIN)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        connection = _connected(place)
        if connection is None and _launch(root):
            connection = _connected(place)
        return connection
    except TimeoutError:
        return None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        os.close(lock)


def _give_up(_number: int, _frame: types.FrameType | None) -> None:
    raise TimeoutError


def _launch(root: str) -> bool:
    """Whether one came up. It forks itself away at once, and writes a byte when it listens."""
    _rotate(f"{root}/{LOG_FILE}")
    ready, told = os.pipe()
    try:
        log = f"{root}/{LOG_FILE}"
        actions = [
            (os.POSIX_SPAWN_DUP2, told, 3),
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        words = [sys.executable, "-I", "-c", _BOOT, os.path.dirname(os.path.dirname(os.path.abspath(__file__))), root, "--ready-fd", "3"]
        pid = os.posix_spawn(words[0], words, clean_environment(os.environ), file_actions=actions, setsid=True)
        os.close(told)
        told = -1
        return os.waitpid(pid, 0)[1] == 0 and os.read(ready, 1) != b""
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


def _is_passed(connection: socket.socket, request: Mapping[str, object]) -> bool:
    """Whether the warm process has taken the session. Until it says that it is ready, nothing is given away."""
    try:
        connection.sendall(json.dumps(request).encode("ascii") + b"\n")
        if connection.recv(len(READY), socket.MSG_WAITALL) != READY:
            return False
    except OSError:  # it is leaving, stopped or overworked
        return False
    connection.settimeout(None)
    return socket.send_fds(connection, [b"\0"], [0, 1, 2]) == 1


def _stay(connection: socket.socket) -> int:
    """Until the session has ended; its exit code."""
    code: int | None = None

    def bound(with_code: int) -> None:
        nonlocal code
        if code is None:
            code = with_code
            signal.signal(signal.SIGALRM, lambda _number, _frame: os._exit(with_code))
            signal.setitimer(signal.ITIMER_REAL, _CLOSING_SECONDS)

    def pass_on(number: int, _frame: types.FrameType | None) -> None:
        bound(128 + number)
        _shut(connection)

    for number in _SIGNALS:
        signal.signal(number, pass_on)
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for descriptor in (0, 1):
        os.dup2(nothing, descriptor)  # the client sees the end when the warm process has closed its own
    said = b""
    while content := _received(connection):
        said += content
        if said.endswith(b"\n"):
            bound(int(said.split()[-1]))
    if code is None:
        os.write(2, b"devsh-memory-mcp: the process that served this session is gone; start it again\n")
    return 1 if code is None else code


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_WR)
    except OSError:  # it has hung up already
        return


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(64)
    except OSError:  # a reset is an end like any other
        return b""
