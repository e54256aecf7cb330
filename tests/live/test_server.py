"""Live events of a real server: killed under its clients, left by them, followed by ours. Nothing is missed, doubled or left behind."""

import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import httpx2
import pytest
from anyio.abc import Process
from doubles.listener import frames_of

from devsh_memory_mcp.config import OPERATOR
from devsh_memory_mcp.domain.requests import MessageRequest, WaitRequest
from devsh_memory_mcp.errors import NotFound
from devsh_memory_mcp.faces import http_feed
from devsh_memory_mcp.faces.http_address import parse_address
from devsh_memory_mcp.faces.http_client import open_remote
from devsh_memory_mcp.faces.http_frames import Dialect, Fold, rendered
from devsh_memory_mcp.faces.http_server import build_app
from devsh_memory_mcp.faces.serving import served, tcp_socket
from devsh_memory_mcp.faces.tokens import NOBODY, TEAM, Claims, mint
from devsh_memory_mcp.ports import Change, Orchestration, Orchestrations
from devsh_memory_mcp.store.line import scan
from devsh_memory_mcp.wiring import hosting
from tests.engine.house import House, ended, house, shell

__all__ = ["house"]

KEY = b"a key of the tests, and of nobody else"
CLIENTS = 100
DEVSH = [sys.executable, "-c", "import sys; from devsh_memory_mcp.cli import main; sys.exit(main())"]
NO_EVENTS = ("connected", "heartbeat", "replay_complete")


