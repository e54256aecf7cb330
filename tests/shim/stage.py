"""A stage for real shims: run directories, repositories, and ways to await what happens without sleeping."""

import fcntl
import os
import pathlib
import select
import signal
import subprocess
import sys
import typing

from devsh_memory_mcp.shim import rundir
from devsh_memory_mcp.shim.rundir import Checkout, Identity, Letter, Outcome, Report, Run
from tests.doubles.bell import PATIENCE, Bell

PACKAGES = str(pathlib.Path(rundir.__file__).parents[2])
BOOT = "import sys; sys.path.insert(0, sys.argv.pop(1)); from devsh_memory_mcp.shim.__main__ import main; sys.exit(main(sys.argv[1:]))"
BOMB = """python3 - <<'END'
import os, signal
count = 0
try:
    while count < 1000:
        if not os.fork():
            signal.pause()
        count += 1
except BlockingIOError:
    pass
print(count)
END
"""
RUNS = f"tr_p{os.getpid()}n"  # begins our runs' ids, by which processes and groups are found on the whole machine
SETSID_AND_DOUBLE_FORK = """
setsid sh -c 'echo a >&9; exec sleep 1000' &
(setsid sh -c 'trap "" TERM; echo b >&9; while :; do sleep 1000; done' & exit 0)
env -i setsid sh -c 'echo c >&9; sleep 1000 & wait' &
"""


