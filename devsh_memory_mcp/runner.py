"""The entry of the runner's process: `python -m devsh_memory_mcp.runner ROOT [--ready-fd N]`.

It leaves its starter's side before it imports anything heavy, so that the starter waits for a byte on `--ready-fd` and not for a child.
"""

import argparse
import os
import sys


def main(arguments: list[str]) -> int:
    """Serves the memory root in the background; returns at once in the caller."""
    parser = argparse.ArgumentParser(prog="devsh runner", description="Schedules and starts the agents of a memory root.")
    parser.add_argument("root")
    parser.add_argument("--ready-fd", type=int)
    options = parser.parse_args(arguments)
    if os.fork():
        return 0
    os.setsid()
    from devsh_memory_mcp.wiring import run_runner  # the fork comes first: a large process forks slowly

    run_runner(options.root, options.ready_fd)
    sys.stderr.flush()
    os._exit(0)  # a thread may still wait for the lock of a shim that is silent; the interpreter would wait for the thread


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
