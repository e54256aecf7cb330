"""Answers as tool results of at most 8 KB: the one place where they are rendered, and cut.

What a model reads is the text block, which is the JSON of the structured content; both are bounded by the same limit.
"""

import json
from collections.abc import Mapping, Sequence

from mcp.types import CallToolResult, ContentBlock, TextContent
from pydantic import BaseModel

from devsh_memory_mcp.errors import DevshError

LIMIT = 8 * 1024 - 16  # and a little for what a list has around it
CAPS = (6000, 4500, 3200, 2200, 1500, 1000, 600, 400, 200, 120, 60)
TERMINAL = ("completed", "failed", "cancelled")

# Kept even when there is no value in them: the documented fields of the answers.
ALWAYS = frozenset({"result", "errorMessage", "tasks", "messages", "activeAgents", "agents", "recentCompletions", "nextCursor"})
# Never cut in the middle: half of one is worth nothing.
WHOLE = (
    "id",
    "Id",
    "ids",
    "Path",
    "Directory",
    "Cursor",
    "workspace",
    "branch",
    "Branch",
    "salvageRefs",
    "At",
    "timestamp",
    "next",
    "brief",
)

# What comes last in them is what counts.
LAST_WORDS = frozenset({"result", "errorMessage"})

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]


def result_of(answer: BaseModel | dict[str, Json], *, rest: str | None = None) -> CallToolResult:
    """The answer as a result; `rest` names the file with the whole of what may be cut."""
    return _result(fitted(plain(answer) if isinstance(answer, BaseModel) else answer, rest=rest))


def rows_result(rows: list[Json], next_cursor: str | None) -> CallToolResult:
    """A list: its text is the JSON array itself; where there are more, a second block names the cursor."""
    blocks = [dumped(rows)]
    if next_cursor is not None:
        blocks.append(f"There are more: call list_spawned_agents again with cursor {json.dumps(next_cursor)}.")
    return _made(blocks, {"result": rows, "nextCursor": next_cursor})


def error_result(error: DevshError, next_step: str) -> CallToolResult:
    """An error as the model reads it: `code: message next step`."""
    text = f"{error.code}: {error.message} {next_step}".strip()
    return CallToolResult(content=[TextContent(type="text", text=_clipped(text, 4000))], is_error=True)


def plain(record: BaseModel) -> dict[str, Json]:
    """The record as JSON has it; further fields without a value are left out."""
    value = _lean(record.model_dump(mode="json", by_alias=True))
    assert isinstance(value, dict)
    return value


def dumped(value: Json) -> str:
    """Compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def fits(value: Json, limit: int = LIMIT) -> bool:
    """Whether a result of it stays within the limit."""
    return len(dumped(value).encode()) <= limit


def fitted(value: dict[str, Json], *, rest: str | None = None, limit: int = LIMIT) -> dict[str, Json]:
    """The value itself where it fits, else with its texts cut, else with its lists cut too."""
    if fits(value, limit):
        return value
    cut = value
    for cap in CAPS:
        cut = _pointing(_cut_texts(cut, cap), rest)
        if fits(cut, limit):
            return cut
    return _cut_lists(value, cut, limit)


def _pointing(cut: dict[str, Json], rest: str | None) -> dict[str, Json]:
    """With the file that has the whole: as resultPath where a result was cut, else as rest."""
    if not rest:
        return cut
    if cut.get("resultTruncated"):
        return cut if cut.get("resultPath") else {**cut, "resultPath": rest}
    return {**cut, "rest": rest}


def _cut_texts(value: Mapping[str, Json], cap: int) -> dict[str, Json]:
    cut = {key: item if key.endswith(WHOLE) else _cut(item, cap, of_end=key in LAST_WORDS) for key, item in value.items()}
    truncated = {f"{key}Truncated": True for key in ("result", "prompt", "message") if cut.get(key) != value.get(key)}
    return {**cut, **truncated}


def _cut(value: Json, cap: int, *, of_end: bool = False) -> Json:
    if isinstance(value, str):
        return _clipped(value[::-1], cap)[::-1] if of_end else _clipped(value, cap)
    if isinstance(value, Mapping):
        return _cut_texts(value, cap)
    if isinstance(value, Sequence):
        return [_cut(item, cap) for item in value]
    return value


def _clipped(text: str, size: int) -> str:
    """At most `size` bytes of JSON, ending in `…` where something is missing."""
    if len(text) <= size and len(dumped(text).encode()) <= size:
        return text
    kept = text[:size]
    while len(dumped(kept).encode()) > size - 3:
        kept = kept[: len(kept) * 7 // 8]
    return kept + "…"


def _cut_lists(value: dict[str, Json], cut: dict[str, Json], limit: int) -> dict[str, Json]:
    """Halves the longest list until all fits, keeping the tasks that have ended or need help longest; says how many are left out."""
    cut = dict(cut)
    while not fits(cut, limit):
        sizes = {key: len(dumped(item)) for key, item in cut.items() if isinstance(item, list | dict) and item}
        if not sizes:
            return {key: item for key, item in cut.items() if not isinstance(item, str) or len(item) <= 500}
        longest = max(sizes, key=lambda key: sizes[key])
        whole = value[longest]
        items = cut[longest]
        if isinstance(items, dict) or isinstance(whole, dict):
            cut[longest] = {}
            continue
        assert isinstance(items, list)
        assert isinstance(whole, list)
        cut[longest] = sorted(items, key=_is_live)[: len(items) // 2] if longest == "tasks" else items[: len(items) // 2]
        cut[f"{longest}Omitted"] = len(whole) - len(items) // 2
    return cut


def _is_live(item: Json) -> bool:
    """Whether it is at work and needs nobody."""
    return not (isinstance(item, Mapping) and (item.get("status") in TERMINAL or item.get("needsInput")))


def _lean(value: Json) -> Json:
    if isinstance(value, Mapping):
        return {key: _lean(item) for key, item in value.items() if key in ALWAYS or item not in (None, [], {})}
    if isinstance(value, list):
        return [_lean(item) for item in value]
    return value


def _result(value: dict[str, Json]) -> CallToolResult:
    return _made([dumped(value)], value)


def _made(texts: list[str], structured: Mapping[str, Json]) -> CallToolResult:
    # Our own values, right by construction: validating them once more would be a good part of a call's time.
    content: list[ContentBlock] = [TextContent.model_construct(type="text", text=text) for text in texts]
    return CallToolResult.model_construct(content=content, structured_content=structured, is_error=False)