class Tether:
    """A pipe that a whole tree holds open: words come through it, its end proves that nobody is left."""

    def __init__(self, path: pathlib.Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._content = b""

    def await_words(self, count: int) -> list[str]:
        while len(self._content.split()) < count:
            assert self._read(), "everybody has gone"
        return self._content.decode().split()

    def await_end(self) -> None:
        while self._read():
            pass
        os.close(self._reading)

    def _read(self) -> bytes:
        poll = select.poll()
        poll.register(self._reading, select.POLLIN)
        assert poll.poll(PATIENCE * 1000), f"nothing came through {self.path} but {self._content!r}"
        content = os.read(self._reading, 4096)
        self._content += content
        return content


class Launched:
    """A shim that was started the way a runner does it."""

    def __init__(self, directory: pathlib.Path, *arguments: str, boot: tuple[str, ...] = ()) -> None:
        self.directory = directory
        boot = boot or (os.path.realpath(sys.executable), "-I", "-S", "-c", BOOT, PACKAGES)
        lock = os.open(directory / rundir.LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.process = subprocess.Popen(
                [*boot, str(directory), "--lock-fd", str(lock), *arguments],
                pass_fds=[lock], cwd=directory, start_new_session=True, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        finally:
            os.close(lock)

    def wait(self) -> int:
        return self.process.wait(PATIENCE)

    def end(self) -> Outcome:
        assert self.wait() == 0, (self.directory / "shim.log").read_text()
        return outcome_of(self.directory)

    def kill(self, pid: int | None = None) -> None:
        os.kill(pid or self.process.pid, signal.SIGKILL)

    def pid_of(self, kind: str) -> int:
        processes = [report.process for report in self.reports() if report.type == kind]
        assert processes, f"there is no {kind} in the report"
        assert processes[-1] is not None
        return processes[-1].pid

    def reports(self) -> list[Report]:
        return reports_of(self.directory)

    def await_lock(self) -> None:
        """Until nobody holds the run's lock: neither the shim nor its guard lives."""
        with (self.directory / rundir.LOCK_FILE).open() as file:
            waiter = subprocess.Popen(["flock", "-x", str(file.fileno())], pass_fds=[file.fileno()])
            assert waiter.wait(PATIENCE) == 0

    def post(self, letter: Letter) -> None:
        post(self.directory, letter)


def post(directory: pathlib.Path, letter: Letter) -> None:
    descriptor = os.open(directory / rundir.INBOX_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    rundir.append_line(descriptor, letter)
    os.close(descriptor)


def reports_of(directory: pathlib.Path) -> list[Report]:
    return rundir.read_lines(str(directory / rundir.REPORT_FILE), Report)[0]


def outcome_of(directory: pathlib.Path) -> Outcome:
    outcome = rundir.read_json(str(directory / rundir.OUTCOME_FILE), Outcome)
    assert outcome is not None
    return outcome


class Stage:
    """Makes run directories below `root` and starts shims in them."""

    def __init__(self, root: pathlib.Path, bell: Bell, boot: tuple[str, ...] = ()) -> None:
        self.root = root
        self.boot = boot
        self.bell = bell
        self._count = 0
        self.launched: list[Launched] = []

    def directory(self, prompt: str, **fields: typing.Any) -> pathlib.Path:
        self._count += 1
        directory = self.root / f"run{self._count}"
        directory.mkdir(mode=0o700)
        fields.setdefault("task_run_id", f"{RUNS}{self._count}")
        fields.setdefault("environment", {"PATH": os.environ["PATH"], "HOME": str(self.root)})
        fields.setdefault("control_socket", self.bell.path)
        run = Run(
            format=1, orchestration_id="orch_1", orchestration_task_id="ns1234567890", attempt=1,
            agent_name=fields.pop("agent_name", "shell/sh"), prompt=prompt,
            memory_root=str(self.root), runner_command=fields.pop("runner_command", ("false",)), **fields,
        )  # fmt: skip
        rundir.write_json(str(directory / rundir.RUN_FILE), run)
        return directory

    def launch(self, prompt: str, **fields: typing.Any) -> Launched:
        return self.start(self.directory(prompt, **fields))

    def start(self, directory: pathlib.Path, *arguments: str) -> Launched:
        self.launched.append(Launched(directory, *arguments, boot=self.boot))
        return self.launched[-1]

    def close(self) -> None:
        """Leaves no shim behind, however a test has ended."""
        for launched in self.launched:
            launched.process.kill()
            launched.wait()

    def run(self, prompt: str, **fields: typing.Any) -> Outcome:
        return self.launch(prompt, **fields).end()

    def tether(self) -> Tether:
        self._count += 1
        return Tether(self.root / f"tether{self._count}")


class Repository:
    """A user's repository with one commit."""

    def __init__(self, path: pathlib.Path, *arguments: str) -> None:
        self.path = path
        subprocess.run(["git", "init", "-q", "-b", "main", *arguments, str(path)], check=True)

    def git(self, *arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(self.path), *arguments], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self, message: str = "more", **files: str) -> str:
        for name, content in files.items():
            (self.path / name.replace("__", "/")).parent.mkdir(parents=True, exist_ok=True)
            (self.path / name.replace("__", "/")).write_text(content)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")

    def checkout(self, **fields: typing.Any) -> Checkout:
        fields.setdefault("base_commit", self.git("rev-parse", "HEAD"))
        fields.setdefault("repository", str((self.path / self.git("rev-parse", "--git-common-dir")).resolve()))
        return Checkout(**{"branch": "dev/work-ab12c", "identity": Identity("Una User", "una@example.org"), **fields})

    def state(self) -> str:
        """All that no attempt may change."""
        refs = self.git("for-each-ref", "--format=%(refname) %(objectname)", "refs/heads/main", "refs/tags", "refs/remotes")
        config = (self.path / ".git/config").read_text() if (self.path / ".git/config").exists() else ""
        index = (self.path / ".git/index").read_bytes().hex() if (self.path / ".git/index").exists() else ""
        return "\n".join([refs, config, index, self.git("rev-parse", "--abbrev-ref", "HEAD"), *sorted(map(str, self.path.glob("*")))])

    def files(self, commit: str) -> dict[str, str]:
        names = self.git("ls-tree", "-r", "--name-only", commit).splitlines()
        return {name: self.git("show", f"{commit}:{name}") for name in names}
