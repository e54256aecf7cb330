"""The app-server's JSON-RPC as a person would read it: a line of output in words, and in a few words what an item does.

Pure, and it never fails: what has no known form is left out, since a newer Codex says more than this knows.
"""

import re
import typing

from devsh_memory_mcp.agents.document import Document, first, listing, mapping, parsed, text, whole
from devsh_memory_mcp.agents.excerpt import LINES, MOST, WIDE, command, near, near_all, sentences, some, told
from devsh_memory_mcp.agents.plain import plain, shortened

# A command comes wrapped: /bin/bash -lc 'git status'
_SHELL = re.compile(r"\S*/(?:ba|z|da)?sh -l?c (['\"]?)(.*)\1", re.DOTALL)
_QUOTES = (("'\"'\"'", "'"), ("'\\''", "'"), ('\\"', '"'), ("\\$", "$"))
_KINDS = {"add": "writes", "delete": "deletes", "update": "edits"}


def activity(item: Document) -> str:
    """What an item does: one line of at most 80 characters, as in `edits src/app.py`."""
    return shortened(_deed(item), MOST)


def _deed(item: Document) -> str:
    kind = text(item, "type")
    if kind == "commandExecution":
        return f"runs `{command(_bare(text(item, 'command')))}`"
    if kind == "fileChange":
        changes = [mapping(change) for change in listing(item.get("changes"))]
        if not changes:
            return "edits files"
        verb = _KINDS.get(text(mapping(changes[0].get("kind")), "type"), "edits")
        more = f" and {len(changes) - 1} more" if len(changes) > 1 else ""
        return f"{verb} {near(text(changes[0], 'path')) or 'a file'}{more}"
    if kind == "mcpToolCall":
        return f"asks {text(item, 'server')}: {text(item, 'tool')}"
    if kind == "webSearch":
        return f"searches for {shortened(first(item, 'query') or '…', 50)} on the web"
    if kind == "imageView":
        return f"looks at {near(text(item, 'path')) or 'an image'}"
    if kind == "collabAgentToolCall":
        return f"has a sub-agent: {first(item, 'prompt', 'tool') or 'work'}"
    return f"uses {first(item, 'tool') or kind or 'a tool'}"


def _bare(line: str) -> str:
    found = _SHELL.fullmatch(line)
    if found is None:
        return line
    bare = found[2]
    for quoted, meant in _QUOTES if found[1] else ():
        bare = bare.replace(quoted, meant)
    return bare


def narrate(line: str) -> str | None:
    """A line of the output in words, perhaps several lines, None where there is nothing to read in it."""
    said = parsed(line, otherwise=line)
    if said is line:
        return plain(line) or None
    document = mapping(said)
    if "method" not in document:
        return "\n".join(_reply(document)) or None
    narrator = _NARRATORS.get(text(document, "method"))
    return "\n".join(narrator(mapping(document.get("params")))) or None if narrator else None


def _reply(said: Document) -> list[str]:
    result = mapping(said.get("result"))
    if said.get("id") == "thread" and result:
        session = plain(text(mapping(result.get("thread")), "id"))
        return [f"* {plain(text(result, 'model'))}, sandbox: {_sandbox(result)}, session {session}"]
    error = mapping(said.get("error"))
    return [f"! {shortened(text(error, 'message'), WIDE)}"] if error and said.get("id") in ("wall", "thread") else []


def _sandbox(result: Document) -> str:
    return plain(text(mapping(result.get("sandbox")), "type")) or "unknown"


def _started(params: Document) -> list[str]:
    item = mapping(params.get("item"))
    if item.get("type") == "userMessage":
        return told("\n".join(text(mapping(part), "text") for part in listing(item.get("content"))))
    shown = ("commandExecution", "fileChange", "mcpToolCall", "webSearch", "imageView", "dynamicToolCall", "collabAgentToolCall")
    return [f"> {activity(item)}"] if item.get("type") in shown else []


def _completed(params: Document) -> list[str]:
    item = mapping(params.get("item"))
    kind = item.get("type")
    if item.get("status") == "declined":
        return [f"! may not: {activity(item)}"]
    if kind == "agentMessage":
        return sentences(text(item, "text"))
    if kind == "commandExecution":
        mark = "  " if item.get("exitCode") in (0, None) else "  ! "
        return [f"{mark}{line}" for line in some(text(item, "aggregatedOutput"), LINES)]
    if kind == "fileChange":
        diffs = "\n".join(text(mapping(change), "diff") for change in listing(item.get("changes")))
        return [f"  {line}" for line in some(diffs, LINES * 2)]
    if kind == "mcpToolCall":
        return _call(item)
    return ["* the conversation was compacted"] if kind == "contextCompaction" else []


def _call(item: Document) -> list[str]:
    failed = text(mapping(item.get("error")), "message")
    if failed:
        return [f"  ! {line}" for line in some(failed, LINES)]
    content = listing(mapping(item.get("result")).get("content"))
    return [f"  {line}" for line in some("\n".join(text(mapping(part), "text") for part in content), LINES)]


def _over(params: Document) -> list[str]:
    turn = mapping(params.get("turn"))
    spent = f"{whole(turn.get('durationMs')) / 1000:.1f} s"
    if turn.get("status") == "completed":
        return [f"* done: in {spent}"]
    why = shortened(near_all(text(mapping(turn.get("error")), "message")), WIDE)
    return [f"* stopped: {why or plain(text(turn, 'status')) or 'an error'} -- in {spent}"]


def _error(params: Document) -> list[str]:
    if not params.get("willRetry"):
        return []  # the turn's end tells it
    error = mapping(params.get("error"))
    return [f"! {shortened(' '.join((text(error, 'message'), text(error, 'additionalDetails'))), WIDE)}"]


def _warning(params: Document) -> list[str]:
    return [f"! {shortened(text(params, 'message'), WIDE)}"] if text(params, "message") else []


def _server(params: Document) -> list[str]:
    failed = params.get("status") == "failed"
    return [f"! the server {plain(text(params, 'name'))} did not start"] if failed else []


_NARRATORS: dict[str, typing.Callable[[Document], list[str]]] = {
    "item/started": _started,
    "item/completed": _completed,
    "turn/completed": _over,
    "error": _error,
    "warning": _warning,
    "mcpServer/startupStatus/updated": _server,
}
