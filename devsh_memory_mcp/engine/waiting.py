"""Waiting and watching: subscriptions to a journal. Nothing here ends an agent, and nothing polls."""

import codecs
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from devsh_memory_mcp.domain import answers, summary
from devsh_memory_mcp.domain.requests import WaitRequest
from devsh_memory_mcp.domain.state import Message, State, Task
from devsh_memory_mcp.engine import reading
from devsh_memory_mcp.engine.alongside import alongside
from devsh_memory_mcp.engine.correspondence import letters_for
from devsh_memory_mcp.engine.site import Site
from devsh_memory_mcp.errors import JournalDamaged
from devsh_memory_mcp.ports import Change, Progress
from devsh_memory_mcp.store.bookkeeping import shows

PROGRESS_EVERY = 5.0  # seconds
VIEWS_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Wait:
    """One wait: what it is for, since when, and which message was the newest when it began."""

    request: WaitRequest
    reader: str
    began: float
    newest: int

    def is_over(self, state: State) -> bool:
        """Whether its condition holds."""
        ended = [state.get_task(name).is_terminal for name in self.request.ids]
        return any(ended) if self.request.mode == "any" else all(ended)

    def has_mail(self, state: State) -> bool:
        """Whether a message has come since it began."""
        return any(letter.id > self.newest for letter in self._unread(state))

    def _unread(self, state: State) -> list[Message]:
        return letters_for(state, self.reader, include_read=False, type_=None, correlation_id=None)

    def answer(self, state: State, site: Site) -> answers.WaitAnswer:
        """What is true now."""
        tasks = [state.get_task(name) for name in self.request.ids]
        first = next((task for task in tasks if task.is_terminal), tasks[0]) if self.request.mode == "any" else tasks[0]
        finished, waited = self.is_over(state), int((site.clock.monotonic() - self.began) * 1000)
        places = reading.Places(site.directory)
        reasons = reading.waiting(state, site.directory, site.clock.now())
        return answers.WaitAnswer(
            orchestration_task_id=first.orchestration_task_id,
            status=first.status.value,
            result=first.result,
            error_message=first.error_message,
            timed_out=not finished and waited >= self.request.timeout,
            finished=finished,
            tasks=tuple(summary.task_row(state, task, reasons.get(task.orchestration_task_id), places.activity(task)) for task in tasks),
            unread_messages=len(self._unread(state)),
            wait_duration=waited,
            branch=summary.branch_of(first),
            result_path=places.result_path(first),
            warnings=tuple(line for task in tasks for line in (*summary.conflict_lines(task), *task.totals.warnings)),
            next=_advice(tasks, finished=finished, mail=self.has_mail(state)),
        )


def _advice(tasks: list[Task], *, finished: bool, mail: bool) -> str | None:
    open_ids = [task.orchestration_task_id for task in tasks if not task.is_terminal]
    if mail:
        return "A message for you has come: read it, then wait again."
    if not finished:
        return f"Still at work; wait again for {', '.join(open_ids[:10])}."
    return f"Wait again for the others: {', '.join(open_ids[:10])}." if open_ids else None


async def wait_for(site: Site, request: WaitRequest, *, reader: str, progress: Progress | None) -> answers.WaitAnswer:
    """Until the condition holds, a message for the reader comes or the time is over. NotFound for an unknown id."""
    journal = site.journal
    state = await journal.read()
    for name in request.ids:
        state.get_task(name)
    wait = Wait(request, reader, site.clock.monotonic(), max(state.messages, default=0))
    if not wait.is_over(state) and request.timeout > 0:
        with anyio.move_on_after(request.timeout / 1000):
            async with site.link.follow(site.orchestration_id) as follower, _telling(progress, site, wait):
                state = await journal.read()
                while not (wait.is_over(state) or wait.has_mail(state)):
                    if journal.damage:  # what comes behind it cannot be read, so there is nothing to wait for
                        raise JournalDamaged(f"{journal.path} is damaged behind event {state.seq}: {journal.damage}.")
                    await follower.wait()
                    state = await journal.read()
    return wait.answer(await journal.read(), site)


@asynccontextmanager
async def _telling(progress: Progress | None, site: Site, wait: Wait) -> AsyncIterator[None]:
    """Progress on entry and every few seconds, for as long as the context lasts."""
    if progress is None:
        yield
        return

    async def tell() -> None:
        while True:
            tasks = [(await site.journal.read()).get_task(name) for name in wait.request.ids]
            elapsed = site.clock.monotonic() - wait.began
            await progress(elapsed, wait.request.timeout / 1000, _progress_line(tasks, elapsed))
            await anyio.sleep(PROGRESS_EVERY)

    async with alongside() as tasks:
        tasks.start_soon(tell)
        yield


def _progress_line(tasks: list[Task], elapsed: float) -> str:
    ended = sum(1 for task in tasks if task.is_terminal)
    busy = ", ".join(task.id for task in tasks if task.live_attempt)
    return f"{ended}/{len(tasks)} done after {elapsed:.0f} s{f', running: {busy}' if busy else ''}"[:200]


async def wait_until_exact(site: Site, seq: int) -> bool:
    """Until the views say what the journal said at `seq`; False where they do not come to it in time."""
    with anyio.move_on_after(VIEWS_PATIENCE):
        async with site.link.follow(site.orchestration_id) as follower:
            while not shows(site.directory, seq):
                await follower.wait()
            return True
    return False


async def changes_of(site: Site, after: int) -> AsyncIterator[Change]:
    """Every event behind `after`, in order, without end."""
    journal = site.journal
    seq = after
    async with site.link.follow(site.orchestration_id) as follower:
        while True:
            entries = await journal.read_after(seq)
            state = await journal.read()
            for entry in entries:
                task = state.tasks.get(getattr(entry.event, "orchestration_task_id", ""))
                yield Change(entry.seq, entry.event.name, summary.task_row(state, task) if task else None)
                seq = entry.seq
            if not entries:
                await follower.wait()


async def output_of(site: Site, any_id: str, *, follow: bool, last: int | None = None) -> AsyncIterator[str]:
    """What the task's newest attempt printed, of each file its `last` bytes; with `follow` attempt after attempt, until the end."""
    async with site.link.follow(site.orchestration_id) if follow else _nobody() as follower:
        tail, shown = _Tail(last), None
        while True:
            task = (await site.journal.read()).get_task(any_id)
            run = reading.Places(site.directory).run(task)
            if run != shown:
                tail, shown = _Tail(last), run
            for text in tail.read(run) if run else ():
                yield text
            if follower is None or task.is_terminal:
                return
            await follower.wait()


@asynccontextmanager
async def _nobody() -> AsyncIterator[None]:
    yield None


class _Tail:
    """Where in each output file reading goes on; at first at its beginning, or `last` bytes before its end."""

    def __init__(self, last: int | None = None) -> None:
        self._last = last
        self._offsets: dict[Path, int] = {}
        self._decoders: dict[Path, codecs.IncrementalDecoder] = {}

    def read(self, run: Path) -> list[str]:
        """The new text of each file."""
        return [text for path in reading.output_files(run) if (text := self._read(path))]

    def _read(self, path: Path) -> str:
        decoder = self._decoders.setdefault(path, codecs.getincrementaldecoder("utf-8")("replace"))
        with path.open("rb") as file:
            file.seek(self._offsets.get(path, self._start(path)))
            content = file.read()
            self._offsets[path] = file.tell()
        return decoder.decode(content)

    def _start(self, path: Path) -> int:
        return max(0, path.stat().st_size - self._last) if self._last is not None else 0
