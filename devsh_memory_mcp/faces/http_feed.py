"""One reading of a journal for all clients of its live events: each event is folded and rendered once, whoever listens.

A feed begins to follow before it reads, and lives as long as somebody listens. A client that falls behind further than the feed
remembers is read to from the journal when he comes, and dropped when he was there: nobody waits for him.
"""

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, contextmanager
from itertools import islice
from typing import NamedTuple, Protocol

import anyio
from anyio.abc import TaskGroup, TaskStatus

from devsh_memory_mcp.domain.state import State
from devsh_memory_mcp.errors import DevshError, Unavailable
from devsh_memory_mcp.faces import http_frames as frames
from devsh_memory_mcp.faces.http_frames import Cursor, Dialect, Fold, Step
from devsh_memory_mcp.ports import Clock, Orchestration

HEARTBEAT = 25.0  # seconds; promised are at most 30
KEPT = 4096  # events
AT_ONCE = 256  # events in one piece
READERS = 2  # of the whole journal, for clients that are far behind
_PIECES = 32  # that are remembered for others at the same place
MOST_WAITING = 1024 * 1024  # bytes that a client has not taken
_BREATH = 200  # events that are folded before somebody else gets his turn


class Place(NamedTuple):
    """Whose orchestration, and which: two owners' may have the same id."""

    owner: str
    orchestration_id: str


Open = Callable[[Place], AbstractAsyncContextManager[Orchestration]]


class Piece(NamedTuple):
    """Bytes for a client, and where he is once he has them; `chunk` is the same as HTTP/1.1 sends a part of an answer."""

    content: bytes
    cursor: Cursor
    chunk: bytes = b""


class Connection(Protocol):
    """What of an asyncio transport is used: writing without waiting, and what of it waits."""

    def write(self, data: bytes) -> None:
        """Sends it, or keeps it until the client takes it."""
        ...

    def get_write_buffer_size(self) -> int:
        """How many bytes the client has not taken."""
        ...

    def is_closing(self) -> bool:
        """Whether it is over."""
        ...


class Tap:
    """A client into whose connection the feed writes by itself, all clients in one turn; `over` once he has to be looked after."""

    __slots__ = ("connection", "cursor", "dialect", "over", "waiting")

    def __init__(self, connection: Connection, dialect: Dialect, cursor: Cursor) -> None:
        self.connection, self.dialect, self.cursor = connection, dialect, cursor
        self.over = anyio.Event()
        self.waiting = 0  # bytes that he had not taken when the last heartbeat was sent

    def pour(self, chunk: bytes) -> None:
        """Writes; one who has too much waiting is not waited for."""
        self.connection.write(chunk)
        if self.connection.get_write_buffer_size() > MOST_WAITING:
            self.over.set()

    def beat(self, chunk: bytes) -> None:
        """The same with a heartbeat; one who took nothing since the one before is not there."""
        before, self.waiting = self.waiting, self.connection.get_write_buffer_size()
        self.pour(chunk)
        if before and self.waiting >= before:
            self.over.set()


