"""Journals as they may come to be: commits of events each of which may follow the ones before it."""

from collections.abc import Callable, Sequence

from hypothesis import strategies as st

from devsh_memory_mcp.domain import events
from devsh_memory_mcp.domain.records import TaskSpec, Totals
from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.domain.status import Status
from devsh_memory_mcp.store.line import Entry, encode
from tests.doubles.clock import START
from tests.store.conftest import CREATED

Commits = Sequence[Sequence[Entry]]


def _spawned(state: State, text: str) -> events.Event:
    number = len(state.tasks) + 1
    depends_on = tuple(state.tasks)[-1:] if number % 2 else ()
    spec = TaskSpec(prompt=text or "Do it.", agent_name="shell/bash", depends_on=depends_on)
    ids = {"orchestration_task_id": f"ns{number:010}", "task_run_id": f"tr_{number:012}", "id": f"t{number}"}
    return events.AgentSpawned(**ids, agent_name=spec.agent_name, spec=spec)


def _next(task: Task, text: str) -> list[events.Event]:
    """What may happen to a task now."""
    ids = {"orchestration_task_id": task.orchestration_task_id, "task_run_id": task.task_run_id}
    only = {"orchestration_task_id": task.orchestration_task_id}
    ended = events.AgentFailed(**only, reason="lost", error_message=text)
    if task.is_terminal:
        return [events.CheckoutRemoved(**only, attempt=task.attempt), events.LateReport(**only, attempt=1, report=text)]
    if task.status is Status.PENDING:
        held = events.TaskHeld(**only, waiting_for=text or None)
        return [events.AttemptStarted(**ids, attempt=task.attempt + 1), held, events.AgentCancelled(**only)]
    if task.live_attempt:
        over = events.AttemptEnded(**ids, attempt=task.attempt, reason="exit", totals=Totals(salvage_ref=f"refs/x/{task.attempt}"))
        needs = events.AgentNeedsInput(**only, attempt=task.attempt, n=2, kind="permission", message=text)
        begun = events.AgentStarted(**ids, attempt=task.attempt, n=1, agent_name="shell/bash")
        return [over, begun, needs, events.CancelRequested(**only)]
    again = events.RetryScheduled(**only, attempt=task.attempt, reason="exit", not_before="2026-01-02T03:04:06.000Z", delay_ms=400)
    return [events.AgentCompleted(**only, result=text, branch="dev/x"), ended, again]


def _mail(state: State, text: str) -> list[events.Event]:
    to = next(reversed(state.tasks), "head")
    sent = events.MessageSent(sender="head", to=to, type="request", message=text)
    return [sent, *(events.MessageDelivered(message_ids=(last,), reader=to, via="pull") for last in list(state.messages)[-1:])]


def _choices(state: State, text: str) -> list[events.Event]:
    of_tasks = [event for task in state.tasks.values() for event in _next(task, text)]
    edited = events.PlanEdited(kept=f"PLAN.json.edited-{state.seq}", unknown={"mine": text})
    runner = events.RunnerStarted(runner_id=text, pid=1, version="0")
    limited = events.ProviderLimited(account=text, until="2026-01-02T03:04:06.000Z")
    return [
        _spawned(state, text),
        *_mail(state, text),
        edited,
        runner,
        limited,
        *of_tasks,
    ]


@st.composite
def histories(draw: Callable[[st.SearchStrategy[int]], int]) -> Commits:
    """Commits of one to three events, behind the creation."""
    state, commits = State(), [[Entry(1, START, CREATED)]]
    state.apply(1, START, CREATED)
    words = ("", "hello", "a\u2028b\nc", '{"seq":1}')
    for _ in range(draw(st.integers(0, 12))):
        commit = []
        for _ in range(draw(st.integers(1, 3))):
            choices = _choices(state, words[draw(st.integers(0, len(words) - 1))])
            entry = Entry(state.seq + 1, START, choices[draw(st.integers(0, len(choices) - 1))])
            state.apply(entry.seq, entry.timestamp, entry.event)
            commit.append(entry)
        commits.append(commit)
    return commits


def content_of(commits: Commits) -> bytes:
    """The journal's bytes."""
    return b"".join(encode([entry.event for entry in commit], commit[0].seq, START) for commit in commits)
