"""What a start, a session, a message and a spawn cost over stdio, the message beside a server that does nothing, in alternating rounds.

python benchmarks/stdio.py [--rounds 5] [--calls 200] [--records 100 10000]

Starts are of three kinds: served by the process itself (its memory root is not there yet), by a warm process that has to be started,
and by one that is there. Memory is that of the process that the client starts, and what each session adds to the warm one.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
IDLE = [sys.executable, str(HERE / "idle_server.py")]
OURS = [sys.executable, "-m", "devsh_memory_mcp"]
IN_FLIGHT = 16
SPAWNS = 15
SESSIONS = 10
FILL_BATCH = 64
WARM_UP = 20
DEADLINE = 60.0


class Client:
    """Raw JSON-RPC over a server's pipes: what it costs is the server's, as far as can be."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], directory: Path) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=directory)
        self.last_id = 0
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "benchmark", "version": "1"}}
        self.answer_to(self.send("initialize", hello))
        self._write({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def send(self, method: str, params: dict[str, Any]) -> int:
        self.last_id += 1
        self._write({"jsonrpc": "2.0", "id": self.last_id, "method": method, "params": params})
        return self.last_id

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the server ended in the middle of a call")
        message: dict[str, Any] = json.loads(line)
        if "error" in message or message.get("result", {}).get("isError"):
            raise SystemExit(f"the server refused: {message}")
        return message

    def answer_to(self, number: int) -> dict[str, Any]:
        while (message := self.answer()).get("id") != number:
            pass
        return message

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(DEADLINE)

    def _write(self, message: dict[str, Any]) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()


@dataclass
class Figures:
    """Of one server and tool: seconds of single calls, calls a second with several in flight (one per round)."""

    name: str
    single: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    @property
    def p50(self) -> float:
        return statistics.median(self.single) * 1000

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    def line(self) -> str:
        return f"  {self.name:<14} p50 {self.p50:6.2f} ms   {1000 / self.p50:7.0f}/s at 1   {self.rate:7.0f}/s at {IN_FLIGHT} in flight"


def one_by_one(client: Client, call: dict[str, Any], count: int) -> list[float]:
    seconds = []
    for _ in range(count):
        begun = time.perf_counter()
        client.answer_to(client.send("tools/call", call))
        seconds.append(time.perf_counter() - begun)
    return seconds


def in_flight(client: Client, call: dict[str, Any], count: int, places: int = IN_FLIGHT) -> float:
    begun = time.perf_counter()
    sent = answered = 0
    while answered < count:
        while sent < count and sent - answered < places:
            client.send("tools/call", call)
            sent += 1
        client.answer()
        answered += 1
    return count / (time.perf_counter() - begun)


def compared(idle: Client, ours: Client, rounds: int, calls: int) -> None:
    """Alternating rounds, so that what else the machine does falls on both."""
    message = {"name": "send_message", "arguments": {"to": "head", "message": "x" * 100, "type": "status"}}
    sides = (
        (idle, {"name": "echo", "arguments": {"text": "x" * 100}}, Figures("does nothing")),
        (ours, message, Figures("send_message")),
    )
    for client, call, _ in sides:
        one_by_one(client, call, WARM_UP)
    for _ in range(rounds):
        for client, call, figures in sides:
            figures.single += one_by_one(client, call, calls)
        for client, call, figures in sides:
            figures.rates.append(in_flight(client, call, calls))
    nothing, sent = sides[0][2], sides[1][2]
    print(nothing.line(), sent.line(), sep="\n")
    print(f"  ratio          p50 {sent.p50 / nothing.p50:5.2f} x     rate at {IN_FLIGHT} {sent.rate / nothing.rate:5.2f} x")


def spawn_times(ours: Client) -> None:
    call = {"name": "spawn_agent", "arguments": {"prompt": "true", "agentName": "shell/sh", "repo": "none"}}
    seconds = one_by_one(ours, call, SPAWNS)
    print(f"  spawn_agent    p50 {statistics.median(seconds) * 1000:6.2f} ms   first {seconds[0] * 1000:.2f} ms")


def start_times(rounds: int, command: Sequence[str]) -> None:
    """From the start of the process to the answer of `initialize`, and to that of `tools/list` behind it."""
    for name, is_there in (("alone", False), ("warm process started", True)):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
            taken = []
            for number in range(rounds):
                root = Path(directory, f"memory{number}")
                if is_there:
                    root.mkdir()
                taken.append(started(command, root)[1:])
            show_starts(name, taken)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        root = Path(directory, "memory")
        root.mkdir()
        first, *_ = started(command, root, closes=False)
        show_starts("warm process there", [started(command, root)[1:] for _ in range(3 * rounds)])
        show_memory(command, root)
        first.close()


def started(command: Sequence[str], root: Path, *, closes: bool = True) -> tuple[Client, float, float]:
    begun = time.perf_counter()
    client = Client(command, dict(os.environ, DEVSH_MEMORY_DIR=str(root)), root.parent)
    told = time.perf_counter() - begun
    client.answer_to(client.send("tools/list", {}))
    listed = time.perf_counter() - begun
    if closes:
        client.close()
    return client, told, listed


def show_starts(name: str, taken: list[tuple[float, float]]) -> None:
    told, listed = ([1000 * pair[number] for pair in taken] for number in (0, 1))
    print(
        f"  {name:<21} start to initialize p50 {statistics.median(told):5.0f} ms   worst {max(told):5.0f} ms   "
        f"to tools/list p50 {statistics.median(listed):5.0f} ms"
    )


def show_memory(command: Sequence[str], root: Path) -> None:
    """Of sessions beside one that is open already."""
    (warm,) = warm_processes(root)
    before = memory(warm)["Pss_Anon"]
    sessions = [started(command, root, closes=False)[0] for _ in range(SESSIONS)]
    own = [memory(session.process.pid) for session in sessions]
    added = (memory(warm)["Pss_Anon"] - before) / SESSIONS
    print(
        f"  a session's process: resident {max(each['Rss'] for each in own):.1f} MB, "
        f"anonymous {max(each['Pss_Anon'] for each in own):.1f} MB; "
        f"the warm process {before:.0f} MB anonymous and {added:.2f} MB for each session"
    )
    for session in sessions:
        session.close()


def warm_processes(root: Path) -> list[int]:
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{name}/cmdline").read_bytes()
            if b"devsh_memory_mcp.warm" in words and os.fsencode(root) in words:
                found.append(int(name))
    return found


def memory(pid: int) -> dict[str, float]:
    """Megabytes, by the kernel's names."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}


def measure(records: int, rounds: int, calls: int, command: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        environment = dict(os.environ, DEVSH_MEMORY_DIR=f"{directory}/memory")
        place = Path(directory)
        idle, ours = Client(IDLE, environment, place), Client(command, environment, place)
        try:
            ours.answer_to(
                ours.send("tools/call", {"name": "spawn_agent", "arguments": {"prompt": "true", "agentName": "shell/sh", "repo": "none"}})
            )
            filler = {"name": "send_message", "arguments": {"to": "head", "message": "filling", "type": "status"}}
            in_flight(ours, filler, records, FILL_BATCH)
            print(f"with {records} records in the journal")
            compared(idle, ours, rounds, calls)
            spawn_times(ours)
        finally:
            idle.close()
            ours.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--records", type=int, nargs="+", default=[100, 10_000])
    parser.add_argument("--command", nargs="+", default=OURS, help="another server in place of ours")
    parser.add_argument("--starts", type=int, default=9)
    given = parser.parse_args()
    print("starting")
    start_times(given.starts, given.command)
    for records in given.records:
        measure(records, given.rounds, given.calls, given.command)


if __name__ == "__main__":
    main()
