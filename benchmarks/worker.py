"""A worker that is spoken to: from the spawn to its exec, and from a message to its input.

`python -m benchmarks.worker`. The agent is a stand-in for `claude` that notes when it was started and when each line came to it, and
says what the real one says: what is measured is ours, not the agent's.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anyio

from devsh_memory_mcp.config import Caller
from devsh_memory_mcp.domain.requests import MessageRequest, SpawnRequest, WaitRequest
from devsh_memory_mcp.ports import Orchestration
from devsh_memory_mcp.wiring import open_orchestrations

STAND_IN = """#!{python} -IS
import json, os, sys, time
notes = open(os.path.join({notes!r}, os.environ["CMUX_TASK_RUN_ID"]), "w", buffering=1)
print(time.time(), file=notes)
for line in iter(sys.stdin.buffer.readline, b""):
    print(time.time(), file=notes)
    said = json.loads(line)
    last = "enough" in said["message"]["content"]
    print(json.dumps({{"type": "user", "isReplay": True, "uuid": said["uuid"], "message": said["message"]}}), flush=True)
    if last:
        print(json.dumps({{"type": "result", "subtype": "success", "result": "done", "usage": {{}}, "total_cost_usd": 0}}), flush=True)
"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=15)
    rounds = options.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="devsh-bench-") as scratch:
        anyio.run(measure, Path(scratch), rounds)


async def measure(scratch: Path, rounds: int) -> None:
    programs, notes, repository = (scratch / name for name in ("bin", "notes", "repository"))
    for directory in (programs, notes, repository):
        directory.mkdir()
    (programs / "claude").write_text(STAND_IN.format(python=sys.executable, notes=str(notes)))
    (programs / "claude").chmod(0o755)
    begin = "git init -q && git -c user.name=b -c user.email=b@localhost commit -q --allow-empty -m begin"
    subprocess.run(begin, shell=True, cwd=repository, check=True)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "ANTHROPIC_API_KEY": "none"}
    caller = Caller(repository, environment)
    async with open_orchestrations(scratch / "memory", caller) as orchestrations:
        orchestration = await orchestrations.begin("benchmark")
        found = [await one(orchestration, notes) for _ in range(rounds + 1)][1:]  # the first starts the runner
    for index, what in enumerate(("spawn to the agent's exec", "message to the agent's input")):
        values = sorted(each[index] for each in found)
        print(f"{what}: p50 {statistics.median(values):.1f} ms, from {values[0]:.1f} to {values[-1]:.1f} ms")


async def one(orchestration: Orchestration, notes: Path) -> tuple[float, float]:
    """Milliseconds from the call of spawn to the first instruction, and from the call of message to the line."""
    spawned_at = time.time()
    answer = await orchestration.spawn(SpawnRequest(prompt="begin", agent_name="claude/haiku"))
    path = notes / answer.task_run_id
    while not path.exists() or path.read_text().count("\n") < 2:
        await anyio.sleep(0.01)
    said_at = time.time()
    await orchestration.message(MessageRequest(to=answer.orchestration_task_id, message="enough"))
    await orchestration.wait(WaitRequest(ids=(answer.orchestration_task_id,)))
    started, _, heard = (float(line) for line in path.read_text().split())
    return (started - spawned_at) * 1000, (heard - said_at) * 1000


if __name__ == "__main__":
    main()
