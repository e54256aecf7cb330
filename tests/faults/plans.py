"""Random plans: tasks with dependencies, priorities, retries and time limits, and what is asked beside them."""

import random
from pathlib import Path

from devsh_memory_mcp.domain.requests import SpawnRequest
from tests.faults.evidence import Asked
from tests.faults.world import World

_WORK = {
    "quick": "echo done",
    "busy": "sleep 0.05",
    "tree": "(setsid sh -c 'sleep 60' &) ; (sleep 60 &) ; sleep 0.02",
    "stubborn": "trap '' TERM; sleep 0.1",
    "fails": "sleep 0.02; exit_code=3",
    "exceeds": "sleep 60",
    "talks": "",  # claude.sh
    "long": "sleep 60",
    "second": "sleep 1",
    "verified": "echo done",
    "dies": '[ "${DEVSH_RUN##*.}" != 1 ] || sleep 60',
}


def draw(chance: random.Random, most: int) -> list[Asked]:
    """What a round asks for, in order: at most so many tasks, and messages and cancels between them."""
    asked: list[Asked] = []
    tasks: list[Asked] = []
    for number in range(chance.randint(3, most)):
        known = chance.sample(tasks, min(len(tasks), chance.choice((0, 0, 1, 1, 2, 3))))
        work = chance.choices(("quick", "busy", "tree", "stubborn", "fails", "exceeds", "talks"), (5, 4, 2, 1, 1, 0.5, 3))[0]
        expected = {"fails": "fail", "exceeds": "exceed"}.get(work, "succeed")
        has_repository = chance.random() < 0.5
        task = Asked("spawn", f"{work}-{number}", f"t{number}", expected, tuple(one.name for one in known), has_repository=has_repository)
        tasks.append(task)
        asked.append(task)
        if chance.random() < 0.3:
            asked.append(Asked("message", f"message-{number}", chance.choice(("head", *(one.name for one in tasks)))))
        if work == "talks":
            told = [Asked("message", f"message-{number}-{more}", task.name, after=chance.choice(("", begin(task)))) for more in range(1, 4)]
            asked += chance.sample(told, chance.randint(1, 3))
        if chance.random() < 0.15:
            asked.append(Asked("cancel", f"cancel-{number}", chance.choice(tasks).name, cascade=chance.random() < 0.5))
    return asked


def begin(task: Asked) -> str:
    """The mark that its agent has begun."""
    return f"begin {task.name}"


def request(asked: Asked, chance: random.Random, world: World, places: int | None) -> SpawnRequest:
    """The task of a spawn. What its agent does it marks, so that others can tell what really happened."""
    kind = asked.key.partition("-")[0]
    talks = kind == "talks"
    script = f"storm {asked.name} {'writes' if asked.has_repository else 'reads'}" if talks else _script(asked, _WORK[kind], world.marks)
    return SpawnRequest(
        prompt=script,
        agent_name="claude/haiku-4.5" if talks else "shell/bash",
        name=asked.name,
        repo=str(world.repository) if asked.has_repository else "none",
        depends_on=asked.depends_on,
        priority=chance.randint(0, 10),
        retries=1 if asked.key.startswith("dies") else chance.choice((0, 0, 0, 1)),
        verify="sleep 0.1; ls; touch by-product" if kind == "verified" else None,
        timeout_ms=400 if asked.expected == "exceed" else None,
        on_dependency_failure=chance.choice(("fail", "fail", "fail", "run")),
        max_concurrent=places,
        idempotency_key=asked.key,
    )


def _script(asked: Asked, work: str, marks: Path) -> str:
    own = f"{asked.name}.$DEVSH_RUN"
    wrote = f'echo work > {own}.txt; echo "wrote {asked.name} $DEVSH_RUN" >> {marks}' if asked.has_repository else "true"
    return "\n".join((
        f"exec 9>>{marks}.{asked.name}; flock -n 9 || echo \"overlap {asked.name} $DEVSH_RUN\" >> {marks}",
        f'echo "begin {asked.name} $DEVSH_RUN" >> {marks}; echo "agent {asked.name} $DEVSH_RUN $$ $EPOCHREALTIME" >> {marks}',
        wrote,
        "exit_code=0",
        work,
        f'echo "end {asked.name} $DEVSH_RUN" >> {marks}',
        "exit $exit_code",
    ))  # fmt: skip
