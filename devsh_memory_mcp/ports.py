"""The seams: what faces ask of an orchestration, what the engine asks of a journal, of a backend and of the clock."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from devsh_memory_mcp.domain import answers, exchange, requests
from devsh_memory_mcp.domain.events import Event
from devsh_memory_mcp.domain.state import State
from devsh_memory_mcp.shim.rundir import Letter, Outcome, Report, Run

Value = TypeVar("Value")
Progress = Callable[[float, float, str], Awaitable[None]]  # done, total, one line of text


@dataclass(frozen=True, slots=True)
class Decision(Generic[Value]):
    """What is to be committed, as one whole, and what the caller is to get for it. No events: nothing is written."""

    events: tuple[Event, ...]
    value: Value


@dataclass(frozen=True, slots=True)
class Committed(Generic[Value]):
    """A decision that is durable; `seqs` are the numbers of its events, in order."""

    value: Value
    seqs: tuple[int, ...]


Decide = Callable[[State, datetime], Decision[Value]]


class Clock(Protocol):
    """Wall time for what is written down, a monotonic one for durations."""

    def now(self) -> datetime:
        """The present instant, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never step."""
        ...


class Journal(Protocol):
    """The ordered, durable log of one orchestration."""

    async def transact(self, decide: Decide[Value]) -> Committed[Value]:
        """Brings the state up to date under the writer's lock and commits what `decide` answers; what it raises is raised here.

        Raises JournalBusy, JournalDamaged, DiskFull, CommitUnknown, FormatTooNew.
        """
        ...

    async def read(self) -> State:
        """The state, up to the last complete commit on disk. It belongs to the journal: read it, and keep nothing across an await."""
        ...


class Start(Enum):
    """What came of an attempt's launch."""

    STARTED = "started"
    ALIVE = "alive"  # its shim was there already
    OVER = "over"  # it has an outcome, or traces of a dead shim


class Backend(Protocol):
    """Places shims. A run is named by its directory; nothing here assumes that the shim shares this machine's processes."""

    async def start(self, directory: str, run: Run, secrets: Mapping[str, str]) -> Start:
        """Launches the attempt, at most once ever. OSError where that fails. `secrets` are variables for the agent alone, kept nowhere."""
        ...

    async def forestall(self, directory: str) -> bool:
        """Has nothing begin there any more; False where something has begun. OSError where neither can be said."""
        ...

    async def finish(self, directory: str, run: Run, *, recover_unbegun: bool) -> Outcome | None:
        """The outcome of an attempt whose shim has gone or is going: waits for its lock, recovers what left none.

        None where no shim ever got to its first report, so that it can be started: `recover_unbegun` gives that up too.
        """
        ...

    async def send(self, directory: str, letter: Letter) -> None:
        """Puts a letter into the attempt's inbox, once per id."""
        ...

    async def reports(self, directory: str, after: int) -> list[Report]:
        """The attempt's reports with a number above `after`."""
        ...

    async def kill(self, directory: str) -> None:
        """Ends a shim that does not act."""
        ...

    async def is_saving(self, directory: str) -> bool:
        """Whether the attempt's agent is gone already, so that what is left is to save its work."""
        ...

    async def has_rebooted(self, directory: str) -> bool:
        """Whether the machine was started anew since the attempt began."""
        ...


@dataclass(frozen=True, slots=True)
class Change:
    """One event as watchers see it: who, and what is true now.

    `cause` is the event itself and `at` when it was committed; None where they are not told.
    """

    seq: int
    event: str
    task: answers.TaskRow | None
    cause: Event | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Printed:
    """Bytes as an agent printed them, on stdout or on stderr."""

    is_error: bool
    content: bytes


