"""Waiting through clients with timers of their own, over hours that pass in no time: every result and every message arrives.

Each client is a model that does as it is told: it waits for all that are open, repeats a call that was cut, calls again when
the answer says so, and reads its mail when there is some.
"""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest
from doubles.memory_journal import MemoryJournal, orchestration_over
from doubles.timers import FOREVER, Hands, Kind, connected
from doubles.virtual_loop import VIRTUAL

from devsh_memory_mcp.config import Caller
from devsh_memory_mcp.domain import events
from devsh_memory_mcp.domain.records import TaskSpec
from devsh_memory_mcp.faces.mcp_server import build_server
from devsh_memory_mcp.faces.mcp_wait import AGAIN

CLAUDE = "claude-code"
KINDS = {
    "claude, headless": Kind(CLAUDE, idle=1800),
    "claude as it is set up": Kind(CLAUDE, cut=1800, idle=1800),
    "claude, interactive": Kind(CLAUDE, idle=1800, background=120),
    "claude without progress": Kind(CLAUDE, idle=1800, wants_progress=False),
    "claude over http": Kind(CLAUDE, cut=352, idle=300, is_http=True),
    "claude over http, without progress": Kind(CLAUDE, cut=352, idle=300, is_http=True, wants_progress=False),
    "claude with a limit of its user's": Kind(CLAUDE, cut=60, environment={"MCP_TOOL_TIMEOUT": "60000"}),
    "codex": Kind("codex-mcp-client", cut=300),
    "one that cuts at 60 s": Kind("whoever", cut=60),
}
HASTY = Kind("whoever", cut=17)  # before any slice is over
HOUR = 3600.0
TIMEOUTS = {0: "legacy", 1: "2026-07-28", 50_000: "legacy", 300_000: "2026-07-28", 7_200_000: "legacy"}
THINKING = 40.0  # s at most, between two calls

every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())


@pytest.fixture
def anyio_backend() -> tuple[str, Mapping[str, Any]]:
    return VIRTUAL


class World:
    """Tasks that end and messages that come at set times; what was missed shows in the model that leads."""

    def __init__(self, directory: Path, kind: Kind, ends: dict[str, float], mail: tuple[float, ...] = (), needs: Mapping[str, float] = {}):
        self.journal, self.ends = MemoryJournal(), ends
        self.mail, self.needs = mail, needs
        caller = Caller(directory, kind.environment, is_shell=False)
        self.orchestration = orchestration_over(self.journal, directory, caller)
        self.server = build_server(Only(self.orchestration), caller)

    async def run(self) -> None:
        for name in self.ends:
            spec = TaskSpec(prompt=f"Do {name}.", agent_name="a/b")
            self.journal.tell(
                events.AgentSpawned(orchestration_task_id=name, task_run_id=f"tr_{name}", id=name, agent_name="a/b", spec=spec)
            )
            self.journal.tell(events.AttemptStarted(orchestration_task_id=name, task_run_id=f"tr_{name}", attempt=1))
        due: list[tuple[float, events.Event]] = []
        for name, at in self.ends.items():
            due.append((at, events.AgentCompleted(orchestration_task_id=name, result=f"{name} is done")))
        for at in self.mail:
            due.append((at, events.MessageSent(sender="a", to="head", type="request", message=f"at {at}")))
        for name, at in self.needs.items():
            due.append((at, events.AgentNeedsInput(orchestration_task_id=name, attempt=1, n=1, kind="permission", message="needs a key")))
        for at, event in sorted(due, key=lambda each: each[0]):
            await anyio.sleep_until(at)
            self.journal.tell(event)


class Only:
    """The one orchestration that there is."""

    def __init__(self, orchestration: Any) -> None:
        self.orchestration = orchestration

    async def current(self, *, create: bool = False, request: Any = None) -> Any:
        return self.orchestration

    async def holding(self, _any_id: str) -> Any:
        return self.orchestration


class Model:
    """Leads until all have ended; `seen` and `mail` are what it got and when, `overs` how often its timeout was over."""

    def __init__(self, hands: Hands, chance: random.Random, timeout: int) -> None:
        self.hands, self.chance, self.timeout = hands, chance, timeout
        self.seen: dict[str, float] = {}
        self.needs: dict[str, float] = {}
        self.mail: list[str] = []
        self.overs = 0
        self.waited = 0.0  # of the timeout that it is in

    async def lead(self, ids: list[str]) -> None:
        while open_ids := [name for name in ids if name not in self.seen]:
            began = anyio.current_time()
            answer = await self.hands.call_aside("wait_for_agent", self.read_mail, ids=open_ids, mode="any", timeout=self.timeout)
            self.waited += anyio.current_time() - began
            if answer is not None:
                await self.hear(answer)
            await anyio.sleep(self.chance.uniform(1, THINKING) if answer is not None else 0.1)
        await self.read_mail()

    async def hear(self, answer: dict[str, Any]) -> None:
        whole = self.timeout / 1000
        again = answer.get("next") == AGAIN
        if answer["timedOut"]:
            assert not answer["finished"]
            assert self.waited >= whole - 0.01
        elif again:
            assert self.waited < whole
        else:
            assert answer["finished"] or answer["unreadMessages"] or "needs help" in answer["next"]
        for row in answer["tasks"]:
            if row["status"] == "completed":
                assert row["result"] == f"{row['id']} is done"
                self.seen.setdefault(row["id"], anyio.current_time())
            elif row.get("needsInput"):
                self.needs.setdefault(row["id"], anyio.current_time())
        self.overs += answer["timedOut"]
        self.waited = self.waited if again else 0.0
        if answer["unreadMessages"]:
            await self.read_mail()

    async def read_mail(self) -> None:
        answer = await self.hands.call("get_my_messages")
        assert answer is not None
        self.mail += [message["message"] for message in answer["messages"]]


