"""The campaign's own tools, shown to find what they are there for."""

import errno
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.hooks import Hooks
from tests.faults.recovery import Stopwatch
from tests.faults.rounds import Outcome
from tests.faults.script import Script
from tests.faults.sites import calls
from tests.faults.test_boundaries import BY_TIMING, judged
from tests.faults.world import World

FOUND = {
    "path.write_text('x')": "open",
    "path.write_bytes(b'x')": "open",
    "path.open('w')": "open",
    "path.open(mode='ab')": "open",
    "open(path, 'r+')": "open",
    "path.unlink(missing_ok=True)": "os.unlink",
    "path.rename(other)": "os.rename",
    "path.replace(other)": "os.replace",
    "path.mkdir()": "os.mkdir",
    "path.touch()": "os.open",
    "path.symlink_to(other)": "os.symlink",
    "os.makedirs(path)": "os.mkdir",
    "os.mkfifo(path)": "os.mkfifo",
    "os.utime(path)": "os.utime",
    "shutil.rmtree(path)": "shutil.rmtree",
    "shutil.copy(path, other)": "shutil.copy",
    "connection.connect(address)": "socket.connect",
    "connection.sendall(b'x')": "socket.sendall",
    "self._connection.send(b'x')": "socket.send",
    "listener.bind(address)": "socket.bind",
    "socket.send_fds(connection, [], [])": "socket.sendmsg",
    "signal.pidfd_send_signal(handle, 9)": "signal.pidfd_send_signal",
    "anyio.open_process(command)": "fork_exec",
}


@pytest.mark.parametrize("call", FOUND)
def test_a_call_that_changes_something_is_found(call: str) -> None:
    assert list(calls(f"def work():\n    {call}\n", "shim.new")) == [f"shim.new.work {FOUND[call]}"]


@pytest.mark.parametrize(
    "call", ["path.open('rb')", "open(path)", "text.replace('a', 'b')", "replace(record, name='x')", "shutil.which('git')"]
)
def test_a_call_that_only_reads_is_none(call: str) -> None:
    assert list(calls(call, "shim.new")) == []


def test_a_boundary_that_nobody_gets_to_is_a_failure_but_for_those_that_depend_on_timing(tmp_path: Path) -> None:
    judged([Outcome(f"work {name} 1 kill", tmp_path, [], {"not met": 1}) for name in BY_TIMING])
    with pytest.raises(AssertionError):
        judged([Outcome("work runner store.files.append os.write 1 kill", tmp_path, [], {"not met": 1})])


def test_a_full_disk_takes_nothing_new_and_gives_what_it_has(tmp_path: Path) -> None:
    root = tmp_path / "memory"
    root.mkdir()
    (tmp_path / "script.json").write_text(json.dumps({"root": str(root)}), encoding="utf-8")
    (root / "there").touch()
    script = Script(str(tmp_path), "runner")
    descriptor = os.open(root / "there", os.O_RDWR)
    new = os.O_WRONLY | os.O_CREAT
    assert script.refusal("os.write", descriptor) == 0
    (tmp_path / "full").touch()
    refused = [("os.write", descriptor, 0), ("os.open", root / "new", new), ("os.mkdir", root / "new", 0o700), ("open", root / "new", 0)]
    assert [script.refusal(*one) for one in refused] == 4 * [errno.ENOSPC]
    taken = [
        ("os.open", root / "there", new),
        ("os.open", root / "there", 0),
        ("os.unlink", root / "there", 0),
        ("os.mkdir", tmp_path / "new", 0),
    ]
    assert [script.refusal(*one) for one in taken] == 4 * [0]
    os.close(descriptor)


def spawned(number: int, name: str, *depends_on: str) -> dict[str, object]:
    return {"seq": number, "event": "agent_spawned", "orchestrationTaskId": f"ns{name}", "id": name, "spec": {"dependsOn": depends_on}}


def test_what_a_killed_runner_costs_is_told_of_tasks_that_could_have_begun(tmp_path: Path) -> None:
    journal, marks = tmp_path / "orchestrations" / "orch_1" / "EVENTS.jsonl", tmp_path / "marks"
    journal.parent.mkdir(parents=True)
    lines = [spawned(1, "t0"), spawned(2, "t1", "nst0"), spawned(3, "t2", "nst1")]
    lines.append({"seq": 4, "event": "attempt_started", "orchestrationTaskId": "nst0", "attempt": 1})
    journal.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    watch = Stopwatch(tmp_path, marks)
    assert watch.ready() == set()
    marks.write_text("end t0 tr_0.1\n", encoding="utf-8")
    assert watch.ready() == {"t1"}
    for faults, seconds in ((7, 1), (8, 0)):  # as many as before, and one more
        watch.begin(7)
        marks.write_text(f"end t0 tr_0.1\nagent t2 tr_2.1 5 {time.time()}\n", encoding="utf-8")
        watch.look(7)
        marks.write_text(f"end t0 tr_0.1\nagent t1 tr_1.1 5 {time.time() + 1}\n", encoding="utf-8")
        watch.look(faults)
        assert len(watch.seconds) == seconds
        watch.seconds.clear()


LOOKS: dict[str, Callable[[Path], object]] = {
    "open": lambda path: open(path / "there", "rb").close(),
    "os.open": lambda path: os.close(os.open(path / "there", os.O_RDONLY)),
    "read_bytes": lambda path: (path / "there").read_bytes(),
    "stat": lambda path: (path / "there").stat(),
    "lstat": lambda path: (path / "there").lstat(),
    "listdir": os.listdir,
    "iterdir": lambda path: list(path.iterdir()),
    "scandir": lambda path: os.scandir(path).close(),
    "unlink": lambda path: (path / "there").unlink(),
    "mkdir": lambda path: (path / "new").mkdir(),
}


def tried(root: Path) -> dict[str, int]:
    """The error of each look below the root, and of a word to the error stream, which is a file there."""
    found = {}
    for name, look in {**LOOKS, "stderr": lambda _: (sys.stderr.write("word"), sys.stderr.flush())}.items():
        try:
            look(root)
            found[name] = 0
        except OSError as error:
            found[name] = error.errno or -1
    return found


@pytest.mark.parametrize(
    ("how", "refused"), [("unreadable", dict.fromkeys(LOOKS, errno.EACCES)), ("full", {"stderr": errno.ENOSPC, "mkdir": errno.ENOSPC})]
)
def test_while_it_lasts_nobody_looks_below_the_root_and_a_log_takes_nothing(tmp_path: Path, how: str, refused: dict[str, int]) -> None:
    world = World(tmp_path / "world", {})
    (world.root / "there").touch()
    log = os.open(world.root / "log", os.O_WRONLY | os.O_CREAT)
    world.spoil(how)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.dup2(log, 2)
            sys.stderr = os.fdopen(2, "w", closefd=False)
            Hooks(str(world.plan), "runner").install()
            os.write(writing, json.dumps(tried(world.root)).encode())
        finally:
            os._exit(0)
    os.close(log)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as answers:
        found = json.load(answers)
    os.waitpid(child, 0)
    assert {name: number for name, number in found.items() if number} == refused
