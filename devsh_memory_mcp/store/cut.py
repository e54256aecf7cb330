"""A journal that lost its end: the views know of events that it has not.

No crash does that, since the journal is on the disk before views tell of it: a copy, an editor or a backup does. Whoever went on
would give the lost numbers to other events and write over what the views know, so nobody does before a repair.
"""

from collections.abc import Iterator
from pathlib import Path

from devsh_memory_mcp.domain.state import State
from devsh_memory_mcp.errors import JournalDamaged
from devsh_memory_mcp.store.bookkeeping import JOURNAL_FILE, MAILBOX_FILE, PLAN_FILE, Document, read_bookkeeping, shown_seq
from devsh_memory_mcp.store.line import Entry, own_lines
from devsh_memory_mcp.store.reader import fold_file

CUT = "journal_cut"
_NAMED = 5  # tasks that are named


def demand_end(directory: Path, seq: int) -> None:
    """JournalDamaged where the views know of more than the journal, of which `seq` is the last event that the caller has read.

    It may have grown since, and views been written of that by another runner; so it is read again before it is called short.
    """
    shown, path = shown_seq(directory), directory / JOURNAL_FILE
    if shown > seq and shown > (last := fold_file(path).seq):
        raise JournalDamaged(f"{path} ends with event {last}, and the views know of event {shown}: its end was cut off.")


def last_whole(path: Path, offset: int, seq: int) -> int:
    """The last event that can be read of a journal: `seq`, or one behind it of a commit whose last lines are lost."""
    with path.open("rb") as file:
        file.seek(offset)
        for line in own_lines(file.read()):
            if not isinstance(line, Entry) or line.seq != seq + 1:
                break
            seq = line.seq
    return seq


def lost_end(directory: Path) -> str:
    """What a reader should know of a journal that has become shorter; empty where it has not."""
    known = read_bookkeeping(directory)
    try:  # the look at the journal comes second: it grows before the views do
        is_cut = known is not None and known.offset > (directory / JOURNAL_FILE).stat().st_size
    except OSError:
        return ""
    return "its end was cut off" if is_cut else ""


def known_otherwise(views: dict[str, Document], state: State) -> str:
    """In words what the views know and the journal does not; empty where that is nothing."""
    told = list(_tasks_known_otherwise(views.get(PLAN_FILE, {}), state))
    sent = views.get(MAILBOX_FILE, {}).get("messages")
    messages = sent if isinstance(sent, list) else []
    lost = [message for message in messages if isinstance(message, dict) and message.get("id") not in state.messages]
    if len(told) > _NAMED:
        told[_NAMED:] = [f"{len(told) - _NAMED} more tasks"]
    if lost:
        told.append(f"{len(lost)} message{'s' if len(lost) > 1 else ''}")
    return ", ".join(told)


def _tasks_known_otherwise(plan: Document, state: State) -> Iterator[str]:
    tasks = plan.get("tasks")
    for task in tasks if isinstance(tasks, list) else []:
        if not isinstance(task, dict):
            continue
        name, status = str(task.get("id"))[:80], str(task.get("status"))[:20]
        known = state.find_task(name) or state.find_task(str(task.get("orchestrationTaskId")))
        if known is None:
            yield f"{name} ({status}; not in the journal)"
        elif known.status.value != status:
            yield f"{name} ({status}; {known.status.value} in the journal)"