class Orchestration(Protocol):
    """All that a face can ask; answered from this machine's files or by a server."""

    @property
    def orchestration_id(self) -> str:
        """Which orchestration this is."""
        ...

    @property
    def directory(self) -> Path | None:
        """Where its files are, None where they are on another machine."""
        ...

    @property
    def plan_path(self) -> Path | None:
        """Where this machine has its PLAN.json, its own or a copy; None where it has none."""
        ...

    async def spawn(self, request: requests.SpawnRequest) -> answers.SpawnAnswer:
        """Admits one task, durably; it starts behind the answer."""
        ...

    async def spawn_batch(self, request: requests.BatchRequest) -> answers.BatchAnswer:
        """Admits several in one commit, or none."""
        ...

    async def status(self, any_id: str) -> answers.TaskRecord:
        """One task, with its live facts."""
        ...

    async def list_tasks(self, request: requests.ListRequest) -> answers.ListAnswer:
        """The tasks of this orchestration, newest first."""
        ...

    async def remains(self) -> Sequence[answers.TaskRow]:
        """The tasks that a damaged journal, of which every other call raises JournalDamaged, still tells of, newest first."""
        ...

    async def results(self) -> answers.ResultsAnswer:
        """What all tasks came to."""
        ...

    async def work(self, any_id: str) -> answers.WorkAnswer:
        """Where a task's work is, as the user's repository has it now."""
        ...

    async def wait(self, request: requests.WaitRequest, progress: Progress | None = None) -> answers.WaitAnswer:
        """Until the condition holds, the time is over, or a message or an agent needs the caller; cancelling it cancels no agent."""
        ...

    async def message(self, request: requests.MessageRequest) -> answers.MessageAnswer:
        """Sends a message."""
        ...

    async def messages(
        self,
        *,
        after: int | None = None,
        include_read: bool = False,
        type_: str | None = None,
        correlation_id: str | None = None,
        max_bytes: int | None = None,
    ) -> answers.MessagesAnswer:
        """The caller's messages, oldest first. Those of his earlier calls count as read now, with `after` only those up to it.

        `max_bytes` bounds the answer's size; one message at least is given, and `next` says how many there are more.
        """
        ...

    async def cancel(self, any_id: str, *, cascade: bool = False) -> answers.CancelAnswer:
        """Ends a task; waits at most five seconds for what became true."""
        ...

    async def summary(self) -> answers.SummaryAnswer:
        """The whole at a glance."""
        ...

    async def pull(self, *, full: bool = False) -> answers.PullAnswer:
        """What changed since the caller's last pull, with PLAN.json on disk at least as new."""
        ...

    async def push(self, request: exchange.PushRequest) -> exchange.PushAnswer:
        """Records what a head has decided; a task that an agent has is not touched. NotAllowed for who is no head."""
        ...

    async def mirror(self, after: int) -> exchange.MirrorAnswer:
        """The files for a copy elsewhere, with the journal's events behind `after`."""
        ...

    async def brief(self) -> str:
        """What a head that lost its memory has to know: who runs, what is owed, unread mail, the next calls."""
        ...

    async def plan(self) -> dict[str, object]:
        """PLAN.json as it would be written now."""
        ...

    async def explain(self, any_id: str) -> answers.Explanation:
        """Why a task is where it is."""
        ...

    async def position(self) -> int:
        """The number of the newest event; `changes` behind it misses nothing that a later reading does not show."""
        ...

    def changes(self, after: int) -> AsyncIterator[Change]:
        """Every event behind `after`, as it is committed, without end."""
        ...

    def output(self, any_id: str, *, follow: bool = False, last: int | None = None) -> AsyncIterator[str]:
        """The output of a task's newest attempt as people read it, in whole lines; with `follow` until the task has ended.

        `last` leaves out what stands more than so many bytes before the end.
        """
        ...

    def printed(self, any_id: str, *, follow: bool = False) -> AsyncIterator[Printed]:
        """The same as it was printed, byte by byte."""
        ...


class Orchestrations(Protocol):
    """The orchestrations that a caller can reach. Which one is meant without a name follows from project and session."""

    async def current(self, *, create: bool = False, request: requests.SpawnRequest | requests.BatchRequest | None = None) -> Orchestration:
        """The caller's own: his session's, else his project's latest. NotFound where there is none and `create` is false.

        `request` is what it is created for: where that would be refused, it is refused here, and nothing is made.
        """
        ...

    async def named(self, orchestration_id: str) -> Orchestration:
        """The one with that id; NotFound."""
        ...

    async def holding(self, any_id: str) -> Orchestration:
        """The one that has a task of that id, the caller's current one first; NotFound."""
        ...

    async def active(self, *, everything: bool = False) -> Sequence[Orchestration]:
        """Those of the caller's project with unfinished or recent tasks, newest first; with `everything` all of this memory root."""
        ...

    async def begin(self, description: str = "", *, max_concurrent: int | None = None) -> Orchestration:
        """A new one, which becomes the current one."""
        ...
