"""What a head and a server tell each other of an orchestration: what the head decided, and the files as they are there."""

from typing import Annotated

from pydantic import Field

from devsh_memory_mcp.domain.answers import Answer
from devsh_memory_mcp.domain.records import HeadStatus, Record, Request, StatusName
from devsh_memory_mcp.domain.requests import AnyId, Dependencies, Script


class PushedTask(Request):
    """A task as its head's own PLAN.json has it. One that nobody knows yet has a `prompt` as well."""

    id: AnyId
    status: StatusName = "pending"
    result: Script | None = None
    error_message: Script | None = None
    prompt: Annotated[str, Field(min_length=1)] | None = None
    agent_name: str | None = None
    depends_on: Dependencies = ()


class PushRequest(Request):
    """What a head has decided: how far it is, a word on it, and what came of the tasks of its plan that it did itself."""

    head_agent_status: HeadStatus | None = None
    message: Script | None = None
    tasks: Annotated[tuple[PushedTask, ...], Field(max_length=500)] = ()


class PushAnswer(Answer):
    """What was taken of what a head told: `tasksUpdated` of `tasksPushed` tasks changed by it, `warnings` say why others did not."""

    success: bool = True
    orchestration_id: str
    head_agent_status: HeadStatus | None = None
    tasks_pushed: int = 0
    tasks_updated: int = 0
    message: str = ""
    warnings: tuple[str, ...] = ()


class MirrorAnswer(Record):
    """The files of an orchestration for a copy elsewhere: the views at `seq`, and the journal's next lines behind the one that was named.

    Where the last of them is not `seq`, there are more to ask for.
    """

    orchestration_id: str
    seq: int
    plan: dict[str, object]
    agents: dict[str, object]
    mailbox: dict[str, object]
    events: tuple[dict[str, object], ...] = ()
