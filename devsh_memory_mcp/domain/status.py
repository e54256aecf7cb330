"""The life of a task, as data: which trigger leads from which status to which.

Terminal is final: no trigger leaves `completed`, `failed` or `cancelled`.
"""

from enum import StrEnum

from devsh_memory_mcp.errors import Conflict


class Status(StrEnum):
    """Where a task is in its life."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing can change any more."""
        return self in TERMINAL


class Trigger(StrEnum):
    """What moves a task on."""

    START = "start"
    COMPLETE = "complete"
    FAIL = "fail"
    CANCEL = "cancel"
    RETRY = "retry"


TERMINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})

TRANSITIONS: dict[tuple[Status, Trigger], Status] = {
    (Status.PENDING, Trigger.START): Status.RUNNING,
    (Status.PENDING, Trigger.FAIL): Status.FAILED,
    (Status.PENDING, Trigger.CANCEL): Status.CANCELLED,
    (Status.RUNNING, Trigger.COMPLETE): Status.COMPLETED,
    (Status.RUNNING, Trigger.FAIL): Status.FAILED,
    (Status.RUNNING, Trigger.CANCEL): Status.CANCELLED,
    (Status.RUNNING, Trigger.RETRY): Status.PENDING,
}

MEANING: dict[tuple[Status, Trigger], str] = {
    (Status.PENDING, Trigger.START): "dependencies done, a place free",
    (Status.PENDING, Trigger.FAIL): "a dependency failed",
    (Status.PENDING, Trigger.CANCEL): "cancelled",
    (Status.RUNNING, Trigger.COMPLETE): "the agent succeeded",
    (Status.RUNNING, Trigger.FAIL): "exit, timeout, stalled, lost, setup, spawn, verify, oom, disk",
    (Status.RUNNING, Trigger.CANCEL): "cancelled",
    (Status.RUNNING, Trigger.RETRY): "retries left",
}


def advance(status: Status, trigger: Trigger) -> Status:
    """The status after `trigger`; Conflict where the table has no such step."""
    try:
        return TRANSITIONS[status, trigger]
    except KeyError:
        raise Conflict(f"A task that is {status} cannot {trigger}.") from None


def diagram() -> str:
    """The table as a mermaid state diagram, as it stands in the README."""
    steps = [f"    {start} --> {end}: {MEANING[start, trigger]}" for (start, trigger), end in TRANSITIONS.items()]
    ends = [f"    {status} --> [*]" for status in Status if status.is_terminal]
    return "\n".join(["stateDiagram-v2", "    [*] --> pending: spawn", *steps, *ends])
