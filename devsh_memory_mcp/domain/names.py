"""Ids and names: their types, their form, and the branch that a task's id and prompt give."""

import re
import uuid
from collections.abc import Callable
from typing import NewType

from devsh_memory_mcp.errors import InvalidId

OrchestrationId = NewType("OrchestrationId", str)
OrchestrationTaskId = NewType("OrchestrationTaskId", str)
TaskRunId = NewType("TaskRunId", str)

HEAD = "head"
EVERYONE = "*"
DEFAULT_BRANCH_PREFIX = "dev/"
FALLBACK_BRANCH_PREFIX = "devsh/"

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_OF_OTHERS = re.compile(r"orch_[A-Za-z0-9_-]*|tr_[A-Za-z0-9_-]*|ns[a-z0-9]{10}")
_SESSIONS = uuid.UUID("5f0c1b5e-1f0f-4c3e-9f38-6a2a0c6f8a11")
_PREFIX = re.compile(r"(?!.*(?:\.\.|//|/\.|\./|\.lock/))[A-Za-z0-9][A-Za-z0-9._/-]{0,29}")
_SLUG_LENGTH = 50
_BRANCH_LENGTH = 54

Choose = Callable[[int], str]  # a length to that many characters of ALPHABET, at random


def checked_id(text: str, what: str = "id") -> str:
    """`text` itself where it has the form of an id; InvalidId otherwise. Nothing else may become part of a path."""
    if not _ID.fullmatch(text):
        raise InvalidId(f"{text[:60]!r} is not a valid {what}.")
    return text


def checked_name(text: str) -> str:
    """`text` where a task may be called so: an id that nobody and nothing else can have. InvalidId otherwise."""
    if is_reserved(text):
        raise InvalidId(
            f"A task cannot be named {text[:80]!r}: `head` and `*` are whom messages are for, and ids that we give out begin so.",
            next_step="Give it another name, or none.",
        )
    return checked_id(text, "task id")


def is_reserved(text: str) -> bool:
    """Whether it is, or has the form of, what is called so by us: `head`, `*`, `orch_…`, `tr_…`, `ns` and ten characters."""
    return text in (HEAD, EVERYONE) or _OF_OTHERS.fullmatch(text) is not None


def new_orchestration_id(choose: Choose) -> OrchestrationId:
    """`orch_` and twelve characters."""
    return OrchestrationId("orch_" + choose(12))


def new_task_id(choose: Choose) -> OrchestrationTaskId:
    """`ns` and ten characters."""
    return OrchestrationTaskId("ns" + choose(10))


def new_task_run_id(choose: Choose) -> TaskRunId:
    """`tr_` and twelve characters."""
    return TaskRunId("tr_" + choose(12))


def is_branch_prefix(text: str) -> bool:
    """Whether names that git takes for branches can begin so, with room for a task's words behind it."""
    return _PREFIX.fullmatch(text) is not None


def branch_name(prefix: str, prompt: str, task_id: str) -> str:
    """`{prefix}{slug}-{id}`: the prompt's first words in kebab case and the id's last five characters, at most 60 in all."""
    words = re.findall(r"[a-z0-9]+", prompt[:2000].lower())
    slug = "-".join(words)[:_SLUG_LENGTH].strip("-") or "feature-update"
    return f"{(prefix + slug)[:_BRANCH_LENGTH].rstrip('-/.')}-{task_id[-5:]}"


def session_id(task_run_id: str, attempt: int) -> str:
    """The UUID of the session that an attempt's agent has, where it has sessions."""
    return str(uuid.uuid5(_SESSIONS, f"{task_run_id}/{attempt}"))
