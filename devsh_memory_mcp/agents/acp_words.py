"""ACP's JSON-RPC as a person would read it: a line of output in words, and in a few words what a tool call does.

Pure, and it never fails: what has no known form is left out, since agents say more than this knows.
"""

import typing

from devsh_memory_mcp.agents.document import Document, first, listing, mapping, parsed, text
from devsh_memory_mcp.agents.excerpt import LINES, MOST, WIDE, command, near, near_all, sentences, some
from devsh_memory_mcp.agents.plain import plain, shortened

_VERBS = {"edit": "edits", "delete": "deletes", "move": "moves", "read": "reads"}
_PATHS = ("filePath", "filepath", "file_path", "path")
STOPS = {
    "max_tokens": "its answer was longer than it may be (max_tokens)",
    "max_turn_requests": "it asked its model as often as it may in a turn (max_turn_requests)",
    "refusal": "its model refused to go on (refusal)",
    "cancelled": "its turn was cancelled (cancelled)",
}


def activity(call: Document) -> str:
    """What a tool call does: one line of at most 80 characters, as in `edits src/app.py`."""
    return shortened(_deed(call), MOST)


def _deed(call: Document) -> str:
    kind, paths = text(call, "kind"), paths_of(call)
    if kind == "execute":
        return f"runs `{command(line_of_command(call))}`"
    if kind in _VERBS and paths:
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        return f"{_VERBS[kind]} {near(paths[0])}{more}"
    title = near_all(text(call, "title")) or kind or "a tool"
    return f"searches: {title}" if kind == "search" else f"fetches: {title}" if kind == "fetch" else f"uses {title}"


def paths_of(call: Document) -> list[str]:
    """The files that a tool call names."""
    given = mapping(call.get("rawInput"))
    located = [text(mapping(each), "path") for each in listing(call.get("locations"))]
    differing = [text(mapping(each), "path") for each in listing(call.get("content"))]
    return list(dict.fromkeys(path for path in (*located, *differing, *(text(given, name) for name in _PATHS)) if path))


def line_of_command(call: Document) -> str:
    """The command that a call runs; agents that do not tell it call themselves by it."""
    given = mapping(call.get("rawInput")).get("command")
    if isinstance(given, list) and all(isinstance(word, str) for word in given):
        return " ".join(given)
    return given if isinstance(given, str) and given else text(call, "title").strip("`")


def spoken(update: Document) -> str:
    """The words in a chunk of a message."""
    return text(mapping(update.get("content")), "text")


def narrate(line: str) -> str | None:
    """A line of the output in words, perhaps several lines, None where there is nothing to read in it."""
    said = parsed(line, otherwise=line)
    if said is line:
        return plain(line) or None
    document = mapping(said)
    params = mapping(document.get("params"))
    if document.get("method") == "session/update":
        update = mapping(params.get("update"))
        narrator = _NARRATORS.get(text(update, "sessionUpdate"))
        return "\n".join(narrator(update)) or None if narrator else None
    if document.get("method") == "session/request_permission":
        return f"? asks: {activity(mapping(params.get('toolCall')))}"
    return "\n".join(_reply(document)) or None if "method" not in document else None


def _reply(said: Document) -> list[str]:
    result, error = mapping(said.get("result")), mapping(said.get("error"))
    if error:
        return [f"! {shortened(words_of(error), WIDE)}"]
    if text(result, "stopReason") == "end_turn":
        return ["* done"]
    if text(result, "stopReason"):
        return [f"* stopped: {STOPS.get(text(result, 'stopReason'), plain(text(result, 'stopReason')))}"]
    return [f"* session {plain(text(result, 'sessionId'))}"] if text(result, "sessionId") else []


def words_of(error: Document) -> str:
    """What a JSON-RPC error says, with what stands beside it; some agents put the API's own answer in there."""
    beside = error.get("data")
    detail = beside if isinstance(beside, str) else first(mapping(beside), "details", "message", "error")
    said = text(error, "message")
    inner = first(mapping(mapping(parsed(said)).get("error")), "message")
    return " ".join(filter(None, (inner or said, detail if detail not in said else ""))).strip()


def _call(update: Document) -> list[str]:
    return [f"> {activity(update)}"]


def _called(update: Document) -> list[str]:
    mark = {"completed": "  ", "failed": "  ! "}.get(text(update, "status"))
    if mark is None:
        return []
    content = "\n".join(spoken(mapping(part)) for part in listing(update.get("content")))
    return [f"{mark}{line}" for line in some(content, LINES)]


_NARRATORS: dict[str, typing.Callable[[Document], list[str]]] = {
    "agent_message_chunk": lambda update: sentences(spoken(update)),
    "tool_call": _call,
    "tool_call_update": _called,
}