class Feed:
    """The live events of one orchestration. `run` reads; everything else is for those who listen."""

    def __init__(self, orchestration: Orchestration, clock: Clock) -> None:
        self._orchestration = orchestration
        self._clock = clock
        self._fold = Fold()
        self._kept: deque[Step] = deque(maxlen=KEPT)
        self._pieces: dict[tuple[Cursor, Dialect], Piece] = {}
        self._news = anyio.Event()
        self._readers = anyio.Semaphore(READERS)
        self._taps: dict[Tap, None] = {}
        self.beats = 0
        self.beat = b""
        self.failure: Exception | None = None

    @property
    def state(self) -> State:
        """What the journal says, as far as it was read; to be read only."""
        return self._fold.state

    async def run(self, *, task_status: TaskStatus["Feed"]) -> None:
        """Reads until it is cancelled or cannot; begun once all that stood in the journal is read."""
        is_ready = False
        try:
            position = await self._orchestration.position()
            if position == 0:
                is_ready = True
                task_status.started(self)
            async with anyio.create_task_group() as tasks, aclosing(self._orchestration.changes(0)) as changes:  # type: ignore[type-var]
                tasks.start_soon(self._beat)
                tasks.start_soon(self._pour)
                async for change in changes:
                    self._take(self._fold.take(change))
                    if not is_ready and change.seq >= position:
                        is_ready = True
                        task_status.started(self)
                    elif change.seq % _BREATH == 0:
                        await anyio.lowlevel.checkpoint()
        except* (DevshError, ValueError, OSError) as group:
            self.fail(_first(group))
            if not is_ready:
                task_status.started(self)

    def fail(self, failure: Exception) -> None:
        """It reads no more, and says why."""
        self.failure = self.failure or failure
        self.let_go()

    async def _beat(self) -> None:
        while True:
            await anyio.sleep(HEARTBEAT)
            self.beats += 1
            self.beat = frames.encoded(frames.heartbeat(self.state, self._clock.now()))
            for tap in list(self._taps):
                tap.beat(_chunk(self.beat))
            self.wake()

    @contextmanager
    def tapped(self, tap: Tap) -> Iterator[None]:
        """Writes to the tap what comes, while the context lasts, from where he is."""
        self._taps[tap] = None
        self.wake()
        try:
            yield
        finally:
            del self._taps[tap]

    async def _pour(self) -> None:
        while True:
            await self.news()
            for number, tap in enumerate(list(self._taps), 1):
                self._serve(tap)
                if number % _BREATH == 0:
                    await anyio.lowlevel.checkpoint()

    def _serve(self, tap: Tap) -> None:
        """All that he has not had yet."""
        while not (tap.over.is_set() or tap.connection.is_closing()):
            found = self.behind(tap.cursor, tap.dialect)
            if found is None:
                tap.over.set()
            elif found.cursor == tap.cursor:
                return
            else:
                tap.cursor = found.cursor
                if found.content:
                    tap.pour(found.chunk)

    def _take(self, step: Step) -> None:
        self._kept.append(step)
        self._pieces.clear()
        self.wake()

    def wake(self) -> None:
        """Everybody who listens looks again."""
        if self._news.statistics().tasks_waiting:
            self._news.set()
            self._news = anyio.Event()

    def let_go(self) -> None:
        """Everybody is looked after, and told that it is over."""
        self.wake()
        for tap in self._taps:
            tap.over.set()

    async def news(self) -> None:
        """Until there is something to read, or a heartbeat."""
        await self._news.wait()

    def greeting(self, dialect: Dialect, cursor: Cursor | None) -> bytes:
        """The first frame for who connects now, with the id of where he begins."""
        return frames.encoded(frames.connected(self.state, dialect, self._clock.now()), cursor and str(cursor))

    def picture(self) -> bytes:
        """All tasks as they are, for who comes without an id; he has one when he has it all."""
        told = list(frames.as_they_are(self.state))
        return b"".join(map(frames.encoded, told)) + frames.encoded(frames.replay_complete(len(told)), str(self.state.seq))

    def knows(self, cursor: Cursor) -> bool:
        """Whether the journal has got as far as the cursor; one of another journal may have not."""
        return cursor.seq + bool(cursor.part) <= self.state.seq

    def is_told(self, cursor: Cursor) -> bool:
        """Whether who is there has all that was read."""
        return cursor.seq >= self.state.seq

    def behind(self, cursor: Cursor, dialect: Dialect) -> Piece | None:
        """What comes next for a client, empty where he has all; None where the feed no longer has it."""
        if cursor.seq >= self.state.seq:
            return Piece(b"", cursor)
        first = self._kept[0].seq
        if cursor.seq + 1 < first:
            return None
        found = self._pieces.get((cursor, dialect))
        if found is None:
            if len(self._pieces) >= _PIECES:
                self._pieces.clear()
            start = cursor.seq + 1 - first
            steps = tuple(islice(self._kept, start, start + AT_ONCE))
            found = self._pieces[cursor, dialect] = _piece(steps, cursor, dialect)
        return found

    async def read_back(self, cursor: Cursor, dialect: Dialect) -> AsyncIterator[Piece]:
        """What is behind the cursor, from the journal, up to where `behind` goes on."""
        async with self._readers, aclosing(self._orchestration.changes(0)) as changes:  # type: ignore[type-var]
            fold, steps = Fold(), list[Step]()
            async for change in changes:
                step = fold.take(change)
                if step.seq > cursor.seq:
                    steps.append(step)
                is_near = step.seq + 1 >= self._kept[0].seq
                if len(steps) == AT_ONCE or (is_near and steps):
                    yield (piece := _piece(steps, cursor, dialect))
                    cursor, steps = piece.cursor, []
                if step.seq + 1 >= self._kept[0].seq:  # looked at again: the feed may have gone on meanwhile
                    return
                if step.seq % _BREATH == 0:
                    await anyio.lowlevel.checkpoint()

    async def cursor_at(self, ms: int) -> Cursor:
        """The place behind the last event that was not after `ms` (since 1970)."""
        if self._kept and self._kept[0].seq > 1 and (frames.millis(self._kept[0].at) or 0) > ms:
            async with self._readers, aclosing(self._orchestration.changes(0)) as changes:  # type: ignore[type-var]
                async for change in changes:
                    if change.at is None or (frames.millis(change.at) or 0) > ms:
                        return Cursor(change.seq - 1)
        later = next((step.seq for step in self._kept if (frames.millis(step.at) or 0) > ms), self.state.seq + 1)
        return Cursor(later - 1)


