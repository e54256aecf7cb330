"""The entry of a warm process: `python -m devsh_memory_mcp.warm ROOT [--ready-fd N]`, which serves the sessions of a memory root.

It leaves its starter's side before it imports anything heavy, so that the starter waits for a byte on `--ready-fd` and not for a child.
It stays as long as it has clients or the memory root a runner: with a runner come agents, who are clients.
"""

import argparse
import os
import sys


def main(arguments: list[str]) -> int:
    """Serves in the background; returns at once in the caller."""
    parser = argparse.ArgumentParser(prog="devsh-memory-mcp (warm)", description="Serves MCP sessions that are handed over to it.")
    parser.add_argument("root")
    parser.add_argument("--ready-fd", type=int)
    options = parser.parse_args(arguments)
    if os.fork():
        return 0
    os.setsid()
    os.chdir("/")
    _serve(options.root, options.ready_fd)
    sys.stderr.flush()
    os._exit(0)  # a thread may still be at work for a session that is over


def _serve(root: str, ready_fd: int | None) -> None:
    # The fork comes first: a large process forks slowly.
    import gc
    import importlib
    import logging
    from contextlib import suppress
    from functools import partial
    from pathlib import Path

    import anyio
    from anyio import to_thread

    from devsh_memory_mcp.engine.link import until_no_runner
    from devsh_memory_mcp.faces.mcp_warm import Request, SessionLog, WarmProcess
    from devsh_memory_mcp.handover import likeness, socket_path
    from devsh_memory_mcp.program import LOG_FORMAT, Session, make_session

    importlib.import_module("devsh_memory_mcp.wiring")  # which sessions need: not while others wait

    async def prepare(request: Request) -> Session:
        return await to_thread.run_sync(partial(make_session, request.arguments, request.environment, request.directory))

    def tell() -> None:
        gc.freeze()  # the SDK's classes are there for good: looking through them again and again would cost calls their evenness
        if ready_fd is not None:
            with suppress(BrokenPipeError):  # who started it was killed; others find it
                os.write(ready_fd, b"\n")
            os.close(ready_fd)

    log = SessionLog()
    log.setFormatter(logging.Formatter(LOG_FORMAT))
    logging.basicConfig(level=logging.WARNING, handlers=[log])
    process = WarmProcess(likeness(), prepare, partial(until_no_runner, Path(root)))
    anyio.run(process.run, socket_path(root), tell)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
