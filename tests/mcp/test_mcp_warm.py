"""Sessions that a warm process serves: whose they are, how each ends, and who serves where it cannot."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from doubles.mcp_client import HELLO, TESTS, Raw, started
from doubles.processes import await_end, kill, processes_of
from mcp.server import MCPServer

from devsh_memory_mcp import handover
from devsh_memory_mcp.config import Caller
from devsh_memory_mcp.domain.requests import SpawnRequest, WaitRequest
from devsh_memory_mcp.faces.mcp_tools import FACES
from devsh_memory_mcp.faces.mcp_warm import Request, WarmProcess
from devsh_memory_mcp.handover import LOG_FILE, READY, hand_over, socket_path
from devsh_memory_mcp.wiring import open_orchestrations

BOUND = 90  # s; a hang, not a slow machine
OURS = ("-m", "devsh_memory_mcp")


@pytest.fixture
def root(own_surroundings: Path) -> Iterator[Path]:
    """A memory root that is there; what is warm for it is ended with the test."""
    memory = own_surroundings / "memory"
    memory.mkdir()
    yield memory
    for pid in warm(memory):
        kill(pid, signal.SIGTERM)
        assert await_end(pid, BOUND)
    Path(socket_path(str(memory))).unlink(missing_ok=True)


def warm(root: Path) -> list[int]:
    return [pid for pid, words in processes_of(root).items() if "devsh_memory_mcp.warm" in words]


def has_the_sdk(raw: Raw) -> bool:
    """Whether the process that the client started has loaded what a server needs."""
    return "pydantic_core" in Path(f"/proc/{raw.process.pid}/maps").read_text()


async def tools(raw: Raw) -> int:
    await raw.ask("tools/list", {})
    return len((await raw.read())["result"]["tools"])


@pytest.mark.promise("mcp.warm")
async def test_sessions_of_one_root_are_served_by_one_process_and_none_of_them_loads_the_sdk(root: Path) -> None:
    with anyio.fail_after(BOUND):
        async with AsyncExitStack() as stack:
            sessions = [await stack.enter_async_context(started(*OURS)) for _ in range(3)]
            assert [await tools(raw) for raw in sessions] == [len(FACES)] * 3
            assert [has_the_sdk(raw) for raw in sessions] == [False, False, False]
            assert len(warm(root)) == 1


async def test_of_many_that_start_at_once_one_starts_it(root: Path) -> None:
    with anyio.fail_after(BOUND):
        raws: list[Raw] = []
        async with AsyncExitStack() as stack:
            for _ in range(8):
                raws.append(await stack.enter_async_context(started(*OURS, greets=False)))
            for raw in raws:
                await raw.ask("initialize", HELLO)
            for raw in raws:
                assert "result" in await raw.read()
            assert len(warm(root)) == 1
            assert not any(map(has_the_sdk, raws))


@pytest.mark.promise("mcp.warm")
async def test_each_has_its_own_identity_environment_and_arguments(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    with anyio.fail_after(BOUND):
        async with AsyncExitStack() as stack:
            raws = []
            for place, name in ((here, "one"), (there, "two")):
                place.mkdir()
                monkeypatch.setenv("CLAUDE_PROJECT_DIR", str(place))
                raws.append(await stack.enter_async_context(started(*OURS, "--agent-name", name)))
            spawned = {"prompt": "true", "agentName": "shell/sh", "repo": "none"}
            for raw in raws:
                await raw.ask("tools/call", {"name": "spawn_agent", "arguments": spawned})
                task = (await raw.read())["result"]["structuredContent"]
                await raw.ask("tools/call", {"name": "wait_for_agent", "arguments": {"orchestrationTaskId": task["orchestrationTaskId"]}})
                assert (await raw.read())["result"]["structuredContent"]["status"] == "completed"
            monkeypatch.setenv("CMUX_TASK_RUN_ID", task["taskRunId"])
            agent = await stack.enter_async_context(started(*OURS))
            assert (await tools(agent), has_the_sdk(agent)) == (3, False)
            assert len(warm(root)) == 1
            worker = await stack.enter_async_context(started(*OURS, "--worker"))
            assert (await tools(worker), has_the_sdk(worker)) == (3, True)
    created = [json.loads(path.read_bytes().splitlines()[0]) for path in root.glob("orchestrations/*/EVENTS.jsonl")]
    assert {(each["project"], each["headAgent"]) for each in created} == {(str(here), "one"), (str(there), "two")}


async def test_the_environment_stays_in_memory(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-hush-hush")
    async with started(*OURS) as raw:
        assert await tools(raw) == len(FACES)
        (pid,) = warm(root)
        assert b"sk-hush" not in Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()
        assert [path for path in root.rglob("*") if path.is_file() and b"sk-hush" in path.read_bytes()] == []


@pytest.mark.parametrize(("ending", "code"), [("eof", 0), (signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
async def test_it_ends_as_a_server_of_its_own_does_and_leaves_the_others_alone(root: Path, ending: Any, code: int) -> None:
    with anyio.fail_after(BOUND):
        async with started(*OURS) as other, started(*OURS) as raw:
            if ending == "eof":
                raw.process.stdin.close()
            else:
                raw.process.send_signal(ending)
            assert await raw.process.wait() == code
            assert await raw.process.stdout.read() == b""
            assert await raw.process.stderr.read() == b""
            assert await tools(other) == len(FACES)


async def test_a_reader_that_is_gone_is_its_end(root: Path) -> None:
    read_end, write_end = os.pipe()
    with anyio.fail_after(BOUND):
        async with started(*OURS, greets=False, stdout=write_end) as raw:
            os.close(write_end)
            await raw.ask("initialize", HELLO)
            await anyio.wait_readable(read_end)
            os.close(read_end)
            assert await raw.process.wait() == 0


async def test_when_the_clients_process_is_killed_its_session_ends_and_nothing_stays(root: Path) -> None:
    with anyio.fail_after(BOUND):
        async with started(*OURS) as raw:
            (pid,) = warm(root)
            raw.process.kill()
            assert await raw.process.stdout.read() == b""
        assert await anyio.to_thread.run_sync(await_end, pid, BOUND)
        assert not Path(socket_path(str(root))).exists()


async def test_a_session_is_told_when_the_process_that_serves_it_is_gone_and_the_next_one_starts_another(root: Path) -> None:
    with anyio.fail_after(BOUND):
        async with started(*OURS) as raw:
            (pid,) = warm(root)
            kill(pid)
            assert await raw.process.wait() == 1
            assert b"start it again" in await raw.process.stderr.read()
        async with started(*OURS) as raw:
            assert await tools(raw) == len(FACES)
            assert warm(root) not in ([], [pid])


async def test_sessions_are_told_when_it_is_asked_to_leave(root: Path) -> None:
    with anyio.fail_after(BOUND):
        async with started(*OURS) as raw:
            (pid,) = warm(root)
            kill(pid, signal.SIGTERM)
            assert await raw.process.wait() == 143
        assert await anyio.to_thread.run_sync(await_end, pid, BOUND)


async def test_where_it_is_stopped_a_session_serves_itself_and_it_never_gets_what_was_not_taken(root: Path) -> None:
    with anyio.fail_after(BOUND):
        async with started(*OURS) as first:
            (pid,) = warm(root)
            kill(pid, signal.SIGSTOP)
            async with started(*OURS) as raw:
                assert has_the_sdk(raw)
                kill(pid, signal.SIGCONT)
                assert await tools(first) == len(FACES)
                assert await tools(raw) == len(FACES)


async def test_it_stays_with_the_runner_of_its_root_and_leaves_behind_it(root: Path, tmp_path: Path) -> None:
    held = tmp_path / "held"
    os.mkfifo(held)
    with anyio.fail_after(BOUND):
        async with open_orchestrations(root, Caller(tmp_path, os.environ)) as orchestrations:
            orchestration = await orchestrations.current(create=True)
            task = await orchestration.spawn(SpawnRequest(prompt=f"read -r line <{held}", agent_name="shell/sh", repo="none"))
            async with started(*OURS) as raw:
                raw.process.stdin.close()
                assert await raw.process.wait() == 0
            (pid,) = warm(root)
            handle = os.pidfd_open(pid)
            assert not await anyio.to_thread.run_sync(ready, handle, 3.0)  # longer than it lingers
            held.write_text("go\n")
            await orchestration.wait(WaitRequest(ids=(task.orchestration_task_id,)))
        assert await anyio.to_thread.run_sync(ready, handle, BOUND)
        os.close(handle)


def ready(descriptor: int, seconds: float) -> bool:
    return bool(select.select([descriptor], [], [], seconds)[0])


@pytest.mark.parametrize("difference", ["sandbox", "no root", "terminal", "arguments"])
async def test_who_cannot_be_handed_over_serves_itself(root: Path, monkeypatch: pytest.MonkeyPatch, difference: str) -> None:
    options: dict[str, Any] = {"stdin": subprocess.DEVNULL} if difference == "terminal" else {}
    words = ("--unknown",) if difference == "arguments" else ()
    if difference == "sandbox":
        monkeypatch.setenv("DEVSH_ISOLATION", "bubblewrap")
    elif difference == "no root":
        monkeypatch.setenv("DEVSH_MEMORY_DIR", str(root / "not yet"))
    with anyio.fail_after(BOUND):
        async with started(*OURS, *words, greets=not options and not words, **options) as raw:
            if options or words:
                assert await raw.process.wait() == (2 if words else 0)
            else:
                assert has_the_sdk(raw)
            assert warm(root) == []


async def test_one_with_another_mask_for_new_files_has_one_of_its_own(root: Path) -> None:
    with anyio.fail_after(BOUND):
        async with started(*OURS), started(*OURS, umask=0o27) as raw:
            assert len(warm(root)) == 2
            assert not has_the_sdk(raw)


async def test_inside_of_an_agent_it_is_used_and_not_started_since_it_would_end_with_the_agent(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with anyio.fail_after(BOUND):
        async with started(*OURS), AsyncExitStack() as stack:
            monkeypatch.setenv("DEVSH_RUN", "tr_0123456789ab.1")
            inside = await stack.enter_async_context(started(*OURS))
            assert not has_the_sdk(inside)
            (pid,) = warm(root)
            kill(pid)
            assert await anyio.to_thread.run_sync(await_end, pid, BOUND)
            alone = await stack.enter_async_context(started(*OURS))
            assert has_the_sdk(alone)
            assert warm(root) == []


async def test_what_its_log_has_to_say_of_a_session_goes_to_that_sessions_stderr(root: Path) -> None:
    with anyio.fail_after(BOUND):
        async with started(*OURS) as other, started(*OURS) as raw:
            raw.write({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"is": "wrong"}})
            assert await tools(raw) == len(FACES)
            for each in (raw, other):
                each.process.stdin.close()
            said, silence = await raw.process.stderr.read(), await other.process.stderr.read()
    assert said.startswith(b"devsh-memory-mcp: WARNING: ")
    assert silence == b""
    assert (root / LOG_FILE).read_bytes() == b""


def test_a_process_that_says_something_else_than_ready_gets_nothing(root: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(socket_path(str(root)))
        listener.listen()
        read_end, write_end = os.pipe()
        script = "import os, sys; from devsh_memory_mcp.handover import hand_over; sys.stderr.write(str(hand_over([], os.environ, '/')))"
        process = subprocess.Popen(
            [sys.executable, "-c", script], stdin=read_end, stdout=write_end, stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(TESTS.parent)},
        )  # fmt: skip
        with listener.accept()[0] as connection:
            assert json.loads(connection.makefile().readline())["likeness"] == handover.likeness()
            connection.sendall(b"newer\n")
            assert connection.recv(1) == b""
        assert process.communicate(timeout=BOUND)[1] == b"None"
        os.close(read_end)
        os.close(write_end)


class Peer:
    """A client's process, in the test's own hands."""

    def __init__(self, address: str, likeness: str = "me", arguments: tuple[str, ...] = ()) -> None:
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.setblocking(False)
        self.connection.connect(address)
        self.connection.send(
            json.dumps({"likeness": likeness, "arguments": arguments, "environment": {}, "directory": "/"}).encode() + b"\n"
        )

    async def said(self) -> bytes:
        await anyio.wait_readable(self.connection)
        return self.connection.recv(100)

    def close(self) -> None:
        self.connection.close()

    async def rest(self) -> bytes:
        content = b""
        while more := await self.said():
            content += more
        return content

    def give(self, *descriptors: int) -> None:
        socket.send_fds(self.connection, [b"\0"], list(descriptors))


async def prepared(request: Request) -> tuple[MCPServer[Any], int]:
    if request.arguments == ("raise",):
        raise ZeroDivisionError
    if request.arguments:
        raise SystemExit(2)
    return MCPServer("nothing"), 1000


@pytest.mark.promise("mcp.warm")
async def test_what_goes_wrong_in_one_session_ends_that_one_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    address = str(tmp_path / "s")
    process = WarmProcess("me", prepared, anyio.sleep_forever)
    read_end, write_end = os.pipe()
    nowhere = os.open(os.devnull, os.O_RDWR)
    with anyio.fail_after(BOUND), ExitStack() as stack:
        async with anyio.create_task_group() as tasks:
            listens = anyio.Event()
            tasks.start_soon(process.run, address, listens.set)
            await listens.wait()

            def peer(**fields: Any) -> Peer:
                return stack.enter_context(closing(Peer(address, **fields)))

            good, foreign = peer(), peer(likeness="another")
            assert await foreign.said() == b""
            assert await good.said() == READY
            good.give(read_end, nowhere, nowhere)
            for arguments, said in ((("raise",), b"ended 1\n"), (("--wrong",), b"ended 2\n")):
                bad = peer(arguments=arguments)
                assert await bad.said() == READY
                bad.give(nowhere, nowhere, nowhere)
                assert await bad.rest() == said
            short = peer()
            assert await short.said() == READY
            short.give(nowhere)
            assert await short.said() == b""
            os.close(write_end)
            assert await good.rest() == b"ended 0\n"
            process.leave()
    assert "ZeroDivisionError" in caplog.text
    assert not Path(address).exists()
    os.close(read_end)
    os.close(nowhere)


def test_an_address_is_short_whatever_the_roots_name(root: Path) -> None:
    long = root / ("x" * 200)
    long.mkdir()
    assert len(socket_path(str(long))) < 104
    assert hand_over(["--dir", str(long / "none")], {}, "/") is None
