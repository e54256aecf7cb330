"""One thread that commits what callers have queued, as many at once as are there when it gets the lock."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from devsh_memory_mcp.errors import Unavailable
from devsh_memory_mcp.ports import Committed
from devsh_memory_mcp.store.reader import Progress
from devsh_memory_mcp.store.writer import Transaction, Writer

MOST = 256  # transactions in one batch
_IDLE = 2.0  # seconds after which the thread leaves, so that a journal nobody closed does not keep its process


@dataclass(slots=True)
class Queued:
    """A transaction and who waits for it."""

    transaction: Transaction
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Committed[Any]]

    def answer(self) -> None:
        """Tells the one who waits, in his event loop."""
        if self.future.done():
            return
        if self.transaction.committed is not None:
            self.future.set_result(self.transaction.committed)
        else:
            self.future.set_exception(self.transaction.error or Unavailable("The commit was not made."))


class Committer:
    """The thread of one journal: started by the first transaction, gone when there are none for a while."""

    def __init__(self, writer: Writer, on_progress: Callable[[Progress], None]) -> None:
        self._writer = writer
        self._on_progress = on_progress
        self._queue: SimpleQueue[Queued | None] = SimpleQueue()
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._told = 0  # the last `seq` that `on_progress` has had

    def put(self, queued: Queued) -> None:
        """Queues a transaction; its future is answered. Unavailable once the journal is closed."""
        with self._guard:
            if self._is_closed:
                raise Unavailable("The journal has been closed.")
            self._queue.put(queued)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="devsh-journal")
                self._thread.start()

    def start_from(self, seq: int) -> None:
        """Progress up to `seq` need not be told."""
        self._told = seq

    def close(self) -> None:
        """Commits what is queued, then ends the thread. Blocks."""
        with self._guard:
            self._is_closed = True
            thread = self._thread
        self._queue.put(None)
        if thread is not None:
            thread.join()
        self._writer.close()

    def _run(self) -> None:
        while True:
            try:
                first = self._queue.get(timeout=_IDLE)
            except Empty:
                first = None
            if first is not None:
                self._serve(first)
            elif self._may_leave():
                return

    def _may_leave(self) -> bool:
        with self._guard:
            if not self._queue.empty():
                return False
            self._thread = None
            return True

    def _serve(self, first: Queued) -> None:
        batch: list[Queued] = []

        def take() -> list[Transaction]:
            batch.extend(self._take(first))
            return [queued.transaction for queued in batch]

        try:
            self._writer.commit(take)
        except Exception as error:  # noqa: BLE001  a fault of ours must reach those who wait, not end the thread under them
            for transaction in [queued.transaction for queued in batch] or take():  # it may have come before any was taken
                transaction.error = error
        self._answer(batch)

    def _take(self, first: Queued) -> list[Queued]:
        batch = [first]
        while len(batch) < MOST:
            try:
                queued = self._queue.get_nowait()
            except Empty:
                break
            if queued is None:
                self._queue.put(None)
                break
            batch.append(queued)
        return [queued for queued in batch if not queued.future.cancelled()]

    def _answer(self, batch: Sequence[Queued]) -> None:
        progress = self._writer.reader.progress(self._told)
        self._told = self._writer.reader.state.seq
        for loop in {queued.loop for queued in batch}:
            mine = [queued for queued in batch if queued.loop is loop]
            with contextlib.suppress(RuntimeError):  # a loop that is closed has nobody who waits
                loop.call_soon_threadsafe(self._tell, progress, mine)

    def _tell(self, progress: Progress | None, batch: Sequence[Queued]) -> None:
        if progress is not None:
            self._on_progress(progress)
        for queued in batch:
            queued.answer()
