"""A request through a broker and without one: to the first byte of the answer, in pairs; and what a broker's process costs.

`python -m benchmarks.broker`. The provider is a thread on loopback that answers at once, so all that is measured is on this machine. Each
pair is one request each way on connections that are kept, then one each on new connections.
"""

import argparse
import json
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

from devsh_memory_mcp.shim.broker.plan import Plan, Route, Source
from devsh_memory_mcp.shim.shape import to_json

KEEPER = """
import json, os, sys, time
from devsh_memory_mcp.shim.shape import from_json, to_json
from devsh_memory_mcp.shim.broker.plan import Plan
from devsh_memory_mcp.shim.broker.service import Broker
from devsh_memory_mcp.shim.inside import listen_here
from devsh_memory_mcp.shim.loop import Loop
plan = from_json(Plan, json.loads(sys.stdin.readline()))
loop, over = Loop(), []
began = time.perf_counter()
listener = listen_here()
port = listener.getsockname()[1]
broker = Broker(loop, plan, [listener], lambda told: None)
print(json.dumps([port, broker.pid, 1000 * (time.perf_counter() - began)]), flush=True)
loop.read(0, lambda: os.read(0, 1) or over.append(1))
loop.wait(lambda: bool(over))
broker.end()
"""
ASKED = b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nx-api-key: placeholder\r\nContent-Length: 20000\r\n\r\n" + b"q" * 20000
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=300)
    rounds = options.parse_args().rounds
    provider = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=(provider,), daemon=True).start()
    there = provider.getsockname()[1]
    plan = Plan((Route(f"http://127.0.0.1:{there}", "placeholder", Source("x-api-key", "real")),))
    with subprocess.Popen([sys.executable, "-c", KEEPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as keeper:
        assert keeper.stdin
        assert keeper.stdout
        keeper.stdin.write(json.dumps(to_json(plan)) + "\n")
        keeper.stdin.flush()
        here, pid, started = json.loads(keeper.stdout.readline())
        began = time.perf_counter()
        ask(connected(here))
        print(f"start: {started:.1f} ms in the shim; the first answer {1000 * (time.perf_counter() - began):.0f} ms later")
        kept = connected(there), connected(here)
        tell("first byte, connections kept", [(ask(kept[0]), ask(kept[1])) for _ in range(rounds)])
        tell("first byte, new connections", [(ask_anew(there), ask_anew(here)) for _ in range(rounds)])
        memory = dict(re.findall(r"(\w+):\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text()))
        print(f"memory of the broker: {int(memory['Private_Dirty']) / 1024:.1f} MB of its own, {int(memory['Rss']) / 1024:.1f} MB resident")
        keeper.stdin.close()


def tell(what: str, pairs: list[tuple[float, float]]) -> None:
    added = sorted(through - without for without, through in pairs)
    without, through = (statistics.median(column) for column in zip(*pairs, strict=True))
    late = added[int(len(added) * 0.95)]
    print(f"{what}: {without:.2f} ms without, {through:.2f} ms with; added p50 {statistics.median(added):.2f} ms, p95 {late:.2f} ms")


def ask_anew(port: int) -> float:
    began = time.perf_counter()
    ask(connected(port))
    return 1000 * (time.perf_counter() - began)


def ask(connection: socket.socket) -> float:
    """Milliseconds until the answer begins."""
    began = time.perf_counter()
    connection.sendall(ASKED)
    content = connection.recv(65536)
    took = 1000 * (time.perf_counter() - began)
    while not content.endswith(b"ok"):
        content += connection.recv(65536)
    return took


def connected(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def serve(provider: socket.socket) -> None:
    while True:
        connection, _ = provider.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


def answer(connection: socket.socket) -> None:
    content = b""
    while more := connection.recv(65536):
        content += more
        end = content.find(b"\r\n\r\n")
        if end >= 0 and len(content) >= end + 4 + 20000:
            content = content[end + 4 + 20000 :]
            connection.sendall(ANSWER)


if __name__ == "__main__":
    main()
