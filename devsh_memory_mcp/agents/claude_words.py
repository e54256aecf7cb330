"""Claude's stream-json as a person would read it: a line of output in words, and in a few words what a tool call does.

Pure, and it never fails: what has no known form is left out, since a newer Claude Code says more than this knows.
"""

import re
import typing

from devsh_memory_mcp.agents.document import Document, first, listing, mapping, number, parsed, text, whole
from devsh_memory_mcp.agents.excerpt import LINES, MOST, WIDE, command, near, near_all, sentences, some, told
from devsh_memory_mcp.agents.figures import counted, money
from devsh_memory_mcp.agents.plain import plain, shortened

_FILES = {"Read": "reads", "Edit": "edits", "MultiEdit": "edits", "Write": "writes", "NotebookEdit": "edits", "LS": "lists"}
_PLAIN_TOOLS = {
    "TodoWrite": "plans its steps",
    "ListAgents": "lists its sub-agents",
    "TaskStop": "stops a background task",
    "KillShell": "stops a background command",
    "BashOutput": "reads a background command's output",
    "Monitor": "watches a background command",
    "StructuredOutput": "gives its result",
    "ListMcpResourcesTool": "lists resources",
    "ReportFindings": "reports its findings",
}
_API_TROUBLE = {
    "overloaded": "the API is overloaded",
    "rate_limit": "the API says: too many requests",
    "authentication_failed": "the API does not accept the credential",
    "server_error": "the API has a fault",
}


def activity(name: str, tool_input: Document) -> str:
    """What a call of the tool `name` does: one line of at most 80 characters, as in `edits src/app.py`."""
    return shortened(_deed(name, tool_input), MOST)


def _deed(name: str, given: Document) -> str:
    if name in _FILES:
        return f"{_FILES[name]} {near(first(given, 'file_path', 'notebook_path', 'path') or 'a file')}"
    if name == "Bash":
        return f"runs `{command(first(given, 'command'))}`"
    if name in ("Grep", "Glob", "WebSearch", "ToolSearch"):
        within = f" in {near(first(given, 'path'))}" if first(given, "path") else ""
        where = {"WebSearch": " on the web", "ToolSearch": " among its tools"}.get(name, within)
        return f"searches for {shortened(first(given, 'pattern', 'query'), 50)}{where}"
    if name == "WebFetch":
        return f"reads {first(given, 'url') or 'a web page'}"
    if name in ("Agent", "Task"):
        return f"has a sub-agent: {first(given, 'description', 'prompt') or 'work'}"
    if name == "Skill":
        return f"uses the skill {first(given, 'skill', 'command')}"
    if name in _PLAIN_TOOLS:
        return _PLAIN_TOOLS[name]
    server, _, tool = name.removeprefix("mcp__").partition("__")
    return f"asks {server}: {tool}" if name.startswith("mcp__") and tool else f"uses {name}"


def narrate(line: str) -> str | None:
    """A line of the output in words, perhaps several lines, None where there is nothing to read in it."""
    said = parsed(line, otherwise=line)
    if said is line:
        return plain(line) or None
    if not isinstance(said, dict):
        return None
    narrator = _NARRATORS.get(str(said.get("type")))
    lines = narrator(said) if narrator else []
    margin = "    " if said.get("parent_tool_use_id") else ""  # a sub-agent's
    return "\n".join(margin + each for each in lines) or None


def _system(said: Document) -> list[str]:
    kind = said.get("subtype")
    if kind == "init":
        absent = [
            str(mapping(server).get("name")) for server in listing(said.get("mcp_servers")) if mapping(server).get("status") == "failed"
        ]
        begun = f"* {text(said, 'model')}, permissions: {text(said, 'permissionMode')}, session {text(said, 'session_id')}"
        return [plain(begun), *(f"! the server {plain(name)} did not start" for name in absent)]
    if kind == "api_retry":
        trouble = _API_TROUBLE.get(text(said, "error")) or _unknown_trouble(said.get("error_status"))
        delay = number(said.get("retry_delay_ms")) / 1000
        return [f"! {trouble}: attempt {whole(said.get('attempt'))} of {whole(said.get('max_retries'))} in {delay:.1f} s"]
    if kind == "permission_denied":
        return [f"! may not use {plain(text(said, 'tool_name'))}: {shortened(near_all(text(said, 'message')), WIDE)}"]
    if kind == "task_notification":
        summary = shortened(text(said, "summary"), WIDE)
        return [f"* its sub-agent has {plain(text(said, 'status')) or 'ended'}{': ' + summary if summary else ''}"]
    return ["* the conversation was compacted"] if kind == "compact_boundary" else []


