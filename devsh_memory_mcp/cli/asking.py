"""From a command to the orchestration it means, and back with its answer or its error."""

import difflib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import anyio
import click
from pydantic import BaseModel, ValidationError

from devsh_memory_mcp.cli.failure import Interrupted
from devsh_memory_mcp.cli.session import Session
from devsh_memory_mcp.domain import answers, requests
from devsh_memory_mcp.errors import InvalidRequest, NotAvailable, NotFound
from devsh_memory_mcp.ports import Orchestration, Orchestrations

Answer = TypeVar("Answer")
Model = TypeVar("Model", bound=BaseModel)


def ask(session: Session, work: Callable[[Orchestrations], Awaitable[Answer]], *, directory: Path | None = None) -> Answer:
    """Runs `work` with the orchestrations that the caller reaches; errors come out as they were raised, not in groups."""
    opened = session.opened(directory)

    async def asked() -> Answer:
        async with opened as orchestrations:
            return await work(orchestrations)

    try:
        return anyio.run(asked)
    except BaseExceptionGroup as group:
        raise _first(group) from group


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


@contextmanager
def interruptible(said: str) -> Iterator[None]:
    """Ctrl-C ends the command, never the agents: `said` tells how they are ended."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(said) from None


def still_running(any_id: str | None) -> str:
    """What Ctrl-C says, and the end of a wait."""
    return f"still running; cancel with `devsh orchestrate cancel {any_id or 'ID'}`"


def given(any_id: str | None) -> str | None:
    """The id, None where it is empty: an unset variable means the same with quotes and without.

    `null` is what jq prints where the command before it failed, and never an id.
    """
    if any_id == "null":
        raise NotFound("There is no task 'null'.", next_step=JQ_HINT)
    return any_id or None


JQ_HINT = "jq prints null where the command before it has failed; its error stands above."


def demanded(any_id: str) -> str:
    """The id; a usage error where it is empty, NotFound where it is what jq prints for none."""
    if not given(any_id):
        raise click.UsageError("The ID is empty: is the variable set?")
    return any_id


def work_of(session: Session, any_id: str) -> answers.WorkAnswer:
    """Where a task's work is."""
    wanted = demanded(any_id)
    if session.remote is not None:
        raise NotAvailable(
            f"The work of {wanted} is on the server's machine, where git cannot look from here.",
            next_step=f"`devsh orchestrate status {wanted}` names its branch; what was pushed is to be fetched.",
        )

    async def find_work(orchestrations: Orchestrations) -> answers.WorkAnswer:
        return await (await orchestrations.holding(wanted)).work(wanted)

    return ask(session, find_work)


async def is_current(session: Session, orchestrations: Orchestrations, shown: Orchestration) -> bool:
    """Whether a command that is typed now finds the tasks of this orchestration first, so that their names mean them."""
    if session.given_orchestration is not None:
        return False
    try:
        return (await orchestrations.current()).orchestration_id == shown.orchestration_id
    except NotFound:
        return False


async def find(orchestrations: Orchestrations, any_id: str | None) -> tuple[Orchestration, str | None]:
    """The orchestration that is meant and, where the id is a task's, the task's; NotFound."""
    wanted = given(any_id)
    if wanted is None:
        return await orchestrations.current(), None
    if wanted.startswith("orch_"):
        return await orchestrations.named(wanted), None
    try:
        return await orchestrations.holding(wanted), wanted
    except NotFound as missing:
        try:
            return await orchestrations.named(wanted), None
        except NotFound:
            raise missing from None


async def rows_of(orchestration: Orchestration, status: str | None = None) -> list[answers.TaskRow]:
    """All its tasks, oldest first."""
    rows: list[answers.TaskRow] = []
    cursor: str | None = None
    while True:
        page = await orchestration.list_tasks(build(requests.ListRequest, status=status, limit=500, cursor=cursor))
        rows += page.result
        cursor = page.next_cursor
        if cursor is None:
            return rows[::-1]


def no_tasks(orchestration: Orchestration) -> NotFound:
    """Following nothing is a mistake: the spawn before has failed, or has not happened."""
    return NotFound(f"Orchestration {orchestration.orchestration_id} has no tasks.", next_step="Spawn one first.")


def build(kind: type[Model], **fields: object) -> Model:
    """A request of what is not None among `fields`; InvalidRequest, in words, where it is refused."""
    return validated(kind, {name: value for name, value in fields.items() if value is not None})


def validated(kind: type[Model], document: object) -> Model:
    """A request of a document that somebody wrote."""
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        said = "; ".join(_sentence(dict(found)) for found in requests.faults_of(error)[:3])
        raise InvalidRequest(said if said.endswith("?") else f"{said}.") from error


KEYS = sorted({field.alias or name for kind in (requests.BatchTask, requests.BatchRequest) for name, field in kind.model_fields.items()})


def _sentence(found: dict[str, object]) -> str:
    location = found["loc"]
    where = ".".join(map(str, location)) if isinstance(location, tuple) else str(location)
    if found["type"] == "extra_forbidden":
        near = difflib.get_close_matches(where.rpartition(".")[2], KEYS, n=1, cutoff=0.4)
        return f"{where}: this key is not known{f', did you mean {near[0]}?' if near else ''}"
    return f"{where or 'the request'}: {requests.fault_in_words(found)}"
