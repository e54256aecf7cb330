"""A process that relays as a shim does, for tests: `DIRECTORY ADDRESS`; it retries whenever a line comes, and ends with its input."""

import os
import sys

from devsh_memory_mcp.shim.loop import Loop
from devsh_memory_mcp.shim.relay import Relay, listen_in


def main(directory: str, address: str) -> None:
    loop, over = Loop(), []
    relay = Relay(loop, listen_in(directory, "api"), address)
    os.write(1, b"ready\n")
    loop.read(0, lambda: relay.retry() if os.read(0, 4096) else over.append(1))
    loop.wait(lambda: bool(over))
    relay.end()


if __name__ == "__main__":
    main(*sys.argv[1:])
