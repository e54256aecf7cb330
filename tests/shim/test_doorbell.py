"""Making sure of a runner: from a shim that lost its own, and from inside an agent, whose tree no runner may be part of."""

import collections.abc
import os
import pathlib
import shlex
import signal
import sys
import time

import pytest

from devsh_memory_mcp.shim import rundir
from devsh_memory_mcp.shim.doorbell import NoRunner, ensure_runner, socket_path
from devsh_memory_mcp.shim.loop import Callback, Loop, Timer
from devsh_memory_mcp.shim.pulse import Pulse
from devsh_memory_mcp.shim.rundir import Run
from tests.doubles.bell import PATIENCE
from tests.shim.stage import PACKAGES, Stage

RUNNER = """
import os, socket, sys
if os.fork():
    os._exit(0)
os.setsid()
path, tether, _, ready = sys.argv[1:]
tether = os.open(tether, os.O_WRONLY)
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
os.write(tether, b"%d\\n" % os.getpid())
os.write(int(ready), b"x")
connections = []
while True:
    connection, _ = listener.accept()
    if connection.recv(4096):
        connection.sendall(b"{}\\n")
    connections.append(connection)
"""
FACE = "import sys; sys.path.insert(0, sys.argv[1]); from devsh_memory_mcp.shim.doorbell import main; sys.exit(main(sys.argv[2:]))"


@pytest.fixture
def address(tmp_path: pathlib.Path) -> collections.abc.Iterator[str]:
    path = socket_path(str(tmp_path))
    yield path
    pathlib.Path(path).unlink(missing_ok=True)


def test_a_face_inside_an_agent_gets_the_runner_that_its_shim_starts(stage: Stage, address: str) -> None:
    runner, agent = stage.tether(), stage.tether()
    (stage.root / "runner.py").write_text(RUNNER)
    (stage.root / "face.py").write_text(FACE)
    words = [
        sys.executable,
        f"{stage.root}/face.py",
        PACKAGES,
        str(stage.root),
        '{"hello": "face"}',
        "sh",
        "-c",
        f"touch {shlex.quote(str(stage.root))}/by-the-face",
    ]
    face = shlex.join(words)
    run = stage.launch(
        f"exec 9>{agent.path}; {face} && echo answered >&9; sleep 1000",
        control_socket=address, runner_command=(sys.executable, f"{stage.root}/runner.py", address, str(runner.path)),
    )  # fmt: skip
    assert agent.await_words(1) == ["answered"]
    pid = int(runner.await_words(1)[0])
    run.process.send_signal(signal.SIGTERM)
    agent.await_end()
    run.end()
    assert not (stage.root / "by-the-face").exists()
    os.kill(pid, signal.SIGKILL)  # it is still there to be ended
    runner.await_end()


@pytest.mark.parametrize("own", [None, "own"])
def test_inside_an_agent_no_runner_of_another_memory_root_is_started(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, own: str | None
) -> None:
    monkeypatch.setenv(rundir.RUN_MARKER, "tr_1.1")
    if own:
        (tmp_path / own).mkdir()
        monkeypatch.setenv(rundir.RUN_ROOT, str(tmp_path / own))
    with pytest.raises(NoRunner, match="inside an agent"):
        ensure_runner(str(tmp_path), ("touch", str(tmp_path / "started")), {"hello": "face"})
    assert not (tmp_path / "started").exists()


class _HurriedLoop(Loop):
    """Notes for how long it should have waited, and does not."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses: list[float] = []

    def at(self, when: float, callback: Callback) -> Timer:
        self.pauses.append(when - time.monotonic())
        return super().at(0.0 if len(self.pauses) < 10 else when, callback)


@pytest.mark.usefixtures("signals")
def test_a_shim_that_its_runner_hangs_up_on_calls_again_ever_more_slowly(stage: Stage) -> None:
    stage.bell.is_curt = True
    run = rundir.read_json(str(stage.directory("true") / rundir.RUN_FILE), Run)
    assert run is not None
    loop = _HurriedLoop()
    pulse = Pulse(loop, run, rundir.VERSION, lambda: None)
    pulse.connect()
    assert loop.wait(lambda: len(loop.pauses) >= 10, time.monotonic() + PATIENCE)
    assert loop.pauses[0] < 0.1
    assert loop.pauses[9] > 10
    assert pulse.strangers == set()