def _unknown_trouble(status: object) -> str:
    return f"the API answers {whole(status)}" if status else "the API cannot be reached"


def _assistant(said: Document) -> list[str]:
    message = mapping(said.get("message"))
    lines: list[str] = []
    for block in map(mapping, listing(message.get("content"))):
        if block.get("type") == "text":
            lines += sentences(text(block, "text"), "! " if message.get("model") == "<synthetic>" else "")
        elif block.get("type") == "tool_use":
            lines.append(f"> {activity(text(block, 'name'), mapping(block.get('input')))}")
    return lines


def _user(said: Document) -> list[str]:
    content = mapping(said.get("message")).get("content")
    if isinstance(content, str):
        return told(content) if said.get("isReplay") else []
    lines: list[str] = []
    for block in map(mapping, listing(content)):
        if block.get("type") == "tool_result":
            lines += [] if _was_refused(said) else _answer(block, said.get("tool_use_result"))
        elif block.get("type") == "text" and not said.get("parent_tool_use_id"):
            lines += told(text(block, "text"))
    return lines


def _was_refused(said: Document) -> bool:
    """Denied or interrupted: another line tells it, and this one speaks to the model."""
    return any(mapping(meta).get("non_execution_kind") == "user-rejected" for meta in listing(said.get("tool_result_meta")))


def _answer(block: Document, outcome: object) -> list[str]:
    spoken = _spoken(block.get("content"))
    if block.get("is_error"):
        return [f"  ! {line}" for line in some(re.sub(r"</?tool_use_error>", "", spoken), LINES)]
    known = mapping(outcome)
    if "structuredPatch" in known:
        return [f"  {line}" for line in _change(known)]
    if "file" in known:
        count = whole(mapping(known["file"]).get("numLines"))
        return [f"  {count} line{'' if count == 1 else 's'}"] if count else []
    if known.get("isAsync") or "agentId" in known:  # instructions of the harness to the model
        return []
    return [f"  {line}" for line in some(spoken, LINES)]


def _change(outcome: Document) -> list[str]:
    """The lines that an edit took away and added."""
    hunks = [mapping(hunk) for hunk in listing(outcome.get("structuredPatch"))]
    lines = [str(line) for hunk in hunks for line in listing(hunk.get("lines")) if str(line)[:1] in ("-", "+")]
    return some("\n".join(lines), LINES * 2)


def _spoken(content: object) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(text(mapping(block), "text") for block in listing(content))


def _result(said: Document) -> list[str]:
    turns, denied = whole(said.get("num_turns")), len(listing(said.get("permission_denials")))
    cost = number(said.get("total_cost_usd"))
    figures = [
        f"{counted(turns, 'turn')} in {number(said.get('duration_ms')) / 1000:.1f} s",
        f"{money(cost, is_billed=False)} at list price in this session" if cost else "",
        f"{counted(denied, 'time')} not allowed" if denied else "",
    ]
    what = f"stopped: {_cause(said)} --" if said.get("is_error") else "done:"
    return [f"* {what} {', '.join(filter(None, figures))}"]


def _cause(said: Document) -> str:
    ended = text(said, "terminal_reason")
    if ended.startswith("aborted"):
        return "interrupted"
    why = [text(said, "result"), *(str(error) for error in listing(said.get("errors")))]
    return shortened("; ".join(filter(None, why)), WIDE) or ended.replace("_", " ") or "an error"


_NARRATORS: dict[str, typing.Callable[[Document], list[str]]] = {
    "system": _system,
    "assistant": _assistant,
    "user": _user,
    "result": _result,
}
