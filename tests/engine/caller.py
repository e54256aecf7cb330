"""Another process that calls: `ROOT DIRECTORY spawn|send N|read`. It prints a line of JSON for each thing that was acknowledged."""

import json
import os
import select
import sys
from pathlib import Path

import anyio

from devsh_memory_mcp.config import Caller
from devsh_memory_mcp.domain.requests import MessageRequest, SpawnRequest
from devsh_memory_mcp.wiring import open_orchestrations

FILES = ("PLAN.json", "AGENTS.json", "MAILBOX.json", "EVENTS.jsonl")


def tell(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")


async def spawn(root: Path, directory: Path) -> None:
    async with open_orchestrations(root, Caller(directory, os.environ)) as orchestrations:
        orchestration = await orchestrations.current(create=True)
        answer = await orchestration.spawn(SpawnRequest(prompt="true", agent_name="shell/sh", repo="none"))
        tell(answer.orchestration_id)


async def send(root: Path, directory: Path, number: int) -> None:
    async with open_orchestrations(root, Caller(directory, os.environ)) as orchestrations:
        orchestration = await orchestrations.current(create=True)
        for count in range(100):
            tell((await orchestration.message(MessageRequest(to="head", message=f"{number}-{count}"))).message_id)


def read(directory: Path) -> None:
    """Parses every file again and again until stdin ends; tells how often, and what could not be parsed."""
    rounds, broken = 0, []
    while not select.select([sys.stdin], [], [], 0)[0]:
        for name in filter(lambda name: (directory / name).exists(), FILES):
            content = (directory / name).read_bytes()
            try:
                whole = content[: content.rfind(b"\n") + 1].splitlines() if name.endswith("l") else [content]
                for text in whole:
                    json.loads(text)
            except ValueError:
                broken.append(name)
        rounds += 1
    tell([rounds, broken])


def main(root: str, directory: str, errand: str, number: str = "0") -> None:
    if errand == "read":
        read(Path(directory))
    elif errand == "send":
        anyio.run(send, Path(root), Path(directory), int(number))
    else:
        anyio.run(spawn, Path(root), Path(directory))


if __name__ == "__main__":
    main(*sys.argv[1:])