async def led(world: World, kind: Kind, era: str, timeout: int, seed: int = 0) -> Model:
    async with connected(kind, world.server, era) as hands, anyio.create_task_group() as tasks:
        tasks.start_soon(world.run)
        await anyio.sleep(0.001)
        model = Model(hands, random.Random(seed), timeout)
        await model.lead(list(world.ends))
        return model


@every_kind
@pytest.mark.promise("mcp.wait_for_agent")
@pytest.mark.promise("mcp.wait_for_agent.timeout")
@pytest.mark.parametrize(("timeout", "era"), TIMEOUTS.items())
async def test_every_result_and_message_arrives_through_every_client(tmp_path: Path, era: str, kind: Kind, timeout: int) -> None:
    chance = random.Random(f"{kind}{timeout}")
    ends = {f"t{number}": chance.uniform(0, 2 * HOUR) for number in range(6)}
    mail = tuple(chance.uniform(0, 2 * HOUR) for _ in range(8))
    world = World(tmp_path, kind, ends, mail)
    model = await led(world, kind, era, timeout)
    assert model.seen.keys() == ends.keys()
    assert sorted(model.mail) == sorted(f"at {at}" for at in mail if at <= max(ends.values()))
    assert model.hands.cuts == 0
    assert max(model.seen[name] - at for name, at in ends.items()) <= 3 * THINKING


@every_kind
@pytest.mark.parametrize("at", [0.0, 60.0, 120.0, 280.0, 299.9, 1800.1, 2 * HOUR - 1])
async def test_one_wait_of_two_hours_ends_with_the_task(tmp_path: Path, kind: Kind, at: float) -> None:
    model = await led(World(tmp_path, kind, {"t": at}), kind, "legacy", 7_200_000)
    is_one_call = (kind.name, kind.cut) == (CLAUDE, FOREVER) and kind.wants_progress and at < 1790.0
    assert at <= model.seen["t"] <= at + (0.1 if is_one_call else THINKING)
    assert (model.overs, model.hands.cuts) == (0, 0)


@every_kind
async def test_a_timeout_is_the_callers_however_many_calls_it_takes_him(tmp_path: Path, kind: Kind) -> None:
    model = await led(World(tmp_path, kind, {"t": 2 * HOUR}), kind, "legacy", 1_500_000)
    assert model.overs >= 2
    assert model.seen["t"] <= 2 * HOUR + THINKING


@pytest.mark.parametrize("timeout", [300_000, 7_200_000])
async def test_a_client_that_cuts_every_call_loses_time_and_nothing_else(tmp_path: Path, era: str, timeout: int) -> None:
    ends, mail = {"a": 500.0, "b": 501.0, "c": 5000.0}, (10.0, 499.0, 4999.0)
    model = await led(World(tmp_path, HASTY, ends, mail), HASTY, era, timeout)
    assert model.seen.keys() == ends.keys()
    assert model.mail == [f"at {at}" for at in mail]
    assert model.hands.cuts > 100
    assert (model.overs > 1) is (timeout == 300_000)


@every_kind
async def test_mail_that_came_while_nobody_waited_ends_the_next_wait_at_once(tmp_path: Path, kind: Kind) -> None:
    world = World(tmp_path, kind, {"t": 300.0}, ())
    async with connected(kind, world.server, "legacy") as hands, anyio.create_task_group() as tasks:
        tasks.start_soon(world.run)
        await anyio.sleep(1)
        world.journal.tell(events.MessageSent(sender="t", to="head", type="request", message="?"))
        first = await hands.call("wait_for_agent", ids=["t"])
        assert (anyio.current_time(), (first or {})["unreadMessages"]) == (1, 1)
        assert (first or {})["timedOut"] is False
        await hands.call("get_my_messages")
        second = await hands.call("wait_for_agent", ids=["t"], timeout=20_000)
        assert (second or {})["timedOut"] is True
        assert round(anyio.current_time()) == 21
        tasks.cancel_scope.cancel()


@every_kind
async def test_an_agent_that_needs_help_ends_the_wait_once(tmp_path: Path, kind: Kind) -> None:
    model = await led(World(tmp_path, kind, {"t": 2000.0, "u": 2100.0}, needs={"t": 700.0}), kind, "legacy", 7_200_000)
    assert 700 <= model.needs["t"] <= 700 + THINKING
    assert model.seen.keys() == {"t", "u"}
