"""What only the API asks and answers: parameters that are method arguments elsewhere, and answers that are no record of the domain."""

from typing import Annotated

from pydantic import Field

from devsh_memory_mcp.domain.records import Record, Request
from devsh_memory_mcp.domain.requests import BatchRequest, CorrelationId, MessageId, MessageRequest, Places, SpawnRequest

Count = Annotated[int, Field(ge=0, le=2**53)]
MAX_BYTES = 16 * 1024 * 1024


class Nothing(Request):
    """No parameters."""


class CancelParameters(Request):
    """How far a cancel goes."""

    cascade: bool = False


class PullParameters(Request):
    """`full` asks for all tasks, not only for those that changed."""

    full: bool = False


class MessagesParameters(Request):
    """Which of the caller's messages."""

    after: Count | None = None
    include_read: bool = False
    type: str | None = None
    correlation_id: CorrelationId | None = None
    max_bytes: Annotated[int, Field(ge=1, le=MAX_BYTES)] | None = None


class OutputParameters(Request):
    """`follow` goes on until the task has ended; `last` leaves out what stands more than so many bytes before the end."""

    follow: bool = False
    last: Count | None = None


class MirrorParameters(Request):
    """Behind which event of the journal."""

    after: MessageId | Annotated[int, Field(ge=0, le=0)] = 0


class CurrentParameters(Request):
    """What the orchestration is for: where that would be refused, none is made."""

    spawn: SpawnRequest | None = None
    batch: BatchRequest | None = None


class BeginParameters(Request):
    """A new orchestration."""

    description: Annotated[str, Field(max_length=2000)] = ""
    max_concurrent: Places | None = None


class ActiveParameters(Request):
    """`everything` asks for those of all projects."""

    everything: bool = False


class MessageParameters(MessageRequest):
    """A message; the orchestration is the receiver's, where it is named by a task's id."""


class Known(Record):
    """An orchestration, and where its files are on the server's machine."""

    orchestration_id: str
    directory: str | None = None


class KnownOnes(Record):
    """Orchestrations, newest first."""

    orchestrations: tuple[Known, ...]


class Text(Record):
    """Prose."""

    text: str


class Plan(Record):
    """PLAN.json as it would be written now."""

    plan: dict[str, object]


class Position(Record):
    """The number of the newest event."""

    seq: int


class Lines(Record):
    """Whole lines of an agent's output, as people read it."""

    text: str


class Piece(Record):
    """Bytes as an agent printed them, in base64."""

    is_error: bool
    content: str


class Health(Record):
    """That the server lives, and which release it is."""

    ok: bool = True
    name: str = "devsh"
    version: str


class Fault(Record):
    """Why it was not done: `error` in one text, and its parts."""

    error: str
    code: str
    message: str
    next: str | None = None
