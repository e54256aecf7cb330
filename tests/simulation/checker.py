"""What must hold of any journal, told from its lines alone: a fold of its own, which shares nothing with the engine's.

`take` is given the events in order, `rest` the time when there are no more yet. Times are seconds since the simulation began.
"""

from dataclasses import dataclass, field
from datetime import datetime
from math import inf
from typing import Any

from tests.doubles.memory_journal import START
from tests.simulation.backend import RECOVERY, SAVING

TURN = 0.25  # s; far above what a turn of the loop takes with its commits, far below everything else
PLACES = 8  # where nobody said anything
AGEING = 60.0  # s of waiting for a step of priority
FIRST_DELAY, LONGEST_DELAY = 2.0, 300.0
CANCEL_GRACE, TIMEOUT_GRACE, ESCALATION = 0.7, 5.0, 3.0
_BADLY = ("failed", "cancelled")
_ENDS = {"agent_completed": "completed", "agent_failed": "failed", "agent_cancelled": "cancelled"}


class Broken(AssertionError):
    """A rule that does not hold."""

    def __init__(self, rule: str, told: str) -> None:
        super().__init__(f"{rule}: {told}")
        self.rule = rule


def hold(rule: str, holds: bool, told: str) -> None:
    if not holds:
        raise Broken(rule, told)


def seconds(text: str) -> float:
    return (datetime.fromisoformat(text) - START).total_seconds()


