"""What processes cost: a command's start-up, and the memory and time of a shim and its guard while the agent is silent.

`python -m benchmarks.processes`. Memory is anonymous memory that is nobody else's too (Pss_Anon of smaps_rollup), so that what shims
share with their fork server is counted once over all who share it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anyio

from devsh_memory_mcp.config import Caller
from devsh_memory_mcp.domain.requests import SpawnRequest
from devsh_memory_mcp.wiring import open_orchestrations

SILENCE = 3.0  # seconds


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=15)
    rounds = options.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="devsh-bench-") as scratch:
        anyio.run(measure, Path(scratch), rounds)


async def measure(scratch: Path, rounds: int) -> None:
    memory = scratch / "memory"
    caller = Caller(scratch, {**os.environ, "DEVSH_SANDBOX": "none"})
    async with open_orchestrations(memory, caller) as orchestrations:
        orchestration = await orchestrations.begin("benchmark")
        answer = await orchestration.spawn(SpawnRequest(prompt="sleep 60", agent_name="shell/bash", repo="none"))
        while not (await orchestration.status(answer.orchestration_task_id)).last_activity_at:
            await anyio.sleep(0.1)
        await orchestration.pull()
        record = await orchestration.status(answer.orchestration_task_id)
        show_processes(Path(str(record.run_directory)))
        starts = [start_up(scratch, memory) for _ in range(rounds)]
        bare = [timed([sys.executable, "-c", "pass"], scratch, memory) for _ in range(rounds)]
        print(f"devsh orchestrate list: p50 {statistics.median(starts):.0f} ms; python alone: p50 {statistics.median(bare):.0f} ms")
        await orchestration.cancel(answer.orchestration_task_id)


def start_up(where: Path, memory: Path) -> float:
    return timed([sys.executable, "-c", "from devsh_memory_mcp.cli import main; main()", "orchestrate", "list"], where, memory)


def timed(command: list[str], where: Path, memory: Path) -> float:
    began = time.perf_counter()
    package = str(Path(__file__).parent.parent)
    environment = {**os.environ, "DEVSH_MEMORY_DIR": str(memory), "PYTHONPATH": package}
    subprocess.run(command, cwd=where, env=environment, stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - began) * 1000


def show_processes(run: Path) -> None:
    reports = [json.loads(line) for line in (run / "report.jsonl").read_text().splitlines()]
    pids = {report["type"]: report["process"]["pid"] for report in reports if report.get("process")}
    shim, guard = pids["started"], pids["guard"]
    before = cpu(shim) + cpu(guard)
    time.sleep(SILENCE)
    spent = cpu(shim) + cpu(guard) - before
    sizes = {name: anonymous(pid) for name, pid in (("shim", shim), ("guard", guard))}
    print(f"anonymous memory: shim {sizes['shim']:.1f} MB, guard {sizes['guard']:.1f} MB, together {sum(sizes.values()):.1f} MB")
    print(f"processor time of both in {SILENCE:.0f} s of silence: {spent * 1000:.0f} ms")


def anonymous(pid: int) -> float:
    """Megabytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:")) / 1024


def cpu(pid: int) -> float:
    """Seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
