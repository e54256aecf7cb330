"""The brief: what a head that lost its memory has to know, in one page. From a state to a text, the most important first.

Where not all fits into 1,500 tokens, texts are cut before lines are left out, and what is left out is said, with the call that shows it.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from devsh_memory_mcp.agents.figures import counted
from devsh_memory_mcp.domain import summary
from devsh_memory_mcp.domain.letters import Message
from devsh_memory_mcp.domain.names import HEAD
from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.domain.status import Status

MAX_TOKENS = 1500
MAX_CHARACTERS = 5000
CUTS = (160, 110, 80, 60, 45, 30, 20)  # characters of a text, tried in turn
TERSE = 30  # from there on only what nothing else tells
KEPT = 3  # lines of each part that go last
NAMED = 8  # ids in one call
_TOKENS = re.compile(r"[A-Za-z]+|[0-9]+|[^\sA-Za-z0-9]|\n")

NOTHING = "Nothing has been spawned in this session yet: spawn_agent or spawn_batch makes the first agents."


@dataclass(frozen=True, slots=True)
class Facts:
    """What the journal does not say. By orchestrationTaskId: what pending tasks wait for, and what running agents do, in words.

    `merged` are the tasks whose branch is known to be in the checkout, or gone from the repository.
    """

    now: datetime
    waiting: Mapping[str, str] = field(default_factory=dict)
    activity: Mapping[str, str] = field(default_factory=dict)
    merged: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Part:
    """A heading, below it each thing's id and line, and the call that shows those that were left out.

    Of a `minor` part there are ids alone where room is scarce.
    """

    heading: str
    ids: tuple[str, ...]
    lines: tuple[Callable[[int], str], ...]
    more: str
    minor: bool = False

    def shown(self, cut: int, count: int) -> list[str]:
        """The first `count` things with their texts cut, and how many there are more."""
        if not self.lines:
            return []
        left = len(self.lines) - count
        told = f"{left} more: {self.more}"
        if self.minor and cut <= TERSE:
            lines = [", ".join((*self.ids[:count], *([f"and {told}"] if left else [])))]
        else:
            lines = [*(f"- {line(cut)}" for line in self.lines[:count]), *([f"- and {told}"] if left else [])]
        return ["", f"## {self.heading} ({len(self.lines)})", *lines]


def tokens(text: str) -> int:
    """How many tokens a model may count: never less than measured with one that cuts finely, a fifth more than that as a rule."""
    return sum(_tokens(part) for part in _TOKENS.findall(text))


def _tokens(part: str) -> int:
    if not part.isascii():
        return 3 if part > "\uffff" else 2
    return 1 + (len(part) - 1) // (4 if part.isalpha() else 2)


def brief(state: State, facts: Facts) -> str:
    """The page."""
    tasks = _sorted(state, facts)
    return _fitted([*_top(state, facts), "", "## Next calls", *_calls(state, tasks)], _parts(state, facts, tasks))


def elsewhere(others: Iterable[tuple[str, str]]) -> str:
    """The page of a head whose session has nothing, with what else is at work in its project: ids, and a line on each."""
    lines = [f"- {orchestration_id}: {_flat(line, 160)}" for orchestration_id, line in list(others)[:5]]
    if not lines:
        return NOTHING
    call = 'pull_orchestration_updates(orchestrationId="…", full=true)'
    return "\n".join((NOTHING, "", f"In this project others are at work, perhaps an earlier session of yours; {call} shows one:", *lines))


@dataclass(frozen=True, slots=True)
class Sorted:
    """The tasks by what they need of the head; in each list those that changed last come first."""

    stuck: list[Task]
    running: list[Task]
    waiting: list[Task]
    failed: list[Task]
    doomed: list[Task]
    to_merge: list[Task]
    done: list[Task]


def _sorted(state: State, facts: Facts) -> Sorted:
    tasks = sorted(state.tasks.values(), key=lambda task: task.changed, reverse=True)
    live = [task for task in tasks if not task.is_terminal]
    ended = [task for task in tasks if task.status in (Status.FAILED, Status.CANCELLED)]
    completed = [task for task in tasks if task.status is Status.COMPLETED]
    settled = facts.merged | _inherited(completed, state)
    return Sorted(
        stuck=[task for task in live if task.needs_input],
        running=[task for task in live if task.status is Status.RUNNING and not task.needs_input],
        waiting=[task for task in live if task.status is Status.PENDING and not task.needs_input],
        failed=[task for task in ended if task.reason != "dependency"],
        doomed=[task for task in ended if task.reason == "dependency"],
        to_merge=[task for task in completed if _has_work(task) and task.orchestration_task_id not in settled],
        done=[task for task in completed if not _has_work(task) or task.orchestration_task_id in settled],
    )


def _has_work(task: Task) -> bool:
    return task.branch is not None


def _inherited(completed: list[Task], state: State) -> set[str]:
    """The tasks whose branch a completed dependent has in its own, as far as it could merge it: merging that one is enough."""
    found: set[str] = set()
    for task in filter(_has_work, completed):
        without = {conflict.branch for conflict in task.totals.merge_conflicts}
        found |= {name for name in task.spec.depends_on if (other := state.tasks.get(name)) and other.branch not in without}
    return found


def _top(state: State, facts: Facts) -> list[str]:
    counts = summary.status_counts(state)
    said = ", ".join(f"{getattr(counts, name)} {name}" for name in ("running", "pending", "completed", "failed", "cancelled"))
    about = f": {_flat(state.description, 100)}" if state.description else ""
    return [
        f"# Brief of orchestration {state.orchestration_id}{about}",
        f"You lead these {counts.total} agents and spawned them, whatever you remember: never spawn this work again. {said}.",
        f"Project {state.project[-200:] or 'unknown'}, {facts.now:%Y-%m-%d %H:%M} UTC. Every id below is one that all tools take.",
    ]


def _calls(state: State, tasks: Sorted) -> list[str]:
    """What to do now, in this order."""
    calls = []
    if state.unread:
        calls.append("get_my_messages()")
    if tasks.stuck:
        calls.append(f"help {_names(tasks.stuck)}, see below: send_message to it, or cancel_agent and spawn_agent with what it needs")
    if tasks.failed:
        calls.append(
            f"get_agent_status of {_names(tasks.failed)} for why; spawn_agent again with a better prompt, where it is still wanted"
        )
    if tasks.to_merge:
        calls.append(f"look at and merge what is finished: git diff {_span(tasks.to_merge[0])}, then git merge BRANCH")
    if live := (*tasks.running, *tasks.waiting, *tasks.stuck):
        ids = ", ".join(f'"{task.id}"' for task in live[:NAMED])
        calls.append(f'wait_for_agent(ids=[{ids}], mode="any")')
    nothing = "None: all has ended, and nothing is owed." if state.tasks else NOTHING
    return [f"{number}. {call}" for number, call in enumerate(calls, 1)] or [nothing]


def _span(task: Task) -> str:
    base = task.spec.repository.base_branch if task.spec.repository else None
    return f"{base or 'HEAD'}...{task.branch}"


def _parts(state: State, facts: Facts, tasks: Sorted) -> list[Part]:
    """The most important first."""

    def part(heading: str, of: Iterable[Task], line: Callable[[Task, int], str], status: str, *, minor: bool = False) -> Part:
        of = tuple(of)
        call = f'list_spawned_agents(status="{status}")'
        return Part(heading, tuple(task.id for task in of), tuple(partial(line, task) for task in of), call, minor)

    letters = tuple(state.unread.values())
    texts = tuple(partial(_letter, state, letter) for letter in letters)
    return [
        Part("Unread messages, not consumed by this", tuple(letter.sender for letter in letters), texts, "get_my_messages"),
        part("Need your help", tasks.stuck, _stuck, "running"),
        part("Running", tasks.running, partial(_running, facts), "running"),
        part("Failed or cancelled", tasks.failed, _failed, "failed"),
        part("Finished, not merged as far as git shows", tasks.to_merge, _to_merge, "completed"),
        part("Waiting", tasks.waiting, partial(_waiting, facts), "pending"),
        part("Failed because a dependency did", tasks.doomed, _done, "failed", minor=True),
        part("Finished, nothing left to do", tasks.done, _done, "completed", minor=True),
    ]


def _stuck(task: Task, cut: int) -> str:
    return f"{task.id}: {_flat(task.needs_input, cut)}; its task: {_flat(task.spec.prompt, cut)}"


def _running(facts: Facts, task: Task, cut: int) -> str:
    now = facts.activity.get(task.orchestration_task_id)
    doing = f"; now: {_flat(now, cut)}" if now and cut > TERSE else ""
    again = f", attempt {task.attempt}" if task.attempt > 1 else ""
    who = f", {task.spec.agent_name}" if cut > TERSE else ""
    return f"{task.id}{who}, {_elapsed(task, facts.now)}{again}: {_flat(task.spec.prompt, cut)}{doing}"


def _waiting(facts: Facts, task: Task, cut: int) -> str:
    reason = facts.waiting.get(task.orchestration_task_id, "its start")
    return f"{task.id} waits for {_flat(reason, max(cut, 60))}{_about(task, cut)}"


def _about(task: Task, cut: int) -> str:
    return f": {_flat(task.spec.prompt, cut)}" if cut > TERSE else ""


def _done(task: Task, cut: int) -> str:
    return f"{task.id}: {_flat(task.spec.prompt, cut)}"


def _failed(task: Task, cut: int) -> str:
    saved = f"; its work: {list(task.salvage_refs.values())[-1]}" if task.salvage_refs and cut > TERSE else ""
    return f"{task.id} ({task.reason}): {_flat(task.error_message, cut)}{saved}{'; it was' if cut > TERSE else ''}{_about(task, cut)}"


def _to_merge(task: Task, cut: int) -> str:
    diff, repository = task.totals.diff_stat, task.spec.repository
    place = f" of {repository.name}" if repository and repository.url else ""
    size = (
        f", {counted(task.totals.commits, 'commit')}, +{diff.insertions} -{diff.deletions} in {counted(diff.files, 'file')}"
        if cut > TERSE
        else ""
    )
    return f"{task.id}: branch {task.branch}{place}{size}{_about(task, cut)}"


def _letter(state: State, letter: Message, cut: int) -> str:
    task = state.find_task(letter.sender)
    sender = letter.sender if task is None or letter.sender == HEAD else task.id
    return f"{letter.type} from {sender}: {_flat(letter.text, cut)}"


def _fitted(top: list[str], parts: list[Part]) -> str:
    """All lines with their texts as long as can be; else the least important lines go, and at last the top is cut."""
    counts = [len(part.lines) for part in parts]
    for cut in CUTS:
        page = _page(top, parts, counts, cut)
        if _fits(page):
            return page
    for keep in (KEPT, 1, 0):
        for place in reversed(range(len(parts))):
            while counts[place] > keep:
                counts[place] = max(keep, counts[place] - max(1, counts[place] // 8))
                page = _page(top, parts, counts, CUTS[-1])
                if _fits(page):
                    return page
    while not _fits(page):
        page = page[: len(page) * 7 // 8]
    return page


def _fits(page: str) -> bool:
    return len(page) <= MAX_CHARACTERS and tokens(page) <= MAX_TOKENS


def _page(top: list[str], parts: list[Part], counts: list[int], cut: int) -> str:
    return "\n".join((*top, *(line for part, count in zip(parts, counts, strict=True) for line in part.shown(cut, count)))) + "\n"


def _names(tasks: list[Task]) -> str:
    left = f" and {len(tasks) - KEPT} more" if len(tasks) > KEPT else ""
    return ", ".join(task.id for task in tasks[:KEPT]) + left


def _flat(text: str | None, cut: int) -> str:
    """On one line, and cut."""
    return summary.cut(" ".join((text or "").split()), cut) or ""


def _elapsed(task: Task, now: datetime) -> str:
    spent = max(timedelta(0), now - (task.started_at or task.created_at))
    minutes = int(spent.total_seconds() // 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min" if minutes else "just begun"
