"""What the state of an orchestration holds of its messages, and of the requests that were answered."""

from dataclasses import dataclass, field
from datetime import datetime

from devsh_memory_mcp.domain.names import EVERYONE
from devsh_memory_mcp.domain.records import MessageType


@dataclass(slots=True)
class Message:
    """One message; `id` is its `seq`. `readers` have it, `failed` never will."""

    id: int
    sender: str
    to: str
    type: MessageType
    text: str
    sent_at: datetime
    correlation_id: str | None = None
    reply_to: int | None = None
    priority: str | None = None
    metadata: dict[str, object] = field(default_factory=dict)
    interrupt: bool = False
    readers: set[str] = field(default_factory=set)
    failed: str | None = None

    def is_for(self, reader: str) -> bool:
        """Whether `reader` (`head` or an orchestrationTaskId) is addressed; a sender is not by his own `*`."""
        return self.to == reader or (self.to == EVERYONE and self.sender != reader)


@dataclass(slots=True)
class Answered:
    """What an idempotency key was used for: the request's hash and the ids or the message that it gave."""

    request: str | None
    orchestration_task_ids: list[str] = field(default_factory=list)
    message_id: int | None = None
