"""A process that keeps a broker as a shim does, for tests: forking is for processes without threads.

It reads a plan, then prints the broker's port and pid, what it tells, and, once its input has ended, what it has counted.
"""

import json
import os
import subprocess
import sys
from typing import Any, Self

from devsh_memory_mcp.shim.broker.plan import Plan
from devsh_memory_mcp.shim.broker.service import Broker
from devsh_memory_mcp.shim.inside import listen_here
from devsh_memory_mcp.shim.loop import Loop
from devsh_memory_mcp.shim.shape import from_json, to_json


def main() -> None:
    plan = from_json(Plan, json.loads(sys.stdin.readline()))
    loop, listener, over = Loop(), listen_here(), []
    port = listener.getsockname()[1]
    broker = Broker(loop, plan, [listener], _say)
    _say({"port": port, "pid": broker.pid})
    loop.read(0, lambda: os.read(0, 1) or over.append(1))
    loop.wait(lambda: bool(over))
    _say(broker.end())


def _say(told: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


class Keeper:
    """The same from outside."""

    def __init__(self, plan: Plan) -> None:
        command = [sys.executable, "-m", "tests.shim.keeper"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(to_json(plan)) + "\n")
        self.process.stdin.flush()
        begun = self.heard()
        self.port, self.pid = begun["port"], begun["pid"]

    def heard(self) -> dict[str, Any]:
        """What the broker tells next."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return dict(json.loads(line)) if line else {}

    def ended(self) -> dict[str, Any]:
        """Ends it; its counts."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        last: dict[str, Any] = {}
        while told := self.heard():
            last = told
        return last

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(30)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()


if __name__ == "__main__":
    main()
