"""While orchestrations are a server's, the local memory root is their mirror: a pull brings it up to date, a push tells what it says."""

from functools import partial

from anyio import to_thread

from devsh_memory_mcp.domain.answers import PullAnswer
from devsh_memory_mcp.domain.exchange import PushAnswer, PushRequest
from devsh_memory_mcp.domain.records import HeadStatus
from devsh_memory_mcp.errors import InvalidRequest
from devsh_memory_mcp.ports import Orchestration
from devsh_memory_mcp.store.mirror import Mirror, decisions_of


async def mirrored(mirror: Mirror, orchestration: Orchestration, answer: PullAnswer) -> PullAnswer:
    """The answer of a pull, once the files of this machine are at least as new."""
    await refresh(mirror, orchestration)
    return answer.model_copy(update={"plan_path": str(mirror.plan_path)})


async def refresh(mirror: Mirror, orchestration: Orchestration) -> None:
    """Brings a mirror up to date; lines that it has are not fetched again, unless the journal is another one than it was."""
    after = await to_thread.run_sync(mirror.position)
    while True:
        answer = await orchestration.mirror(after)
        if after and (answer.seq < after or (answer.events and answer.events[0]["seq"] != after + 1)):
            after = 0
            continue
        await to_thread.run_sync(mirror.append, answer, after)
        last = answer.events[-1]["seq"] if answer.events else answer.seq
        if not isinstance(last, int) or last >= answer.seq:
            break
        after = last
    await to_thread.run_sync(mirror.write, answer)


async def push_plan(
    orchestration: Orchestration, *, status: HeadStatus | None, message: str | None, task_ids: tuple[str, ...] = ()
) -> PushAnswer:
    """Tells what the head's own PLAN.json says, with how far it is. InvalidRequest where there is nothing to tell."""
    path = orchestration.plan_path
    tasks = await to_thread.run_sync(partial(decisions_of, path, task_ids)) if path is not None else ()
    if not tasks and status is None and message is None:
        raise InvalidRequest(
            "There is nothing to push: PLAN.json has no task that its head has ended or added, and no status or message was given.",
            next_step="Give headAgentStatus or message.",
        )
    return await orchestration.push(PushRequest(head_agent_status=status, message=message, tasks=tasks))
