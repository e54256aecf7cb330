"""A memory root with real runners, shims and agents, and a git repository to work on. Nothing outlives a test."""

import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from devsh_memory_mcp.config import Caller
from devsh_memory_mcp.domain import answers
from devsh_memory_mcp.domain.events import Event
from devsh_memory_mcp.domain.requests import SpawnRequest, WaitRequest
from devsh_memory_mcp.ports import Orchestration
from devsh_memory_mcp.shim import rundir
from devsh_memory_mcp.shim.doorbell import peer_pid, socket_path
from devsh_memory_mcp.shim.rundir import Report
from devsh_memory_mcp.store.line import scan
from devsh_memory_mcp.wiring import open_orchestrations
from tests.doubles.processes import Gate, Pipe, await_end, kill, processes_of

BOUND = 30  # seconds for what takes one at most


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


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
        self._closing: list[Pipe | Gate] = []

    def caller(self, **fields: object) -> Caller:
        return Caller(**({"directory": self.directory, "environment": dict(os.environ)} | fields))  # type: ignore[arg-type]

    @asynccontextmanager
    async def opened(self, **fields: object) -> AsyncIterator[Orchestration]:
        """The caller's current orchestration, made where there is none, for a while."""
        with anyio.fail_after(BOUND):
            async with open_orchestrations(self.root, self.caller(**fields)) as orchestrations:
                yield await orchestrations.current(create=True)

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
        with socket.socket(socket.AF_UNIX) as connection, contextlib.suppress(OSError):
            connection.connect(socket_path(str(self.root)))
            return peer_pid(connection) or 0
        return 0

    def close(self) -> None:
        """Whoever still waits may go on; then nobody is left but a runner, which is ended."""
        for one in self._closing:
            one.open() if isinstance(one, Gate) else one.close()
        runner = self.runner_pid()
        others = [pid for pid in processes_of(self.root) if pid != runner and not await_end(pid, 5.0)]
        left = {pid: words for pid, words in processes_of(self.root).items() if pid in others}
        runner = runner or self.runner_pid()
        kill(runner, signal.SIGTERM) if runner else None
        for pid in processes_of(self.root):
            if not await_end(pid, 5.0):
                left[pid] = processes_of(self.root).get(pid, "")
                kill(pid)
        assert left == {}, "processes were left behind"


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
    """The answer of a wait until all have ended."""
    return await orchestration.wait(WaitRequest(ids=ids))


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
