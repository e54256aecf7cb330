"""The rooms of a server's callers: one for each client, closed behind it, with its answers remembered while it is there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from devsh_memory_mcp.config import OPERATOR, Caller
from devsh_memory_mcp.domain.answers import Answer
from devsh_memory_mcp.errors import NotFound, Unauthenticated, Unavailable
from devsh_memory_mcp.faces import http_rooms
from devsh_memory_mcp.faces.http_rooms import Hosting, Rooms, Visitor, rooms
from devsh_memory_mcp.faces.tokens import NOBODY, TEAM, Claims
from tests.doubles.orchestration import FakeOrchestration, FakeOrchestrations

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 3, 1, tzinfo=UTC)
USER = Claims(NOBODY, TEAM, OPERATOR, None, "user", NOW, NOW + timedelta(hours=1))
ANNA = Visitor(USER, client="a")


class Host:
    """Opens for everybody; `log` says what was opened and closed."""

    def __init__(self, owner: str = OPERATOR) -> None:
        self.log: list[str] = []
        self.callers: list[Caller] = []
        self.failure: Exception | None = None
        self.closed = anyio.Event()
        self.hosting = Hosting(owner, Path("/lobby"), lambda guest: {"of": guest or "the user"}, self.open)

    @asynccontextmanager
    async def open(self, caller: Caller, orchestration_id: str | None) -> AsyncIterator[FakeOrchestrations]:
        if self.failure is not None:
            raise self.failure
        self.callers.append(caller)
        self.log.append("opened")
        yield FakeOrchestrations(FakeOrchestration())
        self.log.append("closed")
        self.closed.set()


@asynccontextmanager
async def opened(host: Host) -> AsyncIterator[Rooms]:
    with anyio.fail_after(10):
        async with rooms(host.hosting) as made:
            yield made


async def test_a_client_has_one_room_and_another_client_another() -> None:
    host = Host()
    async with opened(host) as made:
        async with made.enter(ANNA) as first, made.enter(ANNA) as second, made.enter(replace(ANNA, client="b")) as other:
            assert (first is second, first is other) == (True, False)
        assert (host.log, len(made)) == (["opened", "opened"], 2)


async def test_it_closes_when_nobody_was_in_it_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_rooms, "IDLE", 0.0)
    host = Host()
    async with opened(host) as made:
        async with made.enter(ANNA):
            pass
        await host.closed.wait()
        assert (host.log, len(made)) == (["opened", "closed"], 0)
        async with made.enter(ANNA):
            assert host.log == ["opened", "closed", "opened"]


async def test_where_there_is_no_more_room_the_one_longest_empty_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_rooms, "MOST_ROOMS", 2)
    host = Host()
    async with opened(host) as made, made.enter(ANNA):
        async with made.enter(replace(ANNA, client="b")):
            with pytest.raises(Unavailable):
                async with made.enter(replace(ANNA, client="c")):
                    pass
        async with made.enter(replace(ANNA, client="c")):
            await host.closed.wait()
            assert (host.log.count("opened"), len(made)) == (3, 2)


async def test_what_cannot_be_opened_is_told_and_tried_again() -> None:
    host = Host()
    async with opened(host) as made:
        host.failure = NotFound("gone")
        with pytest.raises(NotFound, match="gone"):
            async with made.enter(ANNA):
                pass
        host.failure = None
        async with made.enter(ANNA):
            pass


async def test_an_answer_is_remembered_by_its_mark_and_a_failure_too() -> None:
    host, asked = Host(), []

    async def run() -> Answer:
        asked.append(1)
        return Answer(next=str(len(asked)))

    async def fail() -> Answer:
        asked.append(1)
        raise NotFound(str(len(asked)))

    async with opened(host) as made, made.enter(ANNA) as room:
        assert [(await room.once(mark, run)).next for mark in ("x", "x", "y", None, None)] == ["1", "1", "2", "3", "4"]  # type: ignore[attr-defined]
        for _ in range(2):
            with pytest.raises(NotFound, match="5"):
                await room.once("z", fail)


async def test_who_asks_while_it_is_being_answered_gets_that_answer_or_asks_himself_where_it_was_given_up() -> None:
    host, going, asked = Host(), anyio.Event(), []

    async def slow() -> Answer:
        asked.append(1)
        if len(asked) == 1:
            going.set()
            await anyio.sleep_forever()
        return Answer(next="done")

    async with opened(host) as made, made.enter(ANNA) as room, anyio.create_task_group() as tasks:
        with anyio.CancelScope() as first:

            async def give_up() -> None:
                await going.wait()
                first.cancel()

            tasks.start_soon(give_up)
            await room.once("x", slow)
        assert (await room.once("x", slow)).next == "done"  # type: ignore[attr-defined]
        assert len(asked) == 2


async def test_a_guest_is_opened_as_one_and_at_a_guests_server_nobody_else_is_anybody() -> None:
    host = Host()
    async with opened(host) as made, made.enter(Visitor(replace(USER, user_id="anna"), project="x")):
        (caller,) = host.callers
        assert (caller.remote and caller.remote.guest, caller.environment["of"], caller.project) == ("anna", "anna", "remote:x")
    own = Host(owner="anna")
    async with opened(own) as made:
        async with made.enter(Visitor(replace(USER, user_id="anna"))):
            assert own.log == ["opened"]
        for other in ("otto", OPERATOR):
            with pytest.raises(Unauthenticated):
                async with made.enter(Visitor(replace(USER, user_id=other))):
                    pass
