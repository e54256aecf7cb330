"""A killed runner: from the kill to the next task's agent, with a client that waits and with nobody but the shims.

`python -m benchmarks.recovery`. A task runs and another one depends on it. The runner is killed as soon as the first one's agent runs,
which then ends by itself; the agent of the second one notes when it starts. What is told is from the kill, or from the first agent's end
where that was later.
"""

import argparse
import os
import signal
import socket
import statistics
import tempfile
import time
from pathlib import Path

import anyio

from devsh_memory_mcp.config import Caller
from devsh_memory_mcp.domain.requests import SpawnRequest, WaitRequest
from devsh_memory_mcp.ports import Orchestration
from devsh_memory_mcp.shim.doorbell import peer_pid, socket_path
from devsh_memory_mcp.wiring import open_orchestrations

BOUND = 30  # seconds


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=10)
    rounds = options.parse_args().rounds
    for is_waited_for in (True, False):
        with tempfile.TemporaryDirectory(prefix="devsh-bench-") as scratch:
            found = sorted(anyio.run(measure, Path(scratch), number, is_waited_for) for number in range(rounds))
        who = "with a client that waits" if is_waited_for else "with nobody but the shim"
        print(f"killed runner to the next task's agent, {who}: p50 {statistics.median(found):.0f} ms, {found[0]:.0f} to {found[-1]:.0f} ms")


async def measure(scratch: Path, number: int, is_waited_for: bool) -> float:
    place = scratch / str(number)
    place.mkdir()
    note, memory = place / "note", place / "memory"
    caller = Caller(place, {**os.environ, "DEVSH_SANDBOX": "none"})
    script = f"date +%s.%N >{note}.begun; sleep 0.1; date +%s.%N >{note}.ended"
    with anyio.fail_after(BOUND):
        async with open_orchestrations(memory, caller) as orchestrations:
            orchestration = await orchestrations.begin("benchmark")
            first = await spawn(orchestration, script)
            second = await spawn(orchestration, f"date +%s.%N >{note}.next", first)
            await until(f"{note}.begun")
            killed = kill_runner(memory)
            if is_waited_for:
                await orchestration.wait(WaitRequest(ids=(second,)))
        await until(f"{note}.next")
        async with open_orchestrations(memory, caller) as orchestrations:  # nothing runs on when the directory goes
            await (await orchestrations.current()).wait(WaitRequest(ids=(second,)))
    kill_runner(memory)
    return (read(f"{note}.next") - max(killed, read(f"{note}.ended"))) * 1000


async def spawn(orchestration: Orchestration, script: str, *depends_on: str) -> str:
    request = SpawnRequest(prompt=script, agent_name="shell/bash", repo="none", depends_on=depends_on)
    return (await orchestration.spawn(request)).orchestration_task_id


async def until(path: str) -> None:
    """A benchmark may look again and again, which a product may not."""
    while not os.path.exists(path) or not os.path.getsize(path):
        await anyio.sleep(0.002)


def read(path: str) -> float:
    return float(Path(path).read_text(encoding="ascii"))


def kill_runner(memory: Path) -> float:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(socket_path(str(memory)))
        pid = peer_pid(connection) or 0
        os.kill(pid, signal.SIGKILL)
        return time.time()


if __name__ == "__main__":
    main()
