"""An orchestration answered from the files of this machine, for one caller."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import anyio
from anyio import to_thread

from devsh_memory_mcp.config import Caller
from devsh_memory_mcp.domain import aftermath, answers, exchange, requests, summary
from devsh_memory_mcp.domain.documents import plan_document
from devsh_memory_mcp.domain.events import OrchestrationCreated
from devsh_memory_mcp.domain.lineage import base_of
from devsh_memory_mcp.domain.names import HEAD
from devsh_memory_mcp.domain.records import MAX_MESSAGE_BYTES
from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.domain.status import Status
from devsh_memory_mcp.engine import admission, branches, endings, radar, reading, work
from devsh_memory_mcp.engine.confinement import expected
from devsh_memory_mcp.engine.correspondence import decide_message, does_interrupt, fitting, letters_for, mark_read
from devsh_memory_mcp.engine.leading import created_by, least
from devsh_memory_mcp.engine.output import output_of, printed_by
from devsh_memory_mcp.engine.preparation import Preparation, Preparing, choose
from devsh_memory_mcp.engine.pushing import decide_push, mirror_answer, push_answer
from devsh_memory_mcp.engine.rehearsal import Rehearsed
from devsh_memory_mcp.engine.site import Site
from devsh_memory_mcp.engine.waiting import Reader, changes_of, wait_for, wait_until_exact
from devsh_memory_mcp.errors import Conflict, InvalidRequest, NotAllowed
from devsh_memory_mcp.ports import Change, Decision, Printed, Progress
from devsh_memory_mcp.store.bookkeeping import PLAN_FILE

CANCEL_PATIENCE = 5.0  # seconds


class LocalOrchestration:
    """See `ports.Orchestration` for what each call does and raises."""

    def __init__(self, site: Site, root: Path, caller: Caller, open_led: Callable[[OrchestrationCreated], object]) -> None:
        self.site = site
        self._journal = site.journal
        self._caller = caller
        self._preparation = Preparation(caller, root / "mirrors")
        self._open_led = open_led
        self._handed_out: set[int] = set()  # of messages, to this caller, and not confirmed yet
        self._needs: dict[str, str] = {}  # what tasks need, as far as this caller was told; by task run
        self._pulled = 0
        self._rehearsed: Rehearsed | None = None

    @property
    def orchestration_id(self) -> str:
        """Which it is."""
        return self.site.orchestration_id

    @property
    def directory(self) -> Path:
        """Where its files are."""
        return self.site.directory

    @property
    def plan_path(self) -> Path:
        """Where its PLAN.json is."""
        return self.directory / PLAN_FILE

    def expect(self, rehearsed: Rehearsed | None) -> None:
        """The request for which this was begun has been prepared already."""
        self._rehearsed = rehearsed

    async def state(self) -> State:
        """The state as the journal has it now, of a damaged one what can be read of it."""
        return await self._journal.read()

    async def is_damaged(self) -> bool:
        """Whether a part of its journal cannot be read."""
        await self._journal.read()
        return bool(self._journal.damage)

    def _reader(self, state: State) -> str:
        """Whom the caller's messages are for and from: `head`, or the task whose agent he is. Another's agent is nobody here."""
        task = state.find_task(self._caller.identity) if self._caller.identity != HEAD else None
        return task.orchestration_task_id if task else self._caller.identity

    def _sender(self, state: State) -> str:
        reader = self._reader(state)
        if reader != HEAD and reader not in state.tasks:
            raise Conflict(
                f"{reader[:80]} is no task of orchestration {state.orchestration_id}, so nobody there could answer it.",
                next_step="Write to `head` of your own orchestration.",
            )
        return reader

    async def spawn(self, request: requests.SpawnRequest) -> answers.SpawnAnswer:
        """Admits one task."""
        ids, warnings = await self._admit(
            request, request.idempotency_key, request.max_concurrent, lambda preparation, state: preparation.one(state, request)
        )
        return self._spawned(await self._journal.read(), ids[0], warnings)

    async def spawn_batch(self, request: requests.BatchRequest) -> answers.BatchAnswer:
        """Admits several tasks in one commit."""
        ids, warnings = await self._admit(
            request, request.idempotency_key, request.max_concurrent, lambda preparation, state: preparation.batch(state, request)
        )
        state = await self._journal.read()
        return answers.BatchAnswer(
            orchestration_id=self.orchestration_id,
            total=len(ids),
            tasks=tuple(self._spawned(state, state.get_task(task.id).orchestration_task_id, ()) for task in request.tasks),
            warnings=warnings,
            next=None if self._caller.is_shell else "Call wait_for_agent once with all ids and mode any.",
        )

    async def _admit(
        self,
        request: requests.SpawnRequest | requests.BatchRequest,
        key: str | None,
        max_concurrent: int | None,
        prepare: Callable[[Preparation, State], Awaitable[Preparing]],
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The ids, in order, and the warnings; a repeat of a request that was answered before costs nothing more."""
        fingerprint = admission.fingerprint(request)
        state = await self._journal.read()
        known = admission.find_repeat(state, key, fingerprint)
        if known is not None:
            return known, ()
        preparation = self._preparation.within(state)
        settings = await preparation.settings()
        if state.leadership is not None:
            max_concurrent = least(max_concurrent, settings.max_concurrent)
        is_head = self._caller.is_head  # an agent has its own environment, and no say in how many run
        bounds = admission.Bounds(settings.max_concurrent if is_head else None, settings.max_tasks)
        ready, self._rehearsed = self._rehearsed, None
        prepared, warnings = ready.prepared if ready and ready.request is request and not state.tasks else await prepare(preparation, state)
        committed = await self._journal.transact(
            lambda state, now: admission.admit(
                state, now, prepared, key=key, request=fingerprint, max_concurrent=max_concurrent, bounds=bounds
            )
        )
        trouble = await self.site.link.ring(self.orchestration_id) or await self._begin_led(committed.value)
        return committed.value, (*warnings, *filter(None, (self._stray(), trouble)))

    async def _begin_led(self, task_ids: tuple[str, ...]) -> str | None:
        """The orchestrations that heads among the tasks are to lead are there when they are named in the answer."""
        state = await self._journal.read()
        for created in filter(None, (created_by(state.tasks[name]) for name in task_ids)):
            await to_thread.run_sync(self._open_led, created)
            await self.site.link.ring(created.orchestration_id)
        return None

    def _stray(self) -> str | None:
        run = self._caller.unknown_run
        return run and f"CMUX_TASK_RUN_ID is {run[:80]!r}, a run that no orchestration here knows; you are taken for the head."

    def _spawned(self, state: State, task_id: str, warnings: tuple[str, ...]) -> answers.SpawnAnswer:
        task = state.tasks[task_id]
        repository, base = task.spec.repository, base_of(state, task)
        return answers.SpawnAnswer(
            orchestration_task_id=task_id,
            task_id=task.id,
            task_run_id=task.task_run_id,
            agent_name=task.spec.agent_name,
            status=task.status.value,
            orchestration_id=task.spec.leads.orchestration_id if task.spec.leads else state.orchestration_id,
            repo=repository.name if repository else None,
            base_branch=base.branch,
            base_commit=base.commit,
            branch=repository.branch if repository else None,
            isolation=expected(task.spec),
            permissions=task.spec.permissions,
            cost_basis=task.spec.credential.cost_basis if task.spec.credential else None,
            waiting_for=reading.waiting(state, self.directory, self.site.clock.now()).get(task_id),
            warnings=warnings,
            next=self._advice(task_id),
        )

    def _advice(self, task_id: str) -> str:
        if self._caller.is_shell:
            return f"Follow it: devsh orchestrate status {task_id} --watch"
        return "Spawn what else there is to do, then call wait_for_agent once with all ids and mode any."

    async def status(self, any_id: str) -> answers.TaskRecord:
        """One task."""
        state = await self._journal.read_whole()
        return reading.record(state, state.get_task(any_id), self.directory, self.site.clock.now())

    async def list_tasks(self, request: requests.ListRequest) -> answers.ListAnswer:
        """The tasks, newest first."""
        return reading.listing(await self._journal.read_whole(), request, self.directory, self.site.clock.now())

    async def remains(self) -> tuple[answers.TaskRow, ...]:
        """The tasks that a damaged journal still tells of, newest first; where they are now, nobody knows."""
        state = await self._journal.read()
        return reading.rows(state, list(state.tasks.values())[::-1], {}, self.directory)

    async def results(self) -> answers.ResultsAnswer:
        """What all tasks came to, and which of their branches conflict with each other."""
        state = await self._journal.read_whole()
        answer, branches = reading.results(state, self.directory), radar.published(state)
        seen = await radar.look(branches, self._caller.environment)
        found = {"conflicts": seen.conflicts, "warnings": seen.warnings, "next": aftermath.advice(answer.results, seen.conflicts)}
        return answer.model_copy(update=found)

    async def work(self, any_id: str) -> answers.WorkAnswer:
        """Where a task's work is."""
        state = await self._journal.read_whole()
        answer, task = work.describe(state, state.get_task(any_id), self.directory), state.get_task(any_id)
        found = await to_thread.run_sync(work.find, task)
        return answer.model_copy(update=found.fields()) if found else answer

    async def summary(self) -> answers.SummaryAnswer:
        """The whole at a glance."""
        state = await self._journal.read_whole()
        places = reading.Places(self.directory)
        running = {name: at for name, task in state.unfinished.items() if (at := places.last_activity(task))}
        return summary.summary(state, running)

    async def brief(self) -> str:
        """What a head that lost its memory has to know."""
        merged = await branches.merged(branches.published(await self._journal.read_whole()), self._caller.environment)
        return reading.brief(await self._journal.read_whole(), merged, self.directory, self.site.clock.now())

    async def plan(self) -> dict[str, object]:
        """PLAN.json as it would be written now."""
        state = await self._journal.read_whole()
        return plan_document(state, reading.waiting(state, self.directory, self.site.clock.now()))

    async def explain(self, any_id: str) -> answers.Explanation:
        """Why a task is where it is."""
        state = await self._journal.read_whole()
        return reading.explanation(state, state.get_task(any_id), self.directory, self.site.clock.now())

    async def wait(self, request: requests.WaitRequest, progress: Progress | None = None) -> answers.WaitAnswer:
        """Until the condition holds, a message comes or the time is over."""
        state = await self.state()
        since = max(state.messages, default=0) if self._caller.is_shell else 0
        return await wait_for(self.site, request, Reader(self._reader(state), self._handed_out, self._needs, since), progress)

    async def message(self, request: requests.MessageRequest) -> answers.MessageAnswer:
        """Sends a message."""
        if len(request.message.encode(errors="surrogatepass")) > MAX_MESSAGE_BYTES:
            raise InvalidRequest(
                f"A message is at most {MAX_MESSAGE_BYTES // 1024} KiB.", next_step="Put the text into a file and name it."
            )
        committed = await self._journal.transact(lambda state, _now: decide_message(state, request, self._sender(state)))
        trouble = await self.site.link.ring(self.orchestration_id)
        number, state = committed.value or committed.seqs[0], await self._journal.read()
        return answers.MessageAnswer(message_id=number, to=request.to, interrupts=does_interrupt(state, number), next=trouble)

    async def messages(
        self,
        *,
        after: int | None = None,
        include_read: bool = False,
        type_: str | None = None,
        correlation_id: str | None = None,
        max_bytes: int | None = None,
    ) -> answers.MessagesAnswer:
        """The caller's messages. An answer that never arrived comes again: only a later call says that this one did.

        `after` confirms what this caller was handed out up to it and nothing else, so no message counts as read that was not shown;
        an unread one that was never handed out is shown though it is older than `after`.
        """
        state = await self._confirmed(after)
        reader = self._reader(state)
        letters = letters_for(state, reader, include_read=include_read, type_=type_, correlation_id=correlation_id)
        passed = after if after is not None and include_read else 0
        records = [summary.message_record(letter, reader) for letter in letters if letter.id > passed]
        found = fitting(records, max_bytes)
        self._handed_out.update(record.id for record in found)
        cursor = max((after or 0, *(record.id for record in found)))
        left = len(records) - len(found)
        return answers.MessagesAnswer(
            messages=found, cursor=cursor, next=f"There are {left} more: ask again with after={cursor}." if left else None
        )

    async def _confirmed(self, after: int | None) -> State:
        """The state in which the answers that arrived are read: those up to `after`, and all where the caller does not say."""
        state = await self._journal.read_whole()
        had = tuple(sorted(number for number in self._handed_out if after is None or number <= after))
        if not had:
            return state
        reader = self._reader(state)
        committed = await self._journal.transact(lambda state, _now: mark_read(state, reader, had, "pull"))
        self._handed_out.difference_update(had)
        if committed.seqs:
            await self.site.link.ring(self.orchestration_id)
        return await self._journal.read()

    def _demand_own(self, state: State, task: Task) -> None:
        """NotAllowed where an agent that is no head asks for what it has not spawned."""
        who = self._reader(state)
        if who not in (HEAD, task.spec.parent):
            raise NotAllowed(f"{task.orchestration_task_id} is none that you have spawned.")

    async def cancel(self, any_id: str, *, cascade: bool = False) -> answers.CancelAnswer:
        """Ends a task, and with `cascade` all that depend on it; answers what became true within five seconds."""

        def decide(state: State, _now: object) -> Decision[tuple[str, ...]]:
            self._demand_own(state, state.get_task(any_id))
            events, ids = endings.cancel(state, state.get_task(any_id), cascade=cascade)
            return Decision(events, ids)

        committed = await self._journal.transact(decide)
        await self.site.link.ring(self.orchestration_id)
        state = await self._until_over(committed.value)
        task = state.get_task(any_id)
        asked = [state.tasks[name] for name in committed.value]
        count = sum(1 for one in asked if not one.is_terminal or one.status is Status.CANCELLED)  # the others ended by themselves
        over = all(one.is_terminal for one in asked)
        return answers.CancelAnswer(
            ok=True,
            cancelled=count > 0,
            cancelled_count=count,
            orchestration_task_id=task.orchestration_task_id,
            status=task.status.value,
            next=None if over else "Its processes are being ended; its status tells when they are gone.",
        )

    async def _until_over(self, task_ids: tuple[str, ...]) -> State:
        state = await self._journal.read()
        with anyio.move_on_after(CANCEL_PATIENCE):
            async with self.site.link.follow(self.orchestration_id) as follower:
                state = await self._journal.read()
                while not all(state.tasks[name].is_terminal for name in task_ids):
                    await follower.wait()
                    state = await self._journal.read()
        return state

    async def pull(self, *, full: bool = False) -> answers.PullAnswer:
        """What changed since the last pull, once PLAN.json says it too."""
        state = await self._journal.read_whole()
        trouble = await self.site.link.ring(self.orchestration_id)
        synced = trouble is None and await wait_until_exact(self.site, state.seq)
        reasons = reading.waiting(state, self.directory, self.site.clock.now())
        changed = [task for task in state.tasks.values() if full or task.changed > self._pulled]
        reader = self._reader(state)
        unread = letters_for(state, reader, include_read=False, type_=None, correlation_id=None)
        self._pulled = state.seq
        return answers.PullAnswer(
            synced=synced,
            orchestration_id=state.orchestration_id,
            tasks=tuple(summary.pulled_task(task, reasons.get(task.orchestration_task_id)) for task in changed),
            messages=tuple(summary.message_record(message, reader) for message in unread),
            aggregated_status=summary.status_counts(state),
            plan_path=str(self.plan_path),
            next=trouble,
        )

    async def push(self, request: exchange.PushRequest) -> exchange.PushAnswer:
        """Records what a head has decided."""
        if not self._caller.is_head:
            raise NotAllowed("Only a head says how its orchestration stands.")
        committed = await self._journal.transact(lambda state, _now: decide_push(state, request, choose))
        trouble = await self.site.link.ring(self.orchestration_id)
        answer = push_answer(await self._journal.read(), request, committed.value)
        return answer.model_copy(update={"next": trouble})

    async def mirror(self, after: int) -> exchange.MirrorAnswer:
        """The files as they are now."""
        await self._journal.read_whole()
        entries = await self._journal.read_after(after)
        state = await self._journal.read()
        return mirror_answer(state, entries, reading.waiting(state, self.directory, self.site.clock.now()))

    async def position(self) -> int:
        """The number of the newest event."""
        return (await self.state()).seq

    def changes(self, after: int) -> AsyncIterator[Change]:
        """Every event behind `after`, without end."""
        return changes_of(self.site, after)

    def output(self, any_id: str, *, follow: bool = False, last: int | None = None) -> AsyncIterator[str]:
        """What a task's newest attempt printed, as people read it."""
        return output_of(self.site, any_id, follow=follow, last=last)

    def printed(self, any_id: str, *, follow: bool = False) -> AsyncIterator[Printed]:
        """The bytes that it printed."""
        return printed_by(self.site, any_id, follow=follow)
