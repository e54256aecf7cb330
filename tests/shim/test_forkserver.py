"""Shims that were forked and not executed: they hold the same promises."""

import collections.abc
import fcntl
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys

import pytest

from devsh_memory_mcp.shim import rundir
from tests.doubles.bell import PATIENCE
from tests.doubles.processes import await_end
from tests.shim.stage import PACKAGES, SETSID_AND_DOUBLE_FORK, Repository, Stage, outcome_of, reports_of

BOOT = "import sys; sys.path.insert(0, sys.argv.pop(1)); from devsh_memory_mcp.shim.forkserver import main; sys.exit(main(sys.argv[1:]))"


class Server:
    """A fork server, asked as a runner asks it."""

    def __init__(self) -> None:
        self._connection, theirs = socket.socketpair()
        self._connection.settimeout(PATIENCE)
        argv = [os.path.realpath(sys.executable), "-I", "-S", "-c", BOOT, PACKAGES, "root", "--socket-fd", str(theirs.fileno())]
        with theirs:
            self.process = subprocess.Popen(argv, pass_fds=[theirs.fileno()], start_new_session=True, umask=0o077, stderr=subprocess.PIPE)

    def start(self, directory: pathlib.Path, secrets: dict[str, str] | None = None) -> None:
        lock = os.open(directory / rundir.LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        log = os.open(directory / rundir.SHIM_LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        credentials, writing = os.pipe()
        os.write(writing, json.dumps(secrets or {}).encode())
        os.close(writing)
        socket.send_fds(self._connection, [os.fsencode(directory) + b"\n"], [lock, log, credentials])
        os.close(credentials)
        os.close(lock)
        os.close(log)
        self.await_word(f"started {directory}")

    def await_word(self, line: str) -> None:
        assert self._connection.recv(4096) == line.encode() + b"\n"

    def peek(self) -> bytes:
        return self._connection.recv(4096, socket.MSG_PEEK)

    def close(self) -> str:
        self._connection.close()
        _, told = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0
        return told.decode()


@pytest.fixture
def server() -> collections.abc.Iterator[Server]:
    server = Server()
    yield server
    server.close()


def _pid_of(directory: pathlib.Path, kind: str) -> int:
    return next(report.process.pid for report in reports_of(directory) if report.type == kind and report.process)


def test_a_killed_guard_takes_its_tree_along(stage: Stage, server: Server, repository: Repository) -> None:
    tether = stage.tether()
    script = f"exec 9>{tether.path}; echo new >made; {SETSID_AND_DOUBLE_FORK} echo d >&9; sleep 1000"
    directory = stage.directory(script, checkout=repository.checkout())
    server.start(directory)
    tether.await_words(4)
    os.kill(_pid_of(directory, "guard"), signal.SIGKILL)
    tether.await_end()
    server.await_word(f"ended {directory}")
    outcome = outcome_of(directory)
    assert outcome.cause == "lost"
    assert repository.files(outcome.salvage_ref or "")["made"] == "new"


def test_when_shim_and_guard_are_killed_recovery_finds_the_tree_and_nothing_of_the_server(stage: Stage, server: Server) -> None:
    tether = stage.tether()
    directory = stage.directory(f"exec 9>{tether.path}; (setsid sh -c 'echo b >&9; sleep 1000 & wait' &); echo a >&9; sleep 1000")
    server.start(directory)
    tether.await_words(2)
    shim, guard = _pid_of(directory, "started"), _pid_of(directory, "guard")
    os.kill(shim, signal.SIGSTOP)  # or it would end the orphans itself
    os.kill(guard, signal.SIGKILL)
    os.kill(shim, signal.SIGKILL)
    server.await_word(f"ended {directory}")
    assert await_end(guard, PATIENCE)  # it has the lock until then
    assert stage.start(directory, "--recover").end().cause == "lost"
    tether.await_end()
    assert server.process.poll() is None


def test_a_runner_that_such_a_shim_has_started_is_outside_its_tree(stage: Stage, server: Server) -> None:
    runner, agent = stage.tether(), stage.tether()
    start = f"mkdir {stage.root}/once || exit 1; (setsid sh -c 'echo $$ >&8; exec sleep 1000' 8>{runner.path} &); exit 1"
    directory = stage.directory(f"exec 9>{agent.path}; echo a >&9; sleep 1000", runner_command=("sh", "-c", start))
    stage.bell.hide()
    server.start(directory)
    agent.await_words(1)
    pid = int(runner.await_words(1)[0])
    os.kill(_pid_of(directory, "guard"), signal.SIGKILL)
    agent.await_end()
    server.await_word(f"ended {directory}")
    os.kill(pid, signal.SIGKILL)  # it is still there to be ended
    runner.await_end()


def test_a_credential_is_in_the_agents_environment_and_in_no_file(stage: Stage, server: Server) -> None:
    directory = stage.directory('test "$SOME_KEY" = sesame')
    server.start(directory, {"SOME_KEY": "sesame"})
    server.await_word(f"ended {directory}")
    assert outcome_of(directory).succeeded
    files = [path for path in directory.rglob("*") if path.is_file() and path.name != "prompt"]
    assert not [path for path in files if b"=sesame" in path.read_bytes() or b'"sesame"' in path.read_bytes()]
    assert "run.json" in [path.name for path in files]


def test_a_runner_that_was_killed_with_something_unread_is_a_line_in_its_log_and_no_traceback(tmp_path: pathlib.Path) -> None:
    server = Server()
    server.start(tmp_path)  # where no run.json is, so that the shim ends at once
    assert server.peek() == f"ended {tmp_path}\n".encode()
    (line,) = server.close().splitlines()
    assert line.endswith("the fork server follows its runner: Connection reset by peer")
