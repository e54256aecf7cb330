"""How fast tasks go: spawn to first instruction, end to the waiter's return, dependency to dependent, throughput.

`python -m benchmarks.tasks`; medians of runs on a fresh memory root with a warm runner, shell agents, loopback only.
"""

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import anyio

from devsh_memory_mcp.config import Caller
from devsh_memory_mcp.domain.requests import BatchRequest, BatchTask, SpawnRequest, WaitRequest
from devsh_memory_mcp.ports import Orchestration, Orchestrations
from devsh_memory_mcp.wiring import open_orchestrations

STAMP = "echo $EPOCHREALTIME"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=30)
    rounds = options.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="devsh-bench-") as scratch:
        anyio.run(measure, Path(scratch), rounds)


async def measure(scratch: Path, rounds: int) -> None:
    repository = make_repository(scratch / "repository")
    caller = Caller(repository, {**os.environ, "DEVSH_MAX_TASKS": "200", "DEVSH_SANDBOX": "none"})
    async with open_orchestrations(scratch / "memory", caller) as orchestrations:
        orchestration = await orchestrations.begin("benchmark", max_concurrent=8)
        await one_task(orchestration, "none")
        for name, repo in (("without repository", "none"), ("with repository", str(repository))):
            answers, starts, ends = [], [], []
            for _ in range(rounds):
                answered, started, ended = await one_task(orchestration, repo)
                answers.append(answered)
                starts.append(started)
                ends.append(ended)
            show(f"spawn answered, {name}", answers)
            show(f"spawn → first instruction, {name}", starts)
            show(f"agent's end → waiter's return, {name}", ends)
        show(
            "dependency's last → dependent's first instruction, with repository",
            [await chain(orchestration, str(repository)) for _ in range(rounds)],
        )
        for run in range(3):
            print(f"200 tasks of 0.2 s on 8 places, run {run + 1}: {await throughput(orchestrations):.1f} tasks/s of 40")


async def one_task(orchestration: Orchestration, repo: str) -> tuple[float, float, float]:
    """Seconds to the spawn's answer, to the first instruction, from the end to the waiter's return."""
    began = time.time()
    answer = await orchestration.spawn(SpawnRequest(prompt=STAMP, agent_name="shell/bash", repo=repo))
    answered = time.time()
    waited = await orchestration.wait(WaitRequest(ids=(answer.orchestration_task_id,)))
    returned = time.time()
    stamp = float(waited.result or "0")
    return answered - began, stamp - began, returned - stamp


async def chain(orchestration: Orchestration, repo: str) -> float:
    first = BatchTask(id=f"a{time.time_ns()}", prompt=f"echo x > f{time.time_ns()}; {STAMP}", agent_name="shell/bash", repo=repo)
    second = BatchTask(id=f"b{time.time_ns()}", prompt=STAMP, agent_name="shell/bash", depends_on=(first.id,))
    batch = await orchestration.spawn_batch(BatchRequest(tasks=(first, second)))
    await orchestration.wait(WaitRequest(ids=tuple(task.orchestration_task_id for task in batch.tasks)))
    stamps = [float((await orchestration.status(task.orchestration_task_id)).result or "0") for task in batch.tasks]
    return stamps[1] - stamps[0]


async def throughput(orchestrations: Orchestrations) -> float:
    orchestration = await orchestrations.begin("throughput", max_concurrent=8)
    tasks = tuple(BatchTask(id=f"t{number}", prompt="sleep 0.2", agent_name="shell/bash", repo="none") for number in range(200))
    began = time.monotonic()
    batch = await orchestration.spawn_batch(BatchRequest(tasks=tasks))
    await orchestration.wait(WaitRequest(ids=tuple(task.orchestration_task_id for task in batch.tasks), timeout=120_000))
    return 200 / (time.monotonic() - began)


def make_repository(path: Path) -> Path:
    """Twenty small files, one commit."""
    path.mkdir()
    for number in range(20):
        (path / f"file{number}.txt").write_text("line\n" * 50)
    for command in (
        ["init", "-q", "-b", "main"],
        ["add", "-A"],
        ["-c", "user.name=b", "-c", "user.email=b@localhost", "commit", "-qm", "base"],
    ):
        subprocess.run(["git", "-C", str(path), *command], check=True)
    return path


def show(what: str, seconds: Sequence[float]) -> None:
    ordered = sorted(second * 1000 for second in seconds)
    last = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    print(f"{what}: p50 {statistics.median(ordered):.1f} ms, p99 {last:.1f} ms")


if __name__ == "__main__":
    main()