@dataclass(eq=False)
class Seen:
    """A task as its lines tell it."""

    id: str
    run_id: str
    seq: int
    at: float
    priority: int
    depends_on: list[str]
    runs_anyway: bool
    retries: int
    timeout: float
    is_script: bool
    account: str
    open: set[str]
    status: str = "pending"
    live: int = 0
    attempts: int = 0
    succeeded: bool = False
    agent_at: float = inf
    cancel_at: float = inf
    not_before: float = 0.0
    retried_at: float | None = None
    doomed_at: float = inf
    ended_at: float = inf
    unread: dict[int, float] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        return self.status in _ENDS.values()

    def rank(self, at: float) -> tuple[int, int]:
        return self.priority - int(max(0.0, at - self.at) // AGEING), self.seq


class Checker:
    """`tasks` by orchestrationTaskId; `ready` are those that wait for a place alone, since when."""

    def __init__(self) -> None:
        self.tasks: dict[str, Seen] = {}
        self.ready: dict[str, float] = {}
        self.live: dict[str, Seen] = {}
        self.hours = 0.0  # that agents have worked
        self.most_live = 0
        self.at = self._free_since = self._runner_since = 0.0
        self._places = PLACES
        self._limits: dict[str, float] = {}  # by account, until when it is used up
        self._dependents: dict[str, list[Seen]] = {}
        self._doomed: dict[str, Seen] = {}
        self._owed: dict[str, Seen] = {}  # ended with messages of which nothing is said yet

    def take(self, event: dict[str, Any]) -> None:
        at = seconds(event["timestamp"])
        if at > self.at:
            self.rest(at)
        fold = getattr(self, f"_{event['event']}", None)
        if fold is not None:
            task = self.tasks.get(event.get("orchestrationTaskId", ""))
            fold(event, at) if event["event"] in ("agent_spawned", "settings_changed", "runner_started") else fold(event, at, task)

    # What time alone can break.

    def rest(self, at: float) -> None:
        self.at = at
        if len(self.live) < self._places:
            for name, since in self.ready.items():
                late = at - max(since, self._free_since, self._runner_since)
                hold("idle", late <= TURN, f"{name} waits for {late} s beside a free place")
        for task in self._doomed.values():
            hold("doomed", at - max(task.doomed_at, self._runner_since) <= TURN, f"{task.id} stands behind a failure")
        for task in self.live.values():
            self._pressed(task, at)
        for task in self._owed.values():
            hold("message", not task.unread, f"nothing is said of messages {list(task.unread)} to {task.id}, which is over")
        self._owed.clear()

    def _pressed(self, task: Seen, at: float) -> None:
        end = RECOVERY + SAVING + TURN
        asked = max(task.cancel_at, self._runner_since + 2.0)
        hold("cancel", at <= asked + CANCEL_GRACE + ESCALATION + end, f"{task.id} lives on after {at - task.cancel_at} s")
        due = max(task.agent_at + task.timeout, self._runner_since)
        hold(
            "timeout",
            at <= due + TIMEOUT_GRACE + ESCALATION + end,
            f"{task.id} lives {at - task.agent_at} s, with {task.timeout} s to live",
        )

    # What happened.

    def _settings_changed(self, event: dict[str, Any], at: float) -> None:
        self._places = event["maxConcurrent"]
        self._count(at)

    def _runner_started(self, _event: dict[str, Any], at: float) -> None:
        self._runner_since = at

    def _agent_spawned(self, event: dict[str, Any], at: float) -> None:
        spec = event["spec"]
        names = spec.get("dependsOn", [])
        hold("dependencies", all(name in self.tasks for name in names), "a dependency is not there")
        timeout = spec["timeoutMs"] / 1000 if spec.get("timeoutMs") else inf
        task = Seen(
            event["orchestrationTaskId"],
            event["taskRunId"],
            event["seq"],
            at,
            spec["priority"],
            names,
            runs_anyway=spec.get("onDependencyFailure") == "run",
            retries=spec["retries"],
            timeout=timeout,
            is_script=event["agentName"].startswith("shell/"),
            account=event["agentName"].partition("/")[0],
            open={name for name in names if not self.tasks[name].is_over},
        )
        hold("once", task.id not in self.tasks, f"{task.id} was admitted twice")
        self.tasks[task.id] = task
        for name in names:
            self._dependents.setdefault(name, []).append(task)
            if self.tasks[name].status in _BADLY and not task.runs_anyway:
                self._doom(task, at)
        self._sort(task, at)

    def _attempt_started(self, event: dict[str, Any], at: float, task: Seen) -> None:
        hold("final", not task.is_over, f"{task.id} starts after its end")
        hold("once", not task.live and event["attempt"] == task.attempts + 1, f"attempt {event['attempt']} of {task.id}")
        hold("places", len(self.live) < self._places, f"{task.id} is one more than {self._places}")
        before = [self.tasks[name] for name in task.depends_on]
        hold("dependencies", all(one.is_over for one in before), f"{task.id} starts before its dependencies have ended")
        failed = [one.id for one in before if one.status in _BADLY]
        hold("dependencies", task.runs_anyway or not failed, f"{task.id} starts though {failed} failed")
        hold("cancel", task.cancel_at == inf, f"{task.id} starts though it was cancelled")
        hold("back-off", at >= task.not_before - 0.001, f"{task.id} starts {task.not_before - at} s too early")
        hold("limit", at >= self._limits.get(task.account, 0.0) - 0.001, f"{task.id} runs into the limit of {task.account}")
        hold("retries", task.attempts <= task.retries, f"{task.id} is tried once too often")
        mine = task.rank(at)
        self.ready.pop(task.id, None)
        for name, since in self.ready.items():
            first = since < at - TURN and self.tasks[name].rank(at - TURN) < mine
            hold("order", not first, f"{task.id} starts and {name}, ready for {at - since} s, comes first")
        task.status, task.live, task.attempts, task.agent_at = "running", event["attempt"], event["attempt"], inf
        self.live[task.id] = task
        self._count(at)

    def _agent_started(self, event: dict[str, Any], at: float, task: Seen) -> None:
        hold("final", task.live == event["attempt"], f"an agent of {task.id} starts without an attempt")
        task.agent_at = at

    def _attempt_ended(self, event: dict[str, Any], at: float, task: Seen) -> None:
        hold("final", not task.is_over and task.live == event["attempt"], f"attempt {event['attempt']} of {task.id} ends")
        self.hours += max(0.0, at - task.agent_at) / 3600
        task.live, task.succeeded = 0, event["succeeded"]
        del self.live[task.id]
        self._count(at)

    def _retry_scheduled(self, event: dict[str, Any], at: float, task: Seen) -> None:
        delay, plain = event["delayMs"] / 1000, min(LONGEST_DELAY, FIRST_DELAY * 2 ** (task.attempts - 1))
        task.not_before, task.status = seconds(event["notBefore"]), "pending"
        hold("final", not task.live and not task.is_over, f"{task.id} is tried again while it lives, or after its end")
        hold("retries", not task.succeeded and task.attempts <= task.retries, f"{task.id} is to be tried again")
        is_limit = 3500 < delay <= 3600  # the scripted agents' used-up limit
        hold("back-off", 0.8 * plain - 0.001 <= delay <= 1.2 * plain + 0.001 or is_limit, f"{delay} s after attempt {task.attempts}")
        hold("back-off", abs(at + delay - task.not_before) <= 0.01, f"{task.id}: notBefore is not {delay} s from now")
        self._sort(task, at)

    def _provider_limited(self, event: dict[str, Any], _at: float, _task: None) -> None:
        account = event["account"]
        self._limits[account] = max(self._limits.get(account, 0.0), seconds(event["until"]))
        for name in [name for name in self.ready if self.tasks[name].account == account]:
            self.ready[name] = max(self.ready[name], self._limits[account])

    def _agent_completed(self, event: dict[str, Any], at: float, task: Seen) -> None:
        hold("final", task.succeeded, f"{task.id} completes without an attempt that did")
        self._end(event, at, task)

    def _agent_failed(self, event: dict[str, Any], at: float, task: Seen) -> None:
        because = event["reason"] == "dependency"
        hold("doomed", not because or task.id in self._doomed, f"{task.id} fails for a dependency that did not")
        self._end(event, at, task)

    def _agent_cancelled(self, event: dict[str, Any], at: float, task: Seen) -> None:
        self._end(event, at, task)

    def _end(self, event: dict[str, Any], at: float, task: Seen) -> None:
        hold("final", not task.is_over, f"{task.id} ends twice: {task.status}, {event['event']}")
        hold("final", not task.live, f"{task.id} is over and its attempt lives")
        task.status, task.ended_at = _ENDS[event["event"]], at
        self.ready.pop(task.id, None)
        self._doomed.pop(task.id, None)
        self._owed[task.id] = task
        for dependent in self._dependents.get(task.id, ()):
            dependent.open.discard(task.id)
            if task.status in _BADLY and not dependent.runs_anyway and not dependent.is_over:
                self._doom(dependent, at)
            self._sort(dependent, at)

    def _cancel_requested(self, _event: dict[str, Any], at: float, task: Seen) -> None:
        hold("final", bool(task.live), f"{task.id} is asked to end and does not live")
        task.cancel_at = min(task.cancel_at, at)

    def _message_sent(self, event: dict[str, Any], at: float, _task: None) -> None:
        if event["to"] in self.tasks:
            hold("message", not self.tasks[event["to"]].is_over, "a message to an ended task was taken")
            self.tasks[event["to"]].unread[event["seq"]] = at

    def _message_delivered(self, event: dict[str, Any], _at: float, _task: None) -> None:
        for number in event["messageIds"]:
            if event["reader"] in self.tasks:
                had = self.tasks[event["reader"]].unread.pop(number, None)
                hold("message", had is not None, f"message {number} was delivered twice")

    def _message_failed(self, event: dict[str, Any], _at: float, _task: None) -> None:
        had = self.tasks[event["reader"]].unread.pop(event["messageId"], None)
        hold("message", had is not None, f"message {event['messageId']} had been delivered, or failed before")

    # What follows.

    def _sort(self, task: Seen, at: float) -> None:
        if task.status == "pending" and not task.open and task.id not in self._doomed:
            self.ready[task.id] = max(at, task.not_before, self._limits.get(task.account, 0.0))

    def _doom(self, task: Seen, at: float) -> None:
        task.doomed_at = min(task.doomed_at, at)
        self._doomed[task.id] = task
        self.ready.pop(task.id, None)

    def _count(self, at: float) -> None:
        self.most_live = max(self.most_live, len(self.live))
        if len(self.live) >= self._places:
            self._free_since = inf
        elif self._free_since == inf:
            self._free_since = at

    # Who asks.

    def descendants(self, name: str) -> set[str]:
        """The unfinished tasks that depend on it, over any number of unfinished ones between."""
        found: set[str] = set()
        queue = [name]
        while queue:
            for task in self._dependents.get(queue.pop(), ()):
                if not task.is_over and task.id not in found:
                    found.add(task.id)
                    queue.append(task.id)
        return found

    def is_asked_to_end(self, name: str) -> bool:
        return self.tasks[name].is_over or self.tasks[name].cancel_at < inf
