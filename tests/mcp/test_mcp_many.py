"""Many servers at once on one orchestration."""

import json
import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

SERVERS, MESSAGES = 8, 100


class Server:
    """A server process, spoken to in raw JSON-RPC."""

    def __init__(self, directory: Path) -> None:
        command = [sys.executable, "-m", "devsh_memory_mcp", "--orchestration-id", "orch_shared"]
        package = str(Path(__file__).parents[2])
        self.process = subprocess.Popen(
            command, cwd=directory, env={**os.environ, "PYTHONPATH": package}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
        self.say({"id": 0, "method": "initialize", "params": hello})
        self.say({"method": "notifications/initialized"})

    def say(self, message: dict[str, object]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    def send_all(self, name: int) -> set[int]:
        """Sends its messages all at once, then reads the answers; the numbers of the messages that were acknowledged."""
        for number in range(MESSAGES):
            arguments = {"to": "head", "message": f"{name}/{number}", "type": "status"}
            self.say({"id": number + 1, "method": "tools/call", "params": {"name": "send_message", "arguments": arguments}})
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.flush()
        answers = [json.loads(self.process.stdout.readline()) for _ in range(MESSAGES + 1)]
        self.process.stdin.close()
        self.process.stdout.close()
        assert self.process.wait(30) == 0
        return {answer["result"]["structuredContent"]["messageId"] for answer in answers if answer["id"]}


@pytest.mark.promise("mcp.send_message")
async def test_what_eight_servers_acknowledge_is_in_the_journal_and_in_the_mailbox(tmp_path: Path) -> None:
    from devsh_memory_mcp.config import Caller
    from devsh_memory_mcp.domain.events import OrchestrationCreated
    from devsh_memory_mcp.engine.preparation import choose
    from devsh_memory_mcp.store.root import MemoryRoot
    from devsh_memory_mcp.wiring import SystemClock, open_orchestrations

    memory = Path(os.environ["DEVSH_MEMORY_DIR"])
    memory.mkdir(exist_ok=True)
    MemoryRoot(memory, SystemClock(), choose, os.environ).begin(OrchestrationCreated(orchestration_id="orch_shared", project=str(tmp_path)))
    servers = [Server(tmp_path) for _ in range(SERVERS)]
    acknowledged: set[int] = set()

    async def send(number: int) -> None:
        acknowledged.update(await anyio.to_thread.run_sync(servers[number].send_all, number))

    with anyio.fail_after(120):
        async with anyio.create_task_group() as tasks:
            for number in range(SERVERS):
                tasks.start_soon(send, number)
        async with open_orchestrations(memory, Caller(tmp_path, os.environ), "orch_shared") as orchestrations:
            orchestration = await orchestrations.current()
            assert (await orchestration.pull()).synced
    directory = memory / "orchestrations" / "orch_shared"
    events = [json.loads(line) for line in (directory / "EVENTS.jsonl").read_bytes().splitlines()]
    sent = {event["seq"]: event["message"] for event in events if event["event"] == "message_sent"}
    mailbox = {message["id"]: message["message"] for message in json.loads((directory / "MAILBOX.json").read_bytes())["messages"]}
    assert len(acknowledged) == SERVERS * MESSAGES
    assert acknowledged == set(sent) == set(mailbox)
    assert set(sent.values()) == set(mailbox.values()) == {f"{name}/{number}" for name in range(SERVERS) for number in range(MESSAGES)}
