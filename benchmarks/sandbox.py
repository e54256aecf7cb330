"""What a sandbox adds to a start: the same task with and without one, in turns, so that both meet the same machine.

`python -m benchmarks.sandbox`; medians on a fresh memory root with a warm runner, shell agents, from spawn to the first instruction.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import anyio

from benchmarks.tasks import STAMP, make_repository
from devsh_memory_mcp.config import Caller
from devsh_memory_mcp.domain.requests import SpawnRequest, WaitRequest
from devsh_memory_mcp.ports import Orchestration
from devsh_memory_mcp.shim.cell import search_path
from devsh_memory_mcp.shim.probe import Missing, probe
from devsh_memory_mcp.wiring import open_orchestrations


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=40)
    rounds = options.parse_args().rounds
    found = probe(search_path(os.environ))
    if isinstance(found, Missing):
        print(f"not measured: {found.why}")
        return
    with tempfile.TemporaryDirectory(prefix="devsh-bench-") as scratch:
        anyio.run(measure, Path(scratch), rounds)


async def measure(scratch: Path, rounds: int) -> None:
    repository = make_repository(scratch / "repository")
    async with open_orchestrations(scratch / "memory", Caller(repository, {**os.environ, "DEVSH_MAX_TASKS": "200"})) as orchestrations:
        orchestration = await orchestrations.begin("benchmark", max_concurrent=8)
        for name, repo in (("without repository", "none"), ("with repository", str(repository))):
            await start(orchestration, repo, "required")
            pairs = [[await start(orchestration, repo, sandbox) for sandbox in ("none", "required")] for _ in range(rounds)]
            plain, walled = (statistics.median(pair[number] for pair in pairs) for number in (0, 1))
            added = statistics.median(walled - plain for plain, walled in pairs)
            print(f"spawn → first instruction, {name}: p50 {plain:.1f} ms, in a sandbox {walled:.1f} ms; in pairs {added:+.1f} ms")


async def start(orchestration: Orchestration, repo: str, sandbox: str) -> float:
    """Milliseconds to the first instruction."""
    request = SpawnRequest.model_validate({"prompt": STAMP, "agentName": "shell/bash", "repo": repo, "sandbox": sandbox})
    began = time.time()
    answer = await orchestration.spawn(request)
    waited = await orchestration.wait(WaitRequest(ids=(answer.orchestration_task_id,)))
    return (float(waited.result or "0") - began) * 1000


if __name__ == "__main__":
    main()