def _piece(steps: tuple[Step, ...] | list[Step], cursor: Cursor, dialect: Dialect) -> Piece:
    parts = [frames.rendered(step, dialect, cursor.part if step.seq == cursor.seq + 1 else 0) for step in steps]
    content = b"".join(parts)
    return Piece(content, Cursor(steps[-1].seq), _chunk(content))


def _chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found if isinstance(found, Exception) else Unavailable()


class Feeds:
    """The feeds of one process, each opened by who first wants it and ended by who last had it. They live in `tasks`."""

    def __init__(self, tasks: TaskGroup, open_: Open, clock: Clock) -> None:
        self._tasks = tasks
        self._opener = open_
        self._clock = clock
        self._open: dict[Place, _Opened] = {}
        self.is_ended = False

    @asynccontextmanager
    async def following(self, place: Place) -> AsyncIterator[Feed]:
        """The orchestration's feed, as long as the context lasts. NotFound, JournalDamaged and the like where it has none."""
        opened = self._open.get(place)
        if opened is None or opened.has_failed:
            opened = self._open[place] = _Opened()
        opened.listeners += 1
        try:
            yield await self._started(place, opened)
        finally:
            opened.listeners -= 1
            if not opened.listeners:
                opened.end()
                if self._open.get(place) is opened:
                    del self._open[place]

    async def _started(self, place: Place, opened: "_Opened") -> Feed:
        async with opened.starting:
            if opened.feed is None:
                opened.feed = await self._tasks.start(opened.run, self._opener(place), self._clock)
        if opened.feed.failure is not None:
            raise opened.feed.failure
        return opened.feed

    def end(self) -> None:
        """The server leaves: everybody's stream ends now."""
        self.is_ended = True
        for opened in self._open.values():
            if opened.feed is not None:
                opened.feed.let_go()


class _Opened:
    """A feed, or the beginning of one, and how many want it."""

    def __init__(self) -> None:
        self.feed: Feed | None = None
        self.listeners = 0
        self.starting = anyio.Lock()
        self._scope = anyio.CancelScope()

    @property
    def has_failed(self) -> bool:
        """Whether it reads no more."""
        return self.feed is not None and self.feed.failure is not None

    async def run(self, opening: AbstractAsyncContextManager[Orchestration], clock: Clock, *, task_status: TaskStatus[Feed]) -> None:
        """The feed's reading, until `end`. What opening raises is its starter's, who is no task of ours."""
        with anyio.CancelScope() as self._scope:
            feed: Feed | None = None
            try:
                async with opening as orchestration:
                    feed = Feed(orchestration, clock)
                    await feed.run(task_status=task_status)
            except (DevshError, OSError):
                if feed is None:
                    raise
                feed.fail(Unavailable("The orchestration was closed."))

    def end(self) -> None:
        """Nobody listens any more."""
        self._scope.cancel()
