"""Waiting and watching: subscriptions to a journal. Nothing here ends an agent, and nothing polls."""

from collections.abc import AsyncIterator
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from devsh_memory_mcp.alongside import alongside
from devsh_memory_mcp.domain import answers, summary
from devsh_memory_mcp.domain.letters import Message
from devsh_memory_mcp.domain.requests import WaitRequest
from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.engine import reading
from devsh_memory_mcp.engine.correspondence import letters_for
from devsh_memory_mcp.engine.site import Site
from devsh_memory_mcp.ports import Change, Progress
from devsh_memory_mcp.store.bookkeeping import shows

PROGRESS_EVERY = 5.0  # seconds
VIEWS_PATIENCE = 5.0


@dataclass(slots=True)
class Reader:
    """Whose wait it is. What he was told before is no news: messages up to `since`, those he `had`, what he knows that tasks need.

    At a shell every command is a new caller: for him only what comes while he waits is news.
    """

    name: str
    had: AbstractSet[int] = frozenset()
    needs: dict[str, str] = field(default_factory=dict)
    since: int = 0

    def unread(self, state: State) -> list[Message]:
        """His messages that do not count as read."""
        return letters_for(state, self.name, include_read=False, type_=None, correlation_id=None)

    def has_mail(self, state: State) -> bool:
        """Whether there is a message that he has not seen."""
        return any(letter.id > self.since and letter.id not in self.had for letter in self.unread(state))

    def unhelped(self, tasks: list[Task]) -> list[Task]:
        """Those that need something he does not know of."""
        return [
            task for task in tasks if task.needs_input and not task.is_terminal and self.needs.get(task.task_run_id) != task.needs_input
        ]

    def told(self, tasks: list[Task]) -> None:
        """From now on he knows what these need."""
        self.needs.update((task.task_run_id, task.needs_input) for task in tasks if task.needs_input)


@dataclass(frozen=True, slots=True)
class Wait:
    """One wait: what it is for, whose it is, since when."""

    request: WaitRequest
    reader: Reader
    began: float

    def tasks(self, state: State) -> list[Task]:
        """What it is for."""
        return [state.get_task(name) for name in self.request.ids]

    def is_over(self, state: State) -> bool:
        """Whether its condition holds."""
        ended = [task.is_terminal for task in self.tasks(state)]
        return any(ended) if self.request.mode == "any" else all(ended)

    def has_news(self, state: State) -> bool:
        """Whether something else happened that its caller should know."""
        return self.reader.has_mail(state) or bool(self.reader.unhelped(self.tasks(state)))

    def answer(self, state: State, site: Site, *, timed_out: bool) -> answers.WaitAnswer:
        """What is true now."""
        tasks, finished = self.tasks(state), self.is_over(state)
        first = next((task for task in tasks if task.is_terminal), tasks[0]) if self.request.mode == "any" else tasks[0]
        reasons = reading.waiting(state, site.directory, site.clock.now())
        return answers.WaitAnswer(
            orchestration_task_id=first.orchestration_task_id,
            status=first.status.value,
            result=first.result,
            error_message=first.error_message,
            timed_out=timed_out and not finished,
            finished=finished,
            tasks=reading.rows(state, tasks, reasons, site.directory),
            unread_messages=len(self.reader.unread(state)),
            wait_duration=int((site.clock.monotonic() - self.began) * 1000),
            branch=summary.branch_of(first),
            result_path=reading.Places(site.directory).result_path(first),
            warnings=tuple(
                f"{task.id}: {line}" if len(tasks) > 1 else line
                for task in tasks
                for line in (*summary.conflict_lines(task), *task.totals.warnings)
            ),
            next=self._advice(state, tasks, finished=finished),
        )

    def _advice(self, state: State, tasks: list[Task], *, finished: bool) -> str | None:
        open_ids = [task.orchestration_task_id for task in tasks if not task.is_terminal]
        if unhelped := self.reader.unhelped(tasks):
            names = ", ".join(task.id for task in unhelped[:10])
            return f"{names} needs help, see needsInput: send a message, or cancel it and spawn it with what it lacks; then wait again."
        if self.reader.has_mail(state):
            return "A message for you has come: read it, then wait again."
        if open_ids:
            return f"{'Wait again for the others:' if finished else 'Still at work; wait again for'} {', '.join(open_ids[:10])}."
        done = [task.branch for task in tasks if task.branch]
        return f"Look at the work (git diff HEAD...BRANCH) and merge what is good: {', '.join(done[:5])}." if done else None


async def wait_for(site: Site, request: WaitRequest, reader: Reader, progress: Progress | None = None) -> answers.WaitAnswer:
    """Until the condition holds, there is news for the reader or the time is over. NotFound for an unknown id."""
    journal = site.journal
    wait = Wait(request, reader, site.clock.monotonic())
    state = await journal.read_whole()
    is_late = not wait.is_over(state) and request.timeout == 0
    if not is_late and not wait.is_over(state):
        with anyio.move_on_after(request.timeout / 1000) as scope:
            async with site.link.follow(site.orchestration_id) as follower, _telling(progress, site, wait):
                state = await journal.read_whole()
                while not (wait.is_over(state) or wait.has_news(state)):
                    await follower.wait()
                    state = await journal.read_whole()
        is_late = scope.cancelled_caught
    state = await journal.read()
    answer = wait.answer(state, site, timed_out=is_late)
    reader.told(wait.tasks(state))
    return answer


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
                row = summary.task_row(state, task) if task else None
                yield Change(entry.seq, entry.event.name, row, entry.event, entry.timestamp)
                seq = entry.seq
            if not entries:
                await journal.read_whole()  # behind a damage nothing will ever come
                await follower.wait()
