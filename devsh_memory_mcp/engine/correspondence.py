"""Messages: who may be written to, and what a reader has not had yet. Pure."""

from itertools import accumulate

from devsh_memory_mcp.agents.catalogue import find_adapter
from devsh_memory_mcp.domain.answers import MessageRecord
from devsh_memory_mcp.domain.events import MessageDelivered, MessageSent
from devsh_memory_mcp.domain.letters import Answered, Message
from devsh_memory_mcp.domain.names import EVERYONE, HEAD
from devsh_memory_mcp.domain.requests import MessageRequest
from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.engine.admission import fingerprint
from devsh_memory_mcp.engine.resumption import has_session
from devsh_memory_mcp.errors import Conflict, IdempotencyConflict, NotFound
from devsh_memory_mcp.ports import Decision


def decide_message(state: State, request: MessageRequest, sender: str) -> Decision[int]:
    """The event of a message; its value is the id of the same message sent before, else 0. NotFound, Conflict."""
    answered = state.answered.get(request.idempotency_key or "")
    if answered is not None:
        return Decision((), _same(state, answered, request, sender))
    event = MessageSent(
        sender=sender,
        to=_address(state, request.to),
        type=request.type,
        message=request.message,
        correlation_id=request.correlation_id,
        reply_to=request.reply_to,
        priority=request.priority,
        metadata=request.metadata,
        interrupt=request.interrupt,
        idempotency_key=request.idempotency_key,
        request=fingerprint(request),
    )
    return Decision((event,), 0)


def does_interrupt(state: State, number: int) -> bool:
    """Whether the message ends what a running agent does, so that it turns to it at once."""
    message = state.messages.get(number)
    task = state.tasks.get(message.to) if message else None
    return bool(message and message.interrupt and task and task.live_attempt and task.orchestration_task_id not in message.readers)


def _same(state: State, answered: Answered, request: MessageRequest, sender: str) -> int:
    known = state.messages.get(answered.message_id or 0)
    if known is None or answered.request != fingerprint(request) or known.sender != sender:
        raise IdempotencyConflict(f"The idempotency key {(request.idempotency_key or '')[:60]!r} was used for another request.")
    return known.id


def _address(state: State, to: str) -> str:
    """`head`, `*` or an orchestrationTaskId, from any id or from an agent name that one unfinished task has."""
    if to in (HEAD, EVERYONE):
        return to
    task = state.find_task(to) or _only_one(state, to)
    if task.is_terminal:
        raise Conflict(f"{task.orchestration_task_id} has ended ({task.status.value}).", next_step=_way_on(task))
    if not find_adapter(task.spec.agent_name).takes_messages:
        raise Conflict(f"{task.spec.agent_name} runs a script and cannot be spoken to.", next_step="Cancel it and spawn another.")
    return task.orchestration_task_id


def _way_on(task: Task) -> str:
    """What to do instead of writing to an agent that has ended."""
    if has_session(task):
        return f'Continue it: devsh orchestrate spawn --resume {task.orchestration_task_id} "…" (spawn_agent with resume).'
    return f"Spawn a task that continues its work: --depends-on {task.orchestration_task_id}."


def _only_one(state: State, agent_name: str) -> Task:
    named = [task for task in state.unfinished.values() if task.spec.agent_name == agent_name]
    if len(named) == 1:
        return named[0]
    if named:
        ids = ", ".join(task.orchestration_task_id for task in named[:5])
        raise Conflict(f"{len(named)} tasks run {agent_name!r}: {ids}.", next_step="Name one of them by its id.")
    raise NotFound(f"Nobody is called {to_show(agent_name)} in orchestration {state.orchestration_id}.")


def to_show(text: str) -> str:
    """A caller's text in a message of ours."""
    return repr(text[:80])


def message_text(message: Message) -> str:
    """A message as an agent reads it in its session."""
    answer = f'Answer with send_message to "{message.sender}", replyTo {message.id}.' if message.type == "request" else ""
    about = f", in answer to message {message.reply_to}" if message.reply_to else ""
    return f"[Message {message.id} from {message.sender} ({message.type}{about}). {answer}]\n{message.text}".replace(". ]", ".]")


def letters_for(state: State, reader: str, *, include_read: bool, type_: str | None, correlation_id: str | None) -> list[Message]:
    """The messages of a reader, oldest first; his unread ones, or all. Whoever is nobody here has none."""
    if reader != HEAD and reader not in state.tasks:
        return []
    pool = state.unread if reader == HEAD and not include_read else state.messages
    return [
        message
        for message in pool.values()
        if message.is_for(reader)
        and (include_read or reader not in message.readers)
        and (type_ is None or message.type == type_)
        and (correlation_id is None or message.correlation_id == correlation_id)
    ]


def mark_read(state: State, reader: str, ids: tuple[int, ...], via: str) -> Decision[None]:
    """The event that says a reader has messages; none for those he had before."""
    fresh = tuple(
        number for number in ids if (message := state.messages.get(number)) and message.is_for(reader) and reader not in message.readers
    )
    return Decision((MessageDelivered(message_ids=fresh, reader=reader, via=via),) if fresh else (), None)


def fitting(records: list[MessageRecord], max_bytes: int | None) -> tuple[MessageRecord, ...]:
    """The first of them that are at most so many bytes of JSON together, and one at least."""
    if max_bytes is None:
        return tuple(records)
    sizes = accumulate(len(record.model_dump_json(by_alias=True).encode()) for record in records)
    count = sum(1 for size in sizes if size <= max_bytes)
    return tuple(records[: max(1, count)])
