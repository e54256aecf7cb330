"""What happened, in words: one short sentence for each event of a journal."""

from collections.abc import Callable
from typing import Any

from devsh_memory_mcp.agents.plain import shortened
from devsh_memory_mcp.domain import events
from devsh_memory_mcp.domain.names import EVERYONE
from devsh_memory_mcp.domain.state import State

_MOST = 120  # characters of what people or agents wrote

Name = Callable[[str], str]  # how a task is called by people, from its orchestrationTaskId


def sentence(seq: int, event: events.Event, state: State) -> str:
    """The event `seq` in words; `state` knows the names of the tasks, and is of that event or a later one."""

    def name(task_id: str) -> str:
        task = state.tasks.get(task_id)
        return shortened(task.id if task else task_id, _MOST)

    words = _WORDS.get(type(event))
    if words is None:
        return f"an event that this release does not know: {shortened(str(getattr(event, 'event', event.name)), _MOST)}"
    return words(event, name) if not isinstance(event, events.MessageSent) else f"message {seq} {words(event, name)}"


def task_of(event: events.Event) -> str | None:
    """The orchestrationTaskId of the task that the event is about, None where it is about none."""
    found = getattr(event, "orchestration_task_id", None)
    return found if isinstance(found, str) else None


def _told(text: str | None) -> str:
    """What somebody wrote, behind a colon; its first line."""
    first = (text or "").strip().partition("\n")[0]
    return f": {shortened(first, _MOST)}" if first else ""


def _result(text: str | None) -> str:
    return _told((text or "").strip().rpartition("\n")[2])


def _created(event: events.OrchestrationCreated, _name: Name) -> str:
    imported = f", taken over from {event.imported_from}" if event.imported_from else ""
    return f"the orchestration began{imported}{_told(event.description)}"


def _runner(event: events.RunnerStarted, _name: Name) -> str:
    return f"a runner took over (process {event.pid}, release {shortened(event.version, 20)})"


def _spawned(event: events.AgentSpawned, name: Name) -> str:
    after = ", ".join(map(name, event.spec.depends_on))
    return f"{name(event.orchestration_task_id)} was spawned{f' to run after {after}' if after else ''}{_told(event.spec.prompt)}"


def _found(event: events.PlanTaskFound, name: Name) -> str:
    return f"{name(event.orchestration_task_id)} was found in PLAN.json, written by hand{_told(event.prompt)}"


def _edited(event: events.PlanEdited, _name: Name) -> str:
    return f"somebody edited the views; kept as {shortened(event.kept, _MOST)}"


def _held(event: events.TaskHeld, name: Name) -> str:
    task = name(event.orchestration_task_id)
    return f"{task} cannot start yet{_told(event.waiting_for)}" if event.waiting_for else f"{task} may start again"


def _attempt_ended(event: events.AttemptEnded, name: Name) -> str:
    how = "succeeded" if event.succeeded else f"ended ({event.reason})"
    return f"{name(event.orchestration_task_id)}: attempt {event.attempt} {how}{_told(event.error_message)}"


def _retry(event: events.RetryScheduled, name: Name) -> str:
    task, seconds = name(event.orchestration_task_id), event.delay_ms / 1000
    return f"{task}: attempt {event.attempt} will be made in {seconds:.1f} s, since attempt {event.attempt - 1} ended ({event.reason})"


def _completed(event: events.AgentCompleted, name: Name) -> str:
    branch = f" on branch {shortened(event.branch, _MOST)}" if event.branch else ""
    return f"{name(event.orchestration_task_id)} completed{branch}{_result(event.result)}"


def _cancel(event: events.CancelRequested, name: Name) -> str:
    return f"{name(event.orchestration_task_id)} is to be cancelled{', and all that depends on it' if event.cascade else ''}"


def _message(event: events.MessageSent, name: Name) -> str:
    to = "everyone" if event.to == EVERYONE else name(event.to)
    return f"from {name(event.sender)} to {to} ({event.type}){_told(event.message)}"


def _delivered(event: events.MessageDelivered, name: Name) -> str:
    numbers = ", ".join(map(str, event.message_ids[:10])) + (" …" if len(event.message_ids) > 10 else "")
    return f"{name(event.reader)} has message {numbers}"


def _removed(event: events.CheckoutRemoved, name: Name) -> str:
    kept = f"; its work is in {event.kept_in}" if event.kept_in else ""
    return f"{name(event.orchestration_task_id)}: the checkout of attempt {event.attempt} was removed{kept}"


def _late(event: events.LateReport, name: Name) -> str:
    return f"{name(event.orchestration_task_id)}: attempt {event.attempt} reported too late{_told(event.report)}"


_LEFT_BY = {"keep": "kept at work", "cancel": "cancelled"}
_WORDS: dict[type[events.Event], Callable[[Any, Name], str]] = {
    events.OrchestrationCreated: _created,
    events.SettingsChanged: lambda event, _name: f"at most {event.max_concurrent} tasks run at a time",
    events.RunnerStarted: _runner,
    events.AgentSpawned: _spawned,
    events.PlanTaskFound: _found,
    events.PlanTaskReported: lambda event, name: f"{name(event.orchestration_task_id)} was done by its head{_result(event.result)}",
    events.HeadReported: lambda event, _name: f"the head says: {event.head_agent_status or 'at work'}{_told(event.message)}",
    events.HeadLeft: lambda event, _name: f"its head has ended ({event.status}): what is left is {_LEFT_BY[event.policy]}",
    events.LeadershipEnded: lambda event, name: f"{name(event.orchestration_task_id)} leads {event.orchestration_id} no more",
    events.PlanEdited: _edited,
    events.AttemptStarted: lambda event, name: f"{name(event.orchestration_task_id)}: attempt {event.attempt} took a place",
    events.AgentStarted: lambda event, name: f"{name(event.orchestration_task_id)}: the agent runs (attempt {event.attempt})",
    events.TaskHeld: _held,
    events.AgentNeedsInput: lambda event, name: f"{name(event.orchestration_task_id)} needs help ({event.kind}){_told(event.message)}",
    events.NetworkRefused: lambda event, name: f"{name(event.orchestration_task_id)} was not let to {event.host}",
    events.AttemptEnded: _attempt_ended,
    events.RetryScheduled: _retry,
    events.ProviderLimited: lambda event, _name: (
        f"{shortened(event.account, _MOST)} has used up its limit; it is used again at {event.until}"
    ),
    events.AgentCompleted: _completed,
    events.AgentFailed: lambda event, name: f"{name(event.orchestration_task_id)} failed ({event.reason}){_told(event.error_message)}",
    events.AgentCancelled: lambda event, name: f"{name(event.orchestration_task_id)} was cancelled{_told(event.error_message)}",
    events.CancelRequested: _cancel,
    events.MessageSent: _message,
    events.MessageDelivered: _delivered,
    events.MessageFailed: lambda event, name: f"message {event.message_id} will not reach {name(event.reader)}{_told(event.error_message)}",
    events.LateReport: _late,
    events.CheckoutRemoved: _removed,
    events.PullRequestOpened: lambda event, name: f"{name(event.orchestration_task_id)}: the pull request is open{_told(event.url)}",
    events.PullRequestFailed: lambda event, name: f"{name(event.orchestration_task_id)}: no pull request{_told(event.error_message)}",
    events.JournalRepaired: lambda event, _name: f"the journal was repaired; what was there is kept as {shortened(event.kept, _MOST)}",
    events.ForeignLines: lambda event, _name: f"{event.count} lines that are not ours were found after event {event.after}",
}
