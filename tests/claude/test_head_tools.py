"""Real Claude Code as a head: what its model is shown of our server, and what it does with it."""

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import anyio
import pytest

from devsh_memory_mcp.domain.events import AgentSpawned
from devsh_memory_mcp.domain.requests import ListRequest
from devsh_memory_mcp.ports import Orchestration
from devsh_memory_mcp.wiring import open_orchestrations
from tests.doubles.model_api import ModelApi
from tests.doubles.model_script import Tool, Turn
from tests.engine.house import House, events_of, git

PACKAGE = Path(__file__).parents[2]
SESSION = "6b1f2f6e-3a0f-4a55-9a53-6d5c1c0f7a11"
BOUND = 60  # s; a hang, not a slow machine


def tool(name: str, /, **arguments: object) -> Tool:
    return Tool(f"mcp__devsh-memory__{name}", arguments)


class Head:
    """`claude -p` in a repository, with our server and no other."""

    def __init__(self, claude: Path, environment: dict[str, str], house: House) -> None:
        self.claude, self.environment, self.house = claude, environment, house
        entry = {
            "command": sys.executable,
            "args": ["-m", "devsh_memory_mcp", "--dir", str(house.root)],
            "env": {"PYTHONPATH": str(PACKAGE)},
        }
        self.servers = json.dumps({"mcpServers": {"devsh-memory": entry}})

    @asynccontextmanager
    async def leading(self, prompt: str, *words: str) -> AsyncIterator["anyio.abc.Process"]:
        allowed = ("--allowedTools", "mcp__devsh-memory")
        command = [str(self.claude), "-p", prompt, *words, "--mcp-config", self.servers, "--strict-mcp-config", *allowed]
        null = subprocess.DEVNULL
        with anyio.fail_after(BOUND):
            async with await anyio.open_process(
                command, stdin=null, stdout=null, stderr=null, cwd=self.house.directory, env=self.environment
            ) as process:
                yield process

    async def leads(self, prompt: str, *words: str) -> None:
        async with self.leading(prompt, *words) as process:
            assert await process.wait() == 0

    @asynccontextmanager
    async def own(self) -> AsyncIterator[Orchestration]:
        """What its session spawned."""
        caller = self.house.caller(session=SESSION, is_shell=False)
        async with open_orchestrations(self.house.root, caller) as orchestrations:
            yield await orchestrations.current()


@pytest.fixture
def head(claude: Path, claude_environment: dict[str, str], house: House, repository: Path) -> Head:
    return Head(claude, claude_environment, house)


FOUR = [{"id": name, "prompt": f"echo {name} > {name}.txt; echo wrote {name}"} for name in ("a", "b", "c", "d")]


@pytest.mark.promise("mcp.spawn_batch")
@pytest.mark.promise("mcp.brief")
async def test_it_fans_out_waits_and_is_told_what_it_owes(head: Head, model_api: ModelApi) -> None:
    model_api.route(
        "TASK-F",
        Turn("All at once.", [tool("spawn_batch", tasks=FOUR, defaults={"agentName": "shell/bash"})], expect="ONE wait_for_agent"),
        Turn("I wait.", [tool("wait_for_agent", ids=["a", "b", "c", "d"], mode="any")], expect="wait_for_agent once with all ids"),
        Turn("For the rest.", [tool("wait_for_agent", ids=["a", "b", "c", "d"])], expect=r"wrote [abcd]"),
        Turn("And now?", [tool("get_orchestration_summary", brief=True)], expect=r"merge what is good: dev/"),
        Turn(
            "I read it too.", [Tool("ReadMcpResourceTool", {"server": "devsh-memory", "uri": "devsh://brief"})], expect="git merge BRANCH"
        ),
        Turn("Merged.", expect=r"Finished, not merged as far as git shows \(4\)"),
    )
    await head.leads("TASK-F: write four files", "--session-id", SESSION)
    async with head.own() as orchestration:
        rows = (await orchestration.list_tasks(ListRequest())).result
    assert [row.status for row in rows] == ["completed"] * 4
    git(head.house.directory, "merge", "-q", *(str(row.branch) for row in rows))
    assert {path.name for path in head.house.directory.glob("?.txt")} == {"a.txt", "b.txt", "c.txt", "d.txt"}


@pytest.mark.promise("mcp.brief")
async def test_one_that_is_killed_and_resumed_asks_for_the_brief_and_spawns_nothing_twice(head: Head, model_api: ModelApi) -> None:
    gate = head.house.gate()
    model_api.route(
        "TASK-K",
        Turn("One.", [tool("spawn_agent", prompt=gate.pass_through, agentName="shell/bash", name="long", repo="none")]),
        Turn("What was I doing?", [tool("get_orchestration_summary", brief=True)], hold="killed"),
        Turn("What was I doing?", [tool("get_orchestration_summary", brief=True)], expect="GO-ON"),  # claude puts a turn of its own before
        Turn("I wait.", [tool("wait_for_agent", ids=["long"])], expect=r"never spawn this work again(.|\n)*- long, shell/bash"),
        Turn("Over.", expect="completed"),
    )
    async with head.leading("TASK-K: start it", "--session-id", SESSION) as process:
        await anyio.to_thread.run_sync(model_api.await_turn, "TASK-K", 2)
        process.send_signal(signal.SIGKILL)
        await process.wait()
    model_api.open("killed")
    async with head.own() as orchestration:
        await running(orchestration)
    async with head.leading("GO-ON", "--resume", SESSION) as process:
        await anyio.to_thread.run_sync(model_api.await_words, "never spawn this work again")
        gate.open()
        assert await process.wait() == 0
    async with head.own() as orchestration:
        assert [event.id for event in events_of(orchestration) if isinstance(event, AgentSpawned)] == ["long"]


@pytest.mark.promise("mcp.prompts")
async def test_a_pattern_that_its_user_types_is_read_with_all_his_words(head: Head, model_api: ModelApi) -> None:
    words = "Port the parser and the lexer"
    model_api.route("Let agents do this side by side: Port the", Turn("I see.", expect=f"<command-args>{words}</command-args>"))
    await head.leads(f"/mcp__devsh-memory__parallel_fan_out {words}")


async def running(orchestration: Orchestration) -> None:
    async with aclosing(orchestration.changes(after=0)) as changes:  # type: ignore[type-var]
        async for change in changes:
            if change.event == "agent_started":
                return
