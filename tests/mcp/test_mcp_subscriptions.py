"""Who subscribes is told, by what his era of the protocol has for it; nothing follows a journal while nobody does."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from doubles.following import Followed
from doubles.orchestrations import IDS, Canned
from mcp import Client
from mcp.client.subscriptions import ResourceUpdated
from mcp.server import MCPServer
from mcp.shared.exceptions import MCPError
from mcp.types import ResourceUpdatedNotification, SubscribeRequestParams

from devsh_memory_mcp.config import Caller
from devsh_memory_mcp.domain import answers
from devsh_memory_mcp.errors import JournalBusy
from devsh_memory_mcp.faces.mcp_notices import Notices
from devsh_memory_mcp.faces.mcp_server import build_server
from devsh_memory_mcp.faces.mcp_session import Session

pytestmark = pytest.mark.filterwarnings("ignore:.*removed as of 2026-07-28:mcp.shared.exceptions.MCPDeprecationWarning")

BOUND = 10  # s; a hang, not a slow machine
SPAWNED = answers.SpawnAnswer(**IDS, agent_name="shell/bash", status="pending", orchestration_id="orch_1")
CALLER = Caller(Path("/project"), {}, is_shell=False)
Told = Callable[[], Awaitable[str]]


@asynccontextmanager
async def subscribed(era: str, orchestration: Followed, *uris: str) -> AsyncIterator[tuple[Client, Told, Callable[[], Awaitable[None]]]]:
    """A client that subscribed, what it is told next, and how it takes its subscriptions back."""
    send, receive = anyio.create_memory_object_stream[str](100)

    async def on_message(message: object) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            send.send_nowait(str(message.params.uri))

    with anyio.fail_after(BOUND), send, receive:
        options: dict[str, Any] = {"message_handler": on_message} if era == "legacy" else {}
        async with Client(build_server(orchestration, CALLER), mode=era, **options) as client:
            if era == "legacy":
                for uri in uris:
                    await client.subscribe_resource(uri)

                async def back() -> None:
                    for uri in uris:
                        await client.unsubscribe_resource(uri)

                yield client, receive.receive, back
                return
            async with anyio.create_task_group() as tasks, client.listen(resource_subscriptions=uris) as subscription:

                async def hear() -> None:
                    async for event in subscription:
                        assert isinstance(event, ResourceUpdated)
                        send.send_nowait(event.uri)

                tasks.start_soon(hear)

                async def close() -> None:
                    tasks.cancel_scope.cancel()
                    await anyio.lowlevel.checkpoint()

                yield client, receive.receive, close
                tasks.cancel_scope.cancel()


async def settled(condition: Callable[[], bool]) -> None:
    """As many turns of the loop as it takes: nothing here needs time."""
    with anyio.fail_after(BOUND):
        while not condition():
            await anyio.lowlevel.checkpoint()


@pytest.mark.promise("mcp.subscriptions")
async def test_the_plan_and_the_agent_that_changed_are_told_of(era: str) -> None:
    orchestration = Followed()
    async with subscribed(era, orchestration, "devsh://plan", "devsh://agents/task1", "devsh://runs/ns0000000001/log") as (_, told, _back):
        orchestration.happen("agent_completed", 2)
        assert await told() == "devsh://plan"
        orchestration.happen("agent_completed", 1)
        assert {await told() for _ in range(3)} == {"devsh://plan", "devsh://agents/task1", "devsh://runs/ns0000000001/log"}
        orchestration.happen("message_sent")
        assert await told() == "devsh://plan"


async def test_a_commit_of_many_events_is_one_notice(era: str) -> None:
    orchestration = Followed()
    async with subscribed(era, orchestration, "devsh://agents/task1", "devsh://agents/task2") as (_, told, _back):
        orchestration.happen("agent_spawned", *[1] * 50)
        assert await told() == "devsh://agents/task1"
        orchestration.happen("agent_completed", 2)
        assert await told() == "devsh://agents/task2"


async def test_what_is_not_there_yet_is_followed_as_soon_as_it_is(era: str) -> None:
    orchestration = Followed(is_there=False, spawn=SPAWNED)
    async with subscribed(era, orchestration, "devsh://plan") as (client, told, _back):
        assert orchestration.followers == 0
        orchestration.happen("agent_spawned", 1)
        await client.call_tool("spawn_agent", {"prompt": "p"})
        assert await told() == "devsh://plan"


async def test_what_cannot_be_followed_spoils_no_call(era: str) -> None:
    class Broken(Followed):
        async def current(self, *, create: bool = False, request: Any = None) -> Canned:
            if self.asked:
                raise JournalBusy("The journal is busy.")
            return await super().current(create=create)

    orchestration = Broken(is_there=False, spawn=SPAWNED)
    async with subscribed(era, orchestration, "devsh://plan") as (client, _told, _back):
        assert not (await client.call_tool("spawn_agent", {"prompt": "p"})).is_error
    assert orchestration.followers == 0


@pytest.mark.parametrize("gone", [False, True])
async def test_nobody_follows_while_nobody_subscribes_and_nobody_when_the_last_has_gone(era: str, gone: bool) -> None:
    orchestration = Followed(spawn=SPAWNED)
    async with Client(build_server(orchestration, CALLER), mode=era) as client:
        await client.call_tool("spawn_agent", {"prompt": "p"})
        assert orchestration.followers == 0
    async with subscribed(era, orchestration, "devsh://plan", "devsh://agents/task1") as (_, told, back):
        await settled(lambda: orchestration.followers == 1)
        orchestration.happen("agent_completed", 1)
        await told()
        if not gone:
            await back()
            await settled(lambda: orchestration.followers == 0)
    await settled(lambda: orchestration.followers == 0)


class Connected:
    """A client with a handshake, as its requests show it to the server."""

    def __init__(self) -> None:
        self.exit_stack = ExitStack()  # unwound when he goes
        self.session, self._connection = self, self
        self.told = anyio.Event()

    async def send_resource_updated(self, _uri: str) -> None:
        self.told.set()


async def test_who_goes_while_his_subscription_fails_takes_nobody_elses_back() -> None:
    class Failing(Followed):
        begun, go_on = anyio.Event(), anyio.Event()

        async def holding(self, any_id: str) -> Canned:
            if self.followers:
                self.begun.set()
                await self.go_on.wait()
                raise JournalBusy("The journal is busy.")
            return await super().holding(any_id)

    orchestration, server, stays, goes = Failing(), MCPServer("notices"), Connected(), Connected()
    notices = Notices(Session(orchestration, CALLER))  # type: ignore[arg-type]
    notices.serve(server)
    entry = server._lowlevel_server.get_request_handler("resources/subscribe")
    assert entry is not None
    wanted = SubscribeRequestParams(uri="devsh://agents/task1")

    async def fails() -> None:
        with pytest.raises(MCPError, match="busy"):
            await entry.handler(goes, wanted)

    with anyio.fail_after(BOUND):
        async with notices.lifespan():
            await entry.handler(stays, wanted)
            await settled(lambda: orchestration.followers == 1)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(fails)
                await orchestration.begun.wait()
                goes.exit_stack.close()
                orchestration.go_on.set()
            orchestration.happen("agent_completed", 1)
            await stays.told.wait()
            assert not goes.told.is_set()


async def test_a_client_that_listens_to_lists_alone_starts_nothing() -> None:
    orchestration = Followed()
    with anyio.fail_after(BOUND):
        async with (
            Client(build_server(orchestration, CALLER), mode="2026-07-28") as client,
            client.listen(tools_list_changed=True, resource_subscriptions=["other://thing"]),
        ):
            for _ in range(50):
                await anyio.lowlevel.checkpoint()
            assert orchestration.followers == 0
            assert orchestration.asked == []


async def test_an_address_that_leads_nowhere_cannot_be_subscribed_to() -> None:
    orchestration = Followed()
    async with Client(build_server(orchestration, CALLER), mode="legacy") as client:
        for uri, says in (("devsh://nothing", "Unknown resource"), ("devsh://agents/nobody", "not_found: There is no task nobody")):
            with pytest.raises(MCPError, match=says):
                await client.subscribe_resource(uri)
    assert orchestration.followers == 0


async def test_both_eras_are_told_that_one_can_subscribe(era: str) -> None:
    async with Client(build_server(Followed(), CALLER), mode="auto" if era != "legacy" else era) as client:
        capabilities = client.server_capabilities
    assert capabilities.resources
    assert capabilities.resources.subscribe
