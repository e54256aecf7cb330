"""An orchestration in memory: tasks move when a test says so, watchers are told."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import anyio

from devsh_memory_mcp.domain import answers, requests
from devsh_memory_mcp.errors import NotFound, UnknownDependency
from devsh_memory_mcp.ports import Change, Printed

AT = datetime(2025, 2, 23, 12, 0, tzinfo=UTC)


class FakeOrchestration:
    def __init__(self, orchestration_id="orch_abc123", script=()):
        self.orchestration_id, self.directory = orchestration_id, Path("/memory/orchestrations") / orchestration_id
        self.tasks, self.requests, self.script, self.conflicts, self.works = {}, [], list(script), [], {}

    def add(self, task_id, status="running", **more):
        fields = {"prompt": "Do it", "agent_name": "shell/bash", "priority": 5, "created_at": AT, "started_at": AT, "id": task_id, **more}
        ids = {"orchestration_task_id": task_id, "task_id": fields["id"], "task_run_id": "tr_" + task_id}
        self.tasks[task_id] = answers.TaskRecord(**ids, status=status, orchestration_id=self.orchestration_id, **fields)
        return self

    def _get(self, any_id):
        for task in self.tasks.values():
            if any_id in (task.orchestration_task_id, task.id, task.task_run_id):
                return task
        raise NotFound(f"There is no task {any_id!r}.")

    def _row(self, task):
        return answers.TaskRow(**{name: getattr(task, name) for name in answers.TaskRow.model_fields})

    async def spawn(self, request):
        self.requests.append(request)
        if any(name not in self.tasks for name in request.depends_on):
            raise UnknownDependency
        task_id = f"ns{len(self.tasks):010d}"
        waiting = {"status": "pending", "waiting_for": "dependencies: x"} if request.depends_on else {}
        agent = request.agent_name or "claude/haiku-4.5"
        self.add(task_id, **{"prompt": request.prompt, "agent_name": agent, "id": request.name or task_id, **waiting})
        names = set(answers.SpawnAnswer.model_fields) - {"status", "waiting_for"}
        return answers.SpawnAnswer(status="pending", **{name: getattr(self.tasks[task_id], name) for name in names})

    async def status(self, any_id):
        return self._get(any_id)

    async def work(self, any_id):
        task = self._get(any_id)
        names = ("orchestration_task_id", "id", "agent_name", "status", "repo", "base_commit", "branch", "workspace", "run_directory")
        return answers.WorkAnswer(**{name: getattr(task, name) for name in names}).model_copy(update=self.works.get(any_id, {}))

    async def list_tasks(self, request: requests.ListRequest):
        rows = [self._row(task) for task in self.tasks.values() if request.status in (None, task.status)]
        return answers.ListAnswer(result=tuple(rows[::-1]))

    async def results(self):
        names = answers.TaskResult.model_fields
        found = tuple(answers.TaskResult(**{name: getattr(task, name, None) for name in names}) for task in self.tasks.values())
        completed = sum(1 for each in found if each.status == "completed")
        whole = {"orchestration_id": self.orchestration_id, "status": "partial", "directory": str(self.directory)}
        return answers.ResultsAnswer(**whole, total_tasks=len(found), completed_tasks=completed, results=found, conflicts=self.conflicts)

    async def wait(self, request, progress=None):
        rows = tuple(self._row(self._get(name)) for name in request.ids)
        ended = [row.status not in ("pending", "running") for row in rows]
        finished = any(ended) if request.mode == "any" else all(ended)
        first = {"orchestration_task_id": rows[0].orchestration_task_id, "status": rows[0].status}
        return answers.WaitAnswer(**first, finished=finished, timed_out=not finished, tasks=rows)

    async def message(self, request):
        self.requests.append(request)
        return answers.MessageAnswer(message_id=7, to=request.to, interrupts=request.interrupt)

    async def cancel(self, any_id, *, cascade=False):
        task = self._get(any_id)
        cancelled = task.status in ("pending", "running")
        if cancelled:
            self.tasks[task.orchestration_task_id] = task = task.model_copy(update={"status": "cancelled"})
        ids = {"orchestration_task_id": task.orchestration_task_id, "status": task.status}
        return answers.CancelAnswer(ok=True, cancelled=cancelled, cancelled_count=int(cancelled) + cascade, **ids)

    async def summary(self):
        counts = answers.StatusCounts(total=len(self.tasks))
        none = {"active_agents": (), "active_agent_count": 0, "agents": (), "recent_completions": ()}
        return answers.SummaryAnswer(
            orchestration_id=self.orchestration_id, status=counts, all_tasks_complete=True, has_failures=False, **none
        )

    async def explain(self, any_id):
        task = self._get(any_id)
        return answers.Explanation(orchestration_task_id=task.orchestration_task_id, id=task.id, status=task.status, because=("It runs.",))

    async def brief(self):
        return f"# Brief of orchestration {self.orchestration_id}"

    async def plan(self):
        return {
            "orchestrationId": self.orchestration_id,
            "tasks": [self._row(task).model_dump(mode="json") for task in self.tasks.values()],
        }

    async def position(self):
        return 0

    async def changes(self, after) -> AsyncIterator[Change]:
        for number, (task_id, changed) in enumerate(self.script):
            await anyio.lowlevel.checkpoint()
            self.tasks[task_id] = self.tasks[task_id].model_copy(update=changed)
            yield Change(seq=number, event="changed", task=self._row(self.tasks[task_id]))
        await anyio.sleep_forever()

    async def output(self, any_id, *, follow=False, last=None):
        yield "one\ntw"
        yield "o\n"

    async def printed(self, any_id, *, follow=False):
        yield Printed(False, b"one\r\n\x1b[31m")
        yield Printed(True, b"oh")


class FakeOrchestrations:
    """`opened` is what the command line asked for."""

    def __init__(self, *orchestrations):
        self.all, self.opened = list(orchestrations), None

    @asynccontextmanager
    async def open(self, root, caller, orchestration_id):
        self.opened = (root, caller, orchestration_id)
        yield self

    async def current(self, *, create=False, request=None):
        if not self.all and not create:
            raise NotFound("Nothing was spawned here yet.")
        self.all = self.all or [FakeOrchestration()]
        return self.all[0]

    async def named(self, orchestration_id):
        for found in self.all:
            if found.orchestration_id == orchestration_id:
                return found
        raise NotFound(f"There is no orchestration {orchestration_id!r}.")

    async def holding(self, any_id):
        for found in self.all:
            if any(any_id in (task.orchestration_task_id, task.id, task.task_run_id) for task in found.tasks.values()):
                return found
        raise NotFound(f"There is no task {any_id!r}.")

    async def active(self, *, everything=False):
        return self.all

    async def begin(self, description="", *, max_concurrent=None):
        self.all.insert(0, FakeOrchestration("orch_new"))
        return self.all[0]
