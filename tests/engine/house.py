"""A memory root with real runners, shims and agents, and a git repository to work on. Nothing outlives a test."""

import contextlib
import json
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import anyio
import pytest

from devsh_memory_mcp.config import Caller
from devsh_memory_mcp.domain import answers
from devsh_memory_mcp.domain.events import Event
from devsh_memory_mcp.domain.requests import SpawnRequest, WaitRequest
from devsh_memory_mcp.engine.limits import Limits
from devsh_memory_mcp.engine.preparation import choose
from devsh_memory_mcp.ports import Clock, Orchestration
from devsh_memory_mcp.shim import rundir
from devsh_memory_mcp.shim.doorbell import ANSWER_WITHIN, peer_pid, socket_path
from devsh_memory_mcp.shim.rundir import Report
from devsh_memory_mcp.store.line import scan
from devsh_memory_mcp.store.root import MemoryRoot
from devsh_memory_mcp.wiring import SystemClock, make_runner, open_orchestrations
from tests.doubles.aftermath import BOUND, end_processes, findings
from tests.doubles.processes import Gate, Pipe, await_end, kill


def shell(script: str, **fields: object) -> SpawnRequest:
    """A task of bash, without a repository unless one is named."""
    return SpawnRequest.model_validate({"prompt": script, "agent_name": "shell/bash", "repo": "none"} | fields)


def git(where: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=where, check=True, capture_output=True, text=True).stdout.strip()


class House:
    """One memory root, who calls there, and what is asked of both."""

    def __init__(self, root: Path, directory: Path) -> None:
        self.root = root
        self.directory = directory
        self.expected: set[str] = set()  # what fsck will find
        self.checks: list[Callable[[], bool]] = []  # what must hold when nobody is left
        self._is_closed = False
        self._closing: list[Pipe | Gate] = []

    def caller(self, **fields: object) -> Caller:
        return Caller(**({"directory": self.directory, "environment": dict(os.environ)} | fields))  # type: ignore[arg-type]

    @asynccontextmanager
    async def opened(
        self, orchestration_id: str | None = None, *, patience: float = ANSWER_WITHIN, seconds: float = BOUND, **fields: object
    ) -> AsyncIterator[Orchestration]:
        """The caller's current orchestration, made where there is none, for a while; `patience` is with a silent runner."""
        with anyio.fail_after(seconds):
            async with open_orchestrations(self.root, self.caller(**fields), orchestration_id, patience=patience) as orchestrations:
                yield await orchestrations.current(create=True)

    @asynccontextmanager
    async def runner(self, **limits: object) -> AsyncIterator[None]:
        """A runner in this process, with limits of its own, for as long as the context lasts."""
        ready, told = os.pipe()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(self.run_runner, told, **limits))
            with anyio.fail_after(BOUND):
                await anyio.wait_readable(ready)
            os.close(ready)
            yield
            with self._connected() as connection:  # a runner makes way for a newer release
                connection.sendall(b'{"hello": "face", "version": "999"}\n')
                await anyio.wait_readable(connection)

    async def run_runner(self, told: int | None = None, clock: Clock | None = None, **limits: object) -> None:
        """A runner in this process, until it leaves by itself."""
        clock = clock or SystemClock()
        place = MemoryRoot(self.root, clock, choose, os.environ)
        await make_runner(place, clock, Limits(**limits)).run(told)  # type: ignore[arg-type]

    def end_runner(self) -> None:
        runner = self.runner_pid()
        kill(runner)
        assert await_end(runner, 5.0)

    @asynccontextmanager
    async def cancelling(self, orchestration: Orchestration, task_id: str) -> AsyncIterator[list[answers.CancelAnswer]]:
        """A cancel beside the body; its answer is in the list afterwards."""
        given: list[answers.CancelAnswer] = []

        async def cancel() -> None:
            given.append(await orchestration.cancel(task_id))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cancel)
            yield given

    @contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(socket_path(str(self.root)))
            yield connection

    def pipe(self, name: str = "pipe") -> Pipe:
        made = Pipe(self.directory / name)
        self._closing.append(made)
        return made

    def gate(self, name: str = "gate") -> Gate:
        made = Gate(self.directory / name)
        self._closing.append(made)
        return made

    def runner_pid(self) -> int:
        """The process that listens at the root's socket; 0 where none does."""
        with contextlib.suppress(OSError), self._connected() as connection:
            return peer_pid(connection) or 0
        return 0

    def forget_runner(self) -> None:
        """As if the root had been put back from a copy: nothing in it leads to the runner that lives."""
        os.unlink(socket_path(str(self.root)))
        (self.root / "runner.lock").unlink()

    def close(self) -> None:
        """Whoever still waits may go on; then nobody is left but a runner, which is ended, and fsck has nothing to say."""
        if self._is_closed:
            return
        self._is_closed = True
        for one in self._closing:
            one.open() if isinstance(one, Gate) else one.close()
        left = end_processes(self.root)
        assert left == {}, "processes were left behind"
        assert all(check_() for check_ in self.checks)
        assert findings(self.root) == self.expected


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    root, directory = tmp_path / "memory", tmp_path / "project"
    root.mkdir(mode=0o700)
    directory.mkdir()
    made = House(root, directory)
    yield made
    made.close()


@pytest.fixture
def repository(house: House) -> Path:
    """A repository with one commit on `main`, in which the caller stands."""
    git(house.directory, "init", "-q")
    (house.directory / "README").write_text("first\n", encoding="utf-8")
    git(house.directory, "add", ".")
    git(house.directory, "commit", "-qm", "first")
    return house.directory


async def ended(orchestration: Orchestration, *ids: str) -> answers.WaitAnswer:
    """The answer of a wait until all have ended, or mail has come."""
    while True:
        answer = await orchestration.wait(WaitRequest(ids=ids))
        if answer.finished or answer.unread_messages:
            return answer


def events_of(orchestration: Orchestration) -> list[Event]:
    """The journal's events, as they stand on disk."""
    assert orchestration.directory is not None
    return [entry.event for entry in scan((orchestration.directory / "EVENTS.jsonl").read_bytes(), 0).entries]


async def until_event(orchestration: Orchestration, name: str, count: int = 1) -> None:
    """Until the journal has so many events of that name."""
    found = 0
    async with contextlib.aclosing(orchestration.changes(after=0)) as changes:  # type: ignore[type-var]
        async for change in changes:
            found += change.event == name
            if found == count:
                return


async def run_directory(orchestration: Orchestration, task_id: str) -> Path:
    record = await orchestration.status(task_id)
    assert record.run_directory is not None
    return Path(record.run_directory)


async def reported_pid(orchestration: Orchestration, task_id: str, kind: str) -> int:
    """The process that the newest attempt reported: its shim (`started`), its guard, its agent (`agent_started`)."""
    reports, _ = rundir.read_lines(str(await run_directory(orchestration, task_id) / rundir.REPORT_FILE), Report)
    return next(report.process.pid for report in reports if report.type == kind and report.process is not None)


def view(orchestration: Orchestration, name: str) -> dict[str, object]:
    assert orchestration.directory is not None
    document = json.loads((orchestration.directory / name).read_bytes())
    assert isinstance(document, dict)
    return document