class Server:
    """A process of `devsh serve` on one memory root, which can be killed and begun again at the same address."""

    def __init__(self, house: House) -> None:
        self.environment = {**os.environ, "DEVSH_MEMORY_DIR": str(house.root)}
        self.directory, self.port = house.directory, 0
        self.up = anyio.Event()
        self.process: Process | None = None
        self.token = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def begin(self) -> None:
        command = [*DEVSH, "serve", "--port", str(self.port), "--json"]
        self.process = await anyio.open_process(command, env=self.environment, cwd=self.directory, stderr=None)
        assert self.process.stdout is not None
        line = await self.process.stdout.receive()
        self.port = int(json.loads(line)["urls"][0].rpartition(":")[2])
        self.up.set()

    async def kill(self) -> None:
        assert self.process is not None
        self.up = anyio.Event()
        self.process.kill()
        await self.process.aclose()

    async def end(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        assert await self.process.wait() == 0
        await self.process.aclose()

    def descriptors(self) -> int:
        assert self.process is not None
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    @asynccontextmanager
    async def remote(self, house: House, *, mirror: Path | None = None, **fields: object) -> AsyncIterator[Orchestrations]:
        async with open_remote(parse_address(self.url), self.token, house.caller(**fields), mirror=mirror) as remote:
            yield remote


@pytest.fixture
async def server(house: House) -> AsyncIterator[Server]:
    with anyio.fail_after(100):
        made = Server(house)
        await made.begin()
        token = await anyio.run_process([*DEVSH, "token"], env=made.environment, cwd=made.directory)
        made.token = token.stdout.decode().strip()
        yield made
        await made.end()


class Heard:
    """What a client of a stream was told: it connects again behind the last id that it had, until it has the one that is the last."""

    def __init__(self, server: Server, client: httpx2.AsyncClient, orchestration_id: str) -> None:
        self.ids: list[str] = []
        self._server, self._client, self._id = server, client, orchestration_id
        self._more = anyio.Event()

    async def follow(self, last: str) -> None:
        while last not in self.ids[-1:]:
            await self._server.up.wait()
            with suppress(httpx2.TransportError):
                await self._connected(last)

    async def _connected(self, last: str) -> None:
        headers = {"Authorization": f"Bearer {self._server.token}", "Last-Event-ID": self.ids[-1] if self.ids else "0"}
        url = f"{self._server.url}/api/orchestrate/events/{self._id}"
        async with self._client.stream("GET", url, headers=headers) as response:
            assert response.status_code == 200
            async for event in httpx2.EventSource(response):
                if event.event not in NO_EVENTS:
                    self.ids.append(event.id)
                    self._more.set()
                    self._more = anyio.Event()
                if event.id == last:
                    return

    async def until(self, count: int) -> None:
        """Until it was told so many."""
        while len(self.ids) < count:
            await self._more.wait()


def told_in_full(orchestration: Orchestration) -> list[str | None]:
    """The ids of all frames that the journal gives."""
    assert orchestration.directory is not None
    fold, content = Fold(), (orchestration.directory / "EVENTS.jsonl").read_bytes()
    steps = [fold.take(Change(entry.seq, "", None, entry.event, entry.timestamp)) for entry in scan(content, 0).entries]
    return [frame.id for frame in frames_of(b"".join(rendered(step, Dialect.STATUS) for step in steps))]


async def test_a_server_that_is_killed_under_a_hundred_clients_costs_none_of_them_an_event(house: House, server: Server) -> None:
    limits = httpx2.Limits(max_connections=None)
    async with house.opened(seconds=100) as orchestration, httpx2.AsyncClient(limits=limits, timeout=60) as client:
        clients = [Heard(server, client, orchestration.orchestration_id) for _ in range(CLIENTS)]
        spawned = [await orchestration.spawn(shell(f"echo {number}")) for number in range(3)]

        async def write() -> None:
            """A message, and the next when somebody has it or the server is not there."""
            while True:
                before = len(clients[0].ids)
                await orchestration.message(MessageRequest(to="head", message="and on"))
                with anyio.move_on_after(0.2):
                    await clients[0].until(before + 1)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            for each in clients:
                tasks.start_soon(each.follow, "never")
            for count in (10, 60):
                for each in clients:
                    await each.until(count)
                await server.kill()
                await server.begin()
            for each in clients:
                await each.until(100)
            tasks.cancel_scope.cancel()
        await ended(orchestration, *(each.orchestration_task_id for each in spawned))
        last = str((await orchestration.message(MessageRequest(to="head", message="last"))).message_id)
        async with anyio.create_task_group() as tasks:
            for each in clients:
                tasks.start_soon(each.follow, last)
        told = told_in_full(orchestration)
        assert all(each.ids == told[: told.index(last) + 1] for each in clients)


async def test_clients_that_vanish_leave_nothing_in_the_server(house: House, server: Server) -> None:
    headers = {"Authorization": f"Bearer {server.token}"}
    async with house.opened() as orchestration, httpx2.AsyncClient(timeout=60, limits=httpx2.Limits(max_connections=None)) as client:
        await orchestration.message(MessageRequest(to="head", message="first"))
        path = f"{server.url}/api/orchestrate/events/{orchestration.orchestration_id}"
        await client.get(f"{server.url}/api/orchestrate/list", headers=headers)
        before = server.descriptors()

        async def come_and_go() -> None:
            async with client.stream("GET", path, headers=headers) as response:
                async for event in httpx2.EventSource(response):
                    assert event.event == "connected"
                    return

        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(come_and_go)
        await client.aclose()
        async with httpx2.AsyncClient(headers={**headers, "Connection": "close"}) as asking:
            while server.descriptors() > before + 4:  # its link and journal stay open while its owner's room does
                assert (await asking.get(f"{server.url}/health")).status_code == 200


@pytest.mark.promise("sse.watch")
async def test_our_client_waits_and_follows_across_a_restart(house: House, server: Server) -> None:
    gate = house.gate()
    async with server.remote(house) as remote:
        orchestration = await remote.current(create=True)
        spawned = await orchestration.spawn(shell(gate.pass_through))
        task, seen, begun = spawned.orchestration_task_id, [], anyio.Event()
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                async for change in orchestration.changes(0):
                    seen.append(change.seq)
                    if change.event == "agent_started":
                        begun.set()
                    if change.event == "agent_completed":
                        assert change.task is not None
                        assert change.task.status == "completed"
                        return

            tasks.start_soon(watch)
            tasks.start_soon(ended, orchestration, task)
            await begun.wait()
            await server.kill()
            await server.begin()
            gate.open()
        assert seen == list(range(1, len(seen) + 1))
        answer = await orchestration.wait(WaitRequest(ids=(task,)))
        assert (answer.finished, answer.timed_out, answer.status) == (True, False, "completed")


async def test_a_wait_at_a_server_ends_with_its_time_with_mail_or_with_a_word_of_what_is_wrong(house: House, server: Server) -> None:
    gate = house.gate()
    async with server.remote(house) as remote:
        orchestration = await remote.current(create=True)
        task = (await orchestration.spawn(shell(gate.pass_through))).orchestration_task_id
        answer = await orchestration.wait(WaitRequest(ids=(task,), timeout=200))
        assert (answer.finished, answer.timed_out) == (False, True)
        assert answer.wait_duration >= 200
        lines: list[str] = []

        async def progress(_done: float, _total: float, line: str) -> None:
            lines.append(line)
            await orchestration.message(MessageRequest(to="head", message="look"))

        answer = await orchestration.wait(WaitRequest(ids=(task,), timeout=60_000), progress)
        assert (answer.finished, answer.timed_out, answer.unread_messages) == (False, False, 1)
        assert lines[0].startswith("0/1 done")
        with pytest.raises(NotFound):
            await orchestration.wait(WaitRequest(ids=("nobody",)))
        gate.open()
        await ended(orchestration, task)


async def test_a_pull_from_a_server_brings_its_files_here(house: House, server: Server, tmp_path: Path) -> None:
    here = tmp_path / "here"
    async with server.remote(house, mirror=here) as remote:
        orchestration = await remote.current(create=True)
        task = (await orchestration.spawn(shell("echo hi"))).orchestration_task_id
        await ended(orchestration, task)
        answer = await orchestration.pull()
        assert answer.synced
        assert answer.plan_path is not None
        plan = json.loads(Path(answer.plan_path).read_bytes())
        assert [found["status"] for found in plan["tasks"]] == ["completed"]
        assert {path.name for path in (here / "orchestration").iterdir()} >= {"PLAN.json", "AGENTS.json", "MAILBOX.json", "EVENTS.jsonl"}


async def test_a_client_that_takes_nothing_is_cut_off_and_the_others_are_told(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(http_feed, "MOST_WAITING", 64 * 1024)
    app = build_app(KEY, hosting(house.root, dict(os.environ)), lambda: datetime.now(UTC))
    now = datetime.now(UTC)
    shown = mint(KEY, Claims(NOBODY, TEAM, OPERATOR, None, "user", now, now + timedelta(hours=1)))
    with tcp_socket("127.0.0.1", 0) as listening, anyio.fail_after(60), socket.socket() as sleeper:
        port = listening.getsockname()[1]
        async with house.opened() as orchestration, served(app, [listening]), httpx2.AsyncClient(timeout=60) as client:
            path = f"/api/orchestrate/events/{orchestration.orchestration_id}?since=0"
            sleeper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sleeper.connect(("127.0.0.1", port))
            sleeper.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {shown}\r\n\r\n".encode())
            sleeper.setblocking(False)
            heard = 0
            headers = {"Authorization": f"Bearer {shown}"}
            async with (
                client.stream("GET", f"http://127.0.0.1:{port}{path}", headers=headers) as response,
                anyio.create_task_group() as tasks,
            ):

                async def write() -> None:
                    for _ in range(80):
                        await orchestration.message(MessageRequest(to="*", message="x" * 200_000))

                tasks.start_soon(write)
                async for event in httpx2.EventSource(response, max_event_size=2**21):
                    heard += event.event == "worker_message"
                    if heard == 80:
                        break
            got = b""
            while True:
                await anyio.wait_readable(sleeper)
                got, before = sleeper.recv(2**20), got
                if not got:
                    break
            assert not before.endswith(b"0\r\n\r\n"), "as if all had been told"
    assert "without completing" not in caplog.text
