"""With a server's address and a token, another machine does the main job: from its shell, and with an MCP client."""

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import anyio
import pytest
from mcp import Client, StdioServerParameters

from tests.doubles.aftermath import end_processes
from tests.machines.network import DEVSH, MCP, Machine, wired

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None,
    reason="another machine is made of a network namespace, which takes Linux, root and the command `ip`",
)
BOUND = 120  # s; a hang, not a slow machine
OVER_HTTP = """
import sys, anyio, httpx2, json
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

async def main(url, token):
    http = httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60)
    async with http, Client(streamable_http_client(f"{url}/mcp", http_client=http)) as client:
        asked = {"prompt": "hostname -I", "agentName": "shell/sh", "repo": "none"}
        task = (await client.call_tool("spawn_agent", asked)).structured_content
        ended = await client.call_tool("wait_for_agent", {"orchestrationTaskId": task["orchestrationTaskId"]})
        print(json.dumps(ended.structured_content))

anyio.run(main, *sys.argv[1:])
"""


class Served(NamedTuple):
    """A server on the first machine, and what the second one needs of it."""

    first: Machine
    second: Machine
    url: str
    token: str

    def here(self) -> dict[str, str]:
        """The variables of a shell of the second machine."""
        return {"CMUX_API_BASE_URL": self.url, "CMUX_TASK_RUN_JWT": self.token}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with contextlib.ExitStack() as stack:
        first, second = stack.enter_context(wired(tmp_path))
        token = first.run(*DEVSH, "token").strip()
        line = stack.enter_context(first.started([*DEVSH, "serve", "--host", first.address, "--port", "0", "--json"], "urls"))
        yield Served(first, second, json.loads(line)["urls"][0], token)
    assert end_processes(first.home / "memory") == {}


@pytest.mark.promise("http.second-machine")
def test_a_shell_spawns_watches_and_gets_the_results_of_its_own_repository(served: Served) -> None:
    second, here = served.second, served.here()
    project = second.home / "project"
    git = ["git", "-c", "init.defaultBranch=main"]
    second.run(*git, "init", "-q", str(project))
    second.run("sh", "-c", "echo hello >greeting && git add . && git commit -qm first", where=project)
    second.run("git", "clone", "-q", "--bare", str(project), str(second.home / "project.git"))
    origin = f"git://{second.address}/project.git"
    second.run("git", "remote", "add", "origin", origin, where=project)
    daemon = ["git", "daemon", "--verbose", "--export-all", "--reuseaddr", f"--listen={second.address}", f"--base-path={second.home}"]
    with second.started(daemon, "Ready"):
        prompt = "cat greeting; pwd; echo more >>greeting"
        task = json.loads(second.run(*DEVSH, "orchestrate", "spawn", "--json", "--agent", "shell/bash", prompt, where=project, **here))
        watched = second.run(*DEVSH, "orchestrate", "status", task["orchestrationTaskId"], "--watch", where=project, **here)
        results = json.loads(second.run(*DEVSH, "orchestrate", "results", task["orchestrationId"], "--json", where=project, **here))
    assert "completed" in watched
    (row,) = results["results"]
    said, place, *_ = row["result"].splitlines()
    assert (row["status"], said, row["commits"]) == ("completed", "hello", 1)
    assert Path(place).is_relative_to(served.first.home)
    assert not (second.home / "memory" / "runner.log").exists()


@pytest.mark.promise("http.second-machine")
def test_an_mcp_client_does_the_same_over_stdio_and_over_http(served: Served) -> None:
    ended = json.loads(served.second.run(sys.executable, "-c", OVER_HTTP, served.url, served.token))
    assert (ended["status"], ended["result"].split()) == ("completed", [served.first.address])
    anyio.run(over_stdio, served)


async def over_stdio(served: Served) -> None:
    program, *arguments = served.second.command(*MCP, "--use-env-jwt")
    there = StdioServerParameters(command=program, args=arguments, env=served.second.environment(**served.here()))
    with anyio.fail_after(BOUND):
        async with Client(there, mode="legacy") as client:
            asked = {"prompt": "hostname -I", "agentName": "shell/sh", "repo": "none"}
            task = (await client.call_tool("spawn_agent", asked)).structured_content
            assert task is not None
            ended = await client.call_tool("wait_for_agent", {"orchestrationTaskId": task["orchestrationTaskId"]})
            assert ended.structured_content is not None
            assert ended.structured_content["result"].split() == [served.first.address]
