"""The route of live events, served in process: who listens misses nothing, and who does not is not waited for."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import anyio
import pytest
from doubles.chronicled import BEGAN, Chronicled, Clock
from doubles.listener import Listener, Told, frames_of, listening
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from devsh_memory_mcp.errors import DevshError, JournalDamaged, NotFound
from devsh_memory_mcp.faces import http_events, http_feed
from devsh_memory_mcp.faces.http_events import Events, Pass
from devsh_memory_mcp.faces.http_feed import Feeds, Place

AGAIN = ["running", "pending", "running"]
PLACE = Place("operator", "orch_1")
PATH = "/api/orchestrate/events/orch_1"
CHANGES = f"{PATH}?view=changes"


class World:
    """A server of one orchestration. `admitted` is what every token is good for."""

    def __init__(self, *, is_direct: bool = False) -> None:
        self.journal, self.admitted = Chronicled(), Pass(PLACE)
        self.feeds: Feeds | None = None
        self.listen = partial(listening, self.app, is_direct=is_direct)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["World"]:
        """The server, until its process is killed."""
        async with anyio.create_task_group() as tasks:
            self.feeds = Feeds(tasks, self._opened, Clock())
            events = Events(self._admit)
            with events.fed(self.feeds):
                self._app = Starlette(routes=events.routes, exception_handlers={DevshError: _refused})
                yield self
            tasks.cancel_scope.cancel()

    async def app(self, *call: object) -> None:
        await self._app(*call)  # type: ignore[arg-type]

    @asynccontextmanager
    async def _opened(self, place: Place) -> AsyncIterator[Chronicled]:
        if place.orchestration_id != "orch_1":
            raise NotFound
        yield self.journal

    async def _admit(self, _request: Request, orchestration_id: str) -> Pass:
        return replace(self.admitted, place=Place("operator", orchestration_id))


async def _refused(_request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 404)


@pytest.fixture(params=[False, True], ids=["through ASGI", "directly"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    with anyio.fail_after(20):
        async with World(is_direct=request.param).serving() as made:
            yield made
            assert made.journal.followers == 0, "a feed has outlived its last listener"


async def caught_up(listener: Listener, seq: int) -> list[Told]:
    """What it is told up to the frame of that number."""
    told = [await listener.next()]
    while told[-1].id != str(seq):
        told.append(await listener.next())
    return told


@pytest.mark.promise("sse.connected", "http.events")
async def test_who_connects_is_told_how_things_are_and_then_each_change(world: World) -> None:
    world.journal.spawn(1)
    world.journal.start(1)
    async with world.listen(PATH) as listener:
        told = await listener.until("replay_complete")
        assert [frame.name for frame in told] == ["connected", "task_status", "replay_complete"]
        assert told[0].data["orchestrationId"] == "orch_1"
        assert (told[1].data["status"], told[1].id, told[-1].id) == ("running", None, "3")
        assert listener.headers["content-type"].startswith("text/event-stream")
        assert "content-length" not in listener.headers
        world.journal.complete(1, "found it")
        told = await listener.until("orchestration_completed")
        assert [frame.name for frame in told] == ["task_status", "task_completed", "orchestration_completed"]
        assert told[1].data["result"] == "found it"
        world.journal.spawn(2)  # the stream goes on
        assert (await listener.until("task_status"))[-1].data["status"] == "pending"


async def test_who_waits_for_an_end_that_was_long_ago_is_told_of_it(world: World) -> None:
    world.journal.spawn(1)
    world.journal.fail(1)
    async with world.listen(PATH) as listener:
        assert (await listener.until("task_completed"))[-1].data["status"] == "failed"


async def test_a_client_goes_on_behind_its_last_id_also_at_another_server(world: World) -> None:
    async with world.listen(CHANGES) as listener:
        await listener.next()
        world.journal.spawn(1)
        world.journal.start(1)
        await caught_up(listener, 2)
    world.journal.complete(1)
    async with World().serving() as other:
        other.journal = world.journal
        async with other.listen(CHANGES, last_event_id="2") as listener:
            assert [frame.id for frame in await caught_up(listener, 5)] == ["2", "3", "4", "5"]
            assert listener.content.count(b"id: 2\n") == 1


@pytest.mark.parametrize("asked", ["since=1", f"since={round(BEGAN.timestamp() * 1000) + 1000}", "replay=true&since=1"])
async def test_since_is_an_id_or_an_instant(world: World, asked: str) -> None:
    world.journal.spawn(1)
    async with world.listen(f"/api/orchestrate/v2/events/orch_1?{asked}") as listener:
        told = await caught_up(listener, 2)
    assert [(frame.id, frame.name) for frame in told] == [
        ("1", "connected"),
        ("1.1", "task_spawn_requested"),
        ("2", "task_status_changed"),
    ]


async def test_an_id_of_another_journal_begins_anew(world: World) -> None:
    world.journal.spawn(1)
    async with world.listen(PATH, last_event_id="500") as listener:
        assert [frame.name for frame in await listener.until("replay_complete")] == ["connected", "task_status", "replay_complete"]


async def test_the_typed_stream_tells_only_what_comes(world: World) -> None:
    world.journal.spawn(1)
    async with world.listen("/api/orchestrate/v2/events/orch_1") as listener:
        first = await listener.next()
        assert (first.name, first.id, first.data["version"]) == ("connected", "2", "v2")
        world.journal.cancel(1)
        assert (await listener.next()).name == "task_status_changed"


async def test_a_wrong_since_is_refused_and_an_unknown_orchestration_too(world: World) -> None:
    for path in (f"{PATH}?since=yesterday", "/api/orchestrate/events/orch_2"):
        async with world.listen(path) as listener:
            await listener.over()
            assert listener.status == 404


async def test_what_the_feed_no_longer_has_is_read_from_the_journal(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_feed, "KEPT", 3)
    monkeypatch.setattr(http_feed, "AT_ONCE", 2)
    for number in range(20):
        world.journal.spawn(number)
    async with world.listen(f"{CHANGES}&since=4") as listener:
        await caught_up(listener, 21)
        world.journal.spawn(21)
        await caught_up(listener, 22)
        assert [frame.id for frame in map(_of, listener.content.split(b"\n\n")[1:-1])] == [str(number) for number in range(5, 23)]
    since = round(BEGAN.timestamp() * 1000) + 6000
    async with world.listen(f"{CHANGES}&since={since}") as listener:
        assert [(await listener.next()).id for _ in range(3)] == ["6", "7", "8"]


def _of(block: bytes) -> Told:
    fields = dict(line.split(": ", 1) for line in block.decode().split("\n"))
    return Told(fields["id"], fields["event"], {})


async def test_a_thousand_clients_read_one_journal_once(world: World) -> None:
    async with anyio.create_task_group() as tasks:
        armed, done = anyio.Semaphore(0), anyio.Semaphore(0)

        async def client() -> None:
            async with world.listen(CHANGES) as listener:
                await listener.next()
                armed.release()
                await caught_up(listener, 2)
                done.release()

        for _ in range(1000):
            tasks.start_soon(client)
        for _ in range(1000):
            await armed.acquire()
        world.journal.spawn(1)
        for _ in range(1000):
            await done.acquire()
        assert world.journal.readings == 1


@pytest.mark.promise("sse.heartbeat")
async def test_a_quiet_stream_beats(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert http_feed.HEARTBEAT <= 30
    monkeypatch.setattr(http_feed, "HEARTBEAT", 0.01)
    world.journal.spawn(1)
    async with world.listen(PATH) as listener:
        beat = (await listener.until("heartbeat"))[-1]
        assert (beat.id, beat.data["pendingCount"], beat.data["runningCount"]) == (None, 1, 0)


async def test_a_client_that_does_not_read_is_dropped_and_the_others_are_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_events, "STALLED", 0.05)
    monkeypatch.setattr(http_feed, "MOST_WAITING", 100)
    async with world.listen(CHANGES) as reads, world.listen(CHANGES) as sleeps:
        await reads.next()
        await sleeps.next()
        sleeps.takes = anyio.Event()
        world.journal.spawn(1)
        await caught_up(reads, 2)
        async with world.listen(CHANGES) as third:
            await third.next()
            world.journal.spawn(2)
            assert (await third.next()).id == "3"
        await sleeps.aborted.wait()
        assert not reads.is_over


async def test_a_client_that_falls_behind_what_is_kept_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_feed, "KEPT", 2)
    with anyio.fail_after(20):
        async with World().serving() as world, world.listen(CHANGES) as sleeps:
            await sleeps.next()
            sleeps.takes = anyio.Event()
            async with world.listen(CHANGES) as reads:
                await reads.next()
                for number in range(9):
                    world.journal.spawn(number)
                    await caught_up(reads, number + 2)
            sleeps.takes.set()
            await sleeps.aborted.wait()
        assert [frame.id for frame in frames_of(sleeps.content)] == ["1", "2"]


async def test_a_client_that_took_nothing_between_two_heartbeats_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_feed, "HEARTBEAT", 0.02)
    with anyio.fail_after(20):
        async with World(is_direct=True).serving() as world, world.listen(CHANGES) as sleeps, world.listen(CHANGES) as reads:
            await sleeps.next()
            sleeps.takes = anyio.Event()
            await sleeps.aborted.wait()
            for _ in range(3):
                await reads.until("heartbeat")
            assert not reads.aborted.is_set()


async def test_a_stream_ends_when_its_token_dies(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.admitted = Pass(PLACE, dies_in=0.05)
    async with world.listen(PATH) as listener:
        await listener.over()
    monkeypatch.setattr(http_feed, "HEARTBEAT", 0.01)
    is_alive = True

    async def asked() -> bool:
        return is_alive

    world.admitted = Pass(PLACE, is_alive=asked)
    async with world.listen(PATH) as listener:
        await listener.until("heartbeat")
        is_alive = False
        await listener.over()


@pytest.mark.parametrize(("attempt", "told"), [(None, [*AGAIN, "completed"]), (1, AGAIN)])
async def test_an_agents_stream_ends_with_its_agent_once_that_is_told(world: World, attempt: int | None, told: list[str]) -> None:
    world.journal.spawn(1)
    world.admitted = Pass(PLACE, attempt=("tr_000000000001", attempt))
    async with world.listen(f"{PATH}?since=2") as listener:
        await listener.next()
        world.journal.start(1)
        await listener.until("task_status")
        world.journal.retry(1)
        await listener.until("task_status")
        world.journal.start(1, 2)
        world.journal.complete(1, attempt=2) if attempt is None else None
        await listener.over()
        assert [frame.data["status"] for frame in frames_of(listener.content) if frame.name == "task_status"] == told


async def test_streams_end_when_the_server_leaves(world: World) -> None:
    async with world.listen(PATH) as one, world.listen(PATH) as two:
        await one.next()
        await two.next()
        assert world.feeds is not None
        world.feeds.end()
        await one.over()
        await two.over()


async def test_a_journal_that_breaks_says_so_and_is_tried_again_by_the_next(world: World) -> None:
    async with world.listen(PATH) as listener:
        await listener.until("replay_complete")
        world.journal.fault = JournalDamaged("The journal is damaged.")
        world.journal.spawn(1)
        assert (await listener.next()).data["message"].startswith("The journal is damaged.")
        await listener.over()
        world.journal.fault = None
        async with world.listen(PATH) as again:
            assert [frame.name for frame in await again.until("replay_complete")][1:2] == ["task_status"]
