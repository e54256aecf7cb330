"""When orchestrations are opened, for whom, and where he stands."""

import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from doubles.mcp_client import HELLO, Raw, started, text_of
from doubles.orchestrations import IDS, Canned
from mcp import Client
from mcp.types import Implementation, ListRootsResult, Root

from devsh_memory_mcp.config import Caller
from devsh_memory_mcp.domain import answers
from devsh_memory_mcp.domain.events import PlanTaskFound
from devsh_memory_mcp.engine.preparation import choose
from devsh_memory_mcp.errors import MemoryRootUnusable
from devsh_memory_mcp.faces.mcp_server import build_server
from devsh_memory_mcp.ports import Decision, Orchestrations
from devsh_memory_mcp.store.journal import FileJournal
from devsh_memory_mcp.store.root import MemoryRoot
from devsh_memory_mcp.wiring import SystemClock, server_command

CODEX = Implementation(name="codex-mcp-client", version="1")
SPAWNED = answers.SpawnAnswer(**IDS, agent_name="shell/sh", status="pending", orchestration_id="orch_1")


class Opener:
    """What `Open` is: counts, remembers for whom, fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.callers: list[Caller] = []
        self.closed = 0
        self.failures = failures

    @asynccontextmanager
    async def __call__(self, caller: Caller) -> AsyncIterator[Orchestrations]:
        self.callers.append(caller)
        if len(self.callers) <= self.failures:
            raise MemoryRootUnusable("The memory root cannot be written.")
        try:
            yield Canned(spawn=SPAWNED)
        finally:
            self.closed += 1


def nameless(**values: object) -> Caller:
    return Caller(**{"directory": Path("/here"), "environment": {}, "head_agent": "", "is_shell": False, **values})


@pytest.mark.parametrize(("named", "expected"), [("", "codex-mcp-client"), ("claude/opus", "claude/opus")])
async def test_they_are_opened_once_at_the_first_call_and_the_head_bears_its_clients_name(era: str, named: str, expected: str) -> None:
    opener = Opener()
    async with Client(build_server(opener, nameless(head_agent=named)), mode=era, client_info=CODEX) as client:
        await client.list_tools()
        assert opener.callers == []
        for _ in range(2):
            assert not (await client.call_tool("spawn_agent", {"prompt": "p"})).is_error
        assert [caller.head_agent for caller in opener.callers] == [expected]
        assert opener.closed == 0
    assert opener.closed == 1


async def test_what_could_not_be_opened_is_told_and_tried_again(era: str) -> None:
    async with Client(build_server(Opener(failures=1), nameless()), mode=era) as client:
        refused = await client.call_tool("spawn_agent", {"prompt": "p"})
        assert text_of(refused).startswith("memory_root_unusable: The memory root cannot be written. Name another with --dir")
        assert not (await client.call_tool("spawn_agent", {"prompt": "p"})).is_error


@pytest.mark.filterwarnings("ignore:.*roots:mcp.shared.exceptions.MCPDeprecationWarning")
@pytest.mark.parametrize("asks", [True, False])
async def test_the_clients_first_root_is_the_project_where_it_is_asked_for(tmp_path: Path, asks: bool) -> None:
    place = tmp_path / "a project"
    place.mkdir()

    async def roots(_context: object) -> ListRootsResult:
        return ListRootsResult(roots=[Root(uri=f"file://{tmp_path}/missing"), Root(uri=place.as_uri())])

    opener = Opener()
    server = build_server(opener, nameless(), asks_roots=asks)
    async with Client(server, mode="legacy", list_roots_callback=roots) as client:
        await client.call_tool("spawn_agent", {"prompt": "p"})
    assert [caller.directory for caller in opener.callers] == [place if asks else Path("/here")]


async def test_a_client_without_roots_is_not_asked(era: str) -> None:
    opener = Opener()
    async with Client(build_server(opener, nameless(), asks_roots=True), mode=era) as client:
        await client.call_tool("spawn_agent", {"prompt": "p"})
    assert opener.callers[0].directory == Path("/here")


@pytest.mark.promise("mcp.worker")
async def test_a_process_started_in_a_run_is_an_agent_and_a_leading_or_a_stray_one_a_head(
    monkeypatch: pytest.MonkeyPatch, own_surroundings: Path
) -> None:
    root = own_surroundings / "memory"
    (root / "orchestrations").mkdir(parents=True)
    found = MemoryRoot(root, SystemClock(), choose, {}).begin()
    task = PlanTaskFound(orchestration_task_id="ns0123456789", task_run_id="tr_0123456789ab", id="a", agent_name="a/b", prompt="p")
    async with aclosing(FileJournal(found.directory, SystemClock())) as journal:
        await journal.transact(lambda _state, _now: Decision((task,), None))
    offered = []
    for run, leads in (("tr_0123456789ab", "0"), ("tr_0123456789ab", "1"), ("tr_of_another_one", "0"), ("no id\n", "0")):
        monkeypatch.setenv("CMUX_TASK_RUN_ID", run)
        monkeypatch.setenv("DEVSH_RUN", "tr_0123456789ab.1")
        monkeypatch.setenv("CMUX_IS_ORCHESTRATION_HEAD", leads)
        async with started("-m", "devsh_memory_mcp") as raw:
            number = await raw.ask("tools/list", {})
            answer = await raw.read()
            assert answer["id"] == number
            offered.append(len(answer["result"]["tools"]))
    assert offered == [3, 11, 11, 11]


@pytest.mark.parametrize(
    "names", [{}, {"CMUX_TASK_RUN_ID": "tr_of_another_one"}, {"CMUX_TASK_RUN_ID": "tr_1", "CMUX_IS_ORCHESTRATION_HEAD": "1"}]
)
async def test_a_server_for_a_sub_agent_never_becomes_a_heads_and_asks_its_client_nothing(
    monkeypatch: pytest.MonkeyPatch, own_surroundings: Path, names: dict[str, str]
) -> None:
    for name, value in {**names, "DEVSH_MEMORY_DIR": str(own_surroundings / "memory")}.items():
        monkeypatch.setenv(name, value)
    program, *arguments = server_command()
    assert program == sys.executable
    async with started(*arguments, greets=False) as raw:
        await raw.ask("initialize", {**HELLO, "capabilities": {"roots": {}}})
        await raw.read()
        raw.write({"jsonrpc": "2.0", "method": "notifications/initialized"})
        assert await answer(raw, "resources/list", "resources") == []
        assert len(await answer(raw, "tools/list", "tools")) == 3
        assert await answer(raw, "prompts/list", "prompts") == []
        await raw.ask("tools/call", {"name": "spawn_agent", "arguments": {"prompt": "p"}})
        assert (await raw.read())["result"]["isError"]
        await raw.ask("tools/call", {"name": "get_my_messages", "arguments": {}})
        said = await raw.read()
        assert said["id"] == raw.last_id
        assert said["result"]["content"][0]["text"].startswith("not_found: This server was started for a sub-agent")


async def answer(raw: Raw, method: str, name: str) -> list[object]:
    await raw.ask(method, {})
    said = await raw.read()
    assert said["id"] == raw.last_id
    return list(said["result"][name])
