"""What a server costs: an event on its way to many clients of live events, a status, a spawn.

python benchmarks/server.py [--clients 1000] [--events 50] [--calls 300]

An event's time is from its commit (the instant in its journal line, which is taken before the disk is asked) to its arrival at a client.
Goals: 20 ms for 99 of 100 with 1,000 clients, 3 ms for the median status, 25 ms for the median spawn.
"""

import argparse
import http.client
import json
import os
import re
import resource
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

DEVSH = [sys.executable, "-c", "import sys; from devsh_memory_mcp.cli import main; sys.exit(main())"]
DEADLINE = 60.0
SPAWNS = 30
PAUSE = 0.15  # seconds between two events, so that each is measured alone
_AT = re.compile(rb'"at":"([^"]+)"')


class Server:
    """`devsh serve` over a memory root of its own."""

    def __init__(self, directory: Path) -> None:
        environment = dict(os.environ, DEVSH_MEMORY_DIR=str(directory / "memory"), HOME=str(directory), DEVSH_SANDBOX="none")
        self.process = subprocess.Popen([*DEVSH, "serve", "--port", "0", "--json"], env=environment, stdout=subprocess.PIPE)
        self.token = subprocess.run([*DEVSH, "token"], env=environment, check=True, capture_output=True, text=True).stdout.strip()
        assert self.process.stdout
        self.port = int(json.loads(self.process.stdout.readline())["urls"][0].rpartition(":")[2])
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        self.connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = self.connection.getresponse()
        content: dict[str, Any] = json.loads(answer.read())
        if answer.status >= 400:
            raise SystemExit(f"the server refused: {content}")
        return content

    def spawn(self) -> dict[str, Any]:
        return self.ask("POST", "/api/orchestrate/spawn", {"prompt": "true", "agentName": "shell/sh", "repo": "none"})

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(DEADLINE)


class Listeners:
    """Many clients of one orchestration's events, read by one thread."""

    def __init__(self, server: Server, orchestration_id: str, count: int) -> None:
        self.selector = selectors.DefaultSelector()
        self.count = count
        path = f"/api/orchestrate/events/{orchestration_id}?view=changes"
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {server.token}\r\n\r\n".encode()
        for _ in range(count):
            client = socket.create_connection(("127.0.0.1", server.port))
            client.sendall(head)
            client.setblocking(False)
            self.selector.register(client, selectors.EVENT_READ)
        self._until(b"event: connected")

    def _until(self, needle: bytes) -> list[tuple[float, bytes]]:
        """When each client had it, and in what."""
        got: list[tuple[float, bytes]] = []
        while len(got) < self.count:
            for key, _ in self.selector.select(DEADLINE):
                content = key.fileobj.recv(65536)  # type: ignore[union-attr]
                if not content:
                    raise SystemExit("a client was dropped")
                if needle in content:
                    got.append((time.time(), content))
        return got

    def event(self) -> list[float]:
        """Seconds from the commit of a message to each client."""
        told = self._until(b'"message_sent"')
        seconds = []
        for at, content in told:
            found = _AT.search(content, content.rindex(b'"message_sent"') - 200)
            assert found
            seconds.append(at - datetime.fromisoformat(found[1].decode()).timestamp())
        return seconds


def percentile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))] * 1000


def events(server: Server, orchestration_id: str, clients: int, count: int) -> None:
    listeners = Listeners(server, orchestration_id, clients)
    body = {"to": "head", "message": "x" * 100, "type": "status", "orchestrationId": orchestration_id}
    server.connection.close()  # it was silent for longer than the server keeps it; it opens again by itself
    seconds: list[float] = []
    for _ in range(count):
        time.sleep(PAUSE)
        sending = threading.Thread(target=server.ask, args=("POST", "/api/orchestrate/message", body))
        sending.start()
        seconds += listeners.event()
        sending.join()
    line = "   ".join(f"p{round(part * 100)} {percentile(seconds, part):6.1f} ms" for part in (0.5, 0.9, 0.99))
    print(f"  event to {clients} clients   {line}   worst {max(seconds) * 1000:.1f} ms")


def calls(server: Server, task_id: str, count: int) -> None:
    for name, call, times in (
        ("status", lambda: server.ask("GET", f"/api/orchestrate/status/{task_id}"), count),
        ("spawn", server.spawn, SPAWNS),
    ):
        seconds = []
        for _ in range(times):
            begun = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - begun)
        print(f"  {name:<22} p50 {statistics.median(seconds) * 1000:6.2f} ms   p99 {percentile(seconds, 0.99):6.2f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--events", type=int, default=50)
    parser.add_argument("--calls", type=int, default=300)
    given = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        server = Server(Path(directory))
        try:
            spawned = server.spawn()
            calls(server, spawned["orchestrationTaskId"], given.calls)
            for clients in sorted({100, given.clients}):
                events(server, spawned["orchestrationId"], clients, given.events)
        finally:
            server.close()


if __name__ == "__main__":
    main()
