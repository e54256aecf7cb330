"""Claude's stream-json as a person would read it: a line of output in words, and in a few words what a tool call does.

Pure, and it never fails: what has no known form is left out, since a newer Claude Code says more than this knows.
"""

import json
import re
import typing

from devsh_memory_mcp.agents.figures import counted, money
from devsh_memory_mcp.agents.plain import plain, shortened

MOST = 80  # characters of an activity
_LINES = 4  # of a tool's answer
_MESSAGE_LINES = 12
_WIDE = 200  # characters of such a line
_PATH = 48

# Checkouts lie deep; what a person wants to see is the path inside.
_WORKSPACE = re.compile(r"[^\s'\"`=:]*/runs/[^/\s]+/\d+/workspace(?:/|\b)")

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

Document: typing.TypeAlias = "dict[str, typing.Any]"


def activity(name: str, tool_input: Document) -> str:
    """What a call of the tool `name` does: one line of at most 80 characters, as in `edits src/app.py`."""
    return shortened(_deed(name, tool_input), MOST)


def _deed(name: str, given: Document) -> str:
    if name in _FILES:
        return f"{_FILES[name]} {near(_first(given, 'file_path', 'notebook_path', 'path') or 'a file')}"
    if name == "Bash":
        return f"runs `{_command(_first(given, 'command'))}`"
    if name in ("Grep", "Glob", "WebSearch", "ToolSearch"):
        within = f" in {near(_first(given, 'path'))}" if _first(given, "path") else ""
        where = {"WebSearch": " on the web", "ToolSearch": " among its tools"}.get(name, within)
        return f"searches for {shortened(_first(given, 'pattern', 'query'), 50)}{where}"
    if name == "WebFetch":
        return f"reads {_first(given, 'url') or 'a web page'}"
    if name in ("Agent", "Task"):
        return f"has a sub-agent: {_first(given, 'description', 'prompt') or 'work'}"
    if name == "Skill":
        return f"uses the skill {_first(given, 'skill', 'command')}"
    if name in _PLAIN_TOOLS:
        return _PLAIN_TOOLS[name]
    server, _, tool = name.removeprefix("mcp__").partition("__")
    return f"asks {server}: {tool}" if name.startswith("mcp__") and tool else f"uses {name}"


def near(path: str) -> str:
    """A path as seen from the checkout, and the end of one that is long."""
    inside = _near_all(path)
    if len(inside) <= _PATH:
        return inside
    tail = inside[-_PATH + 2 :]
    return f"…/{tail.partition('/')[2] or tail}"


def _command(text: str) -> str:
    lines = [line.strip() for line in _near_all(text).splitlines() if line.strip()]
    if not lines:
        return "…"
    return shortened(lines[0].removeprefix("cd . && ") + (" …" if len(lines) > 1 else ""), MOST - len("runs ``"))


def narrate(line: str) -> str | None:
    """A line of the output in words, perhaps several lines, None where there is nothing to read in it."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
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
        absent = [str(_map(server).get("name")) for server in _list(said.get("mcp_servers")) if _map(server).get("status") == "failed"]
        begun = f"* {_text(said, 'model')}, permissions: {_text(said, 'permissionMode')}, session {_text(said, 'session_id')}"
        return [plain(begun), *(f"! the server {plain(name)} did not start" for name in absent)]
    if kind == "api_retry":
        trouble = _API_TROUBLE.get(_text(said, "error")) or _unknown_trouble(said.get("error_status"))
        delay = _number(said.get("retry_delay_ms")) / 1000
        return [f"! {trouble}: attempt {_whole(said.get('attempt'))} of {_whole(said.get('max_retries'))} in {delay:.1f} s"]
    if kind == "permission_denied":
        return [f"! may not use {plain(_text(said, 'tool_name'))}: {shortened(_near_all(_text(said, 'message')), _WIDE)}"]
    if kind == "task_notification":
        summary = shortened(_text(said, "summary"), _WIDE)
        return [f"* its sub-agent has {plain(_text(said, 'status')) or 'ended'}{': ' + summary if summary else ''}"]
    return ["* the conversation was compacted"] if kind == "compact_boundary" else []


def _unknown_trouble(status: object) -> str:
    return f"the API answers {_whole(status)}" if status else "the API cannot be reached"


def _assistant(said: Document) -> list[str]:
    message = _map(said.get("message"))
    lines: list[str] = []
    for block in map(_map, _list(message.get("content"))):
        if block.get("type") == "text":
            lines += _sentences(_text(block, "text"), "! " if message.get("model") == "<synthetic>" else "")
        elif block.get("type") == "tool_use":
            lines.append(f"> {activity(_text(block, 'name'), _map(block.get('input')))}")
    return lines


def _sentences(text: str, mark: str = "") -> list[str]:
    return [f"{mark}{plain(line).rstrip()}" for line in text.strip().splitlines()]


def _user(said: Document) -> list[str]:
    content = _map(said.get("message")).get("content")
    if isinstance(content, str):
        return _told(content) if said.get("isReplay") else []
    lines: list[str] = []
    for block in map(_map, _list(content)):
        if block.get("type") == "tool_result":
            lines += [] if _was_refused(said) else _answer(block, said.get("tool_use_result"))
        elif block.get("type") == "text" and not said.get("parent_tool_use_id"):
            lines += _told(_text(block, "text"))
    return lines


def _was_refused(said: Document) -> bool:
    """Denied or interrupted: another line tells it, and this one speaks to the model."""
    return any(_map(meta).get("non_execution_kind") == "user-rejected" for meta in _list(said.get("tool_result_meta")))


def _told(text: str) -> list[str]:
    """What it was told: its task, or a message while it works."""
    return [f"< {line}" for line in _some(text, _MESSAGE_LINES)]


def _answer(block: Document, outcome: object) -> list[str]:
    text = _spoken(block.get("content"))
    if block.get("is_error"):
        return [f"  ! {line}" for line in _some(re.sub(r"</?tool_use_error>", "", text), _LINES)]
    known = _map(outcome)
    if "structuredPatch" in known:
        return [f"  {line}" for line in _change(known)]
    if "file" in known:
        count = _whole(_map(known["file"]).get("numLines"))
        return [f"  {count} line{'' if count == 1 else 's'}"] if count else []
    if known.get("isAsync") or "agentId" in known:  # instructions of the harness to the model
        return []
    return [f"  {line}" for line in _some(text, _LINES)]


def _change(outcome: Document) -> list[str]:
    """The lines that an edit took away and added."""
    hunks = [_map(hunk) for hunk in _list(outcome.get("structuredPatch"))]
    lines = [str(line) for hunk in hunks for line in _list(hunk.get("lines")) if str(line)[:1] in ("-", "+")]
    return _some("\n".join(lines), _LINES * 2)


def _some(text: str, most: int) -> list[str]:
    """The first lines, and how many more there are."""
    lines = [plain(line).rstrip()[:_WIDE] for line in _near_all(text).strip("\n").splitlines() if line.strip()]
    return lines if len(lines) <= most else [*lines[: most - 1], f"… {len(lines) - most + 1} more lines"]


def _near_all(text: str) -> str:
    return _WORKSPACE.sub(lambda found: "" if found[0].endswith("/") else ".", text)


def _spoken(content: object) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(_text(_map(block), "text") for block in _list(content))


def _result(said: Document) -> list[str]:
    turns, denied = _whole(said.get("num_turns")), len(_list(said.get("permission_denials")))
    cost = _number(said.get("total_cost_usd"))
    figures = [
        f"{counted(turns, 'turn')} in {_number(said.get('duration_ms')) / 1000:.1f} s",
        f"{money(cost, is_billed=False)} at list price in this session" if cost else "",
        f"{counted(denied, 'time')} not allowed" if denied else "",
    ]
    what = f"stopped: {_cause(said)} --" if said.get("is_error") else "done:"
    return [f"* {what} {', '.join(filter(None, figures))}"]


def _cause(said: Document) -> str:
    ended = _text(said, "terminal_reason")
    if ended.startswith("aborted"):
        return "interrupted"
    why = [_text(said, "result"), *(str(error) for error in _list(said.get("errors")))]
    return shortened("; ".join(filter(None, why)), _WIDE) or ended.replace("_", " ") or "an error"


def _first(given: Document, *names: str) -> str:
    return next((value for name in names if isinstance(value := given.get(name), str) and value), "")


def _text(said: Document, name: str) -> str:
    value = said.get(name)
    return value if isinstance(value, str) else ""


def _map(value: object) -> Document:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[typing.Any]:
    return value if isinstance(value, list) else []


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and abs(value) < 1e15 else 0.0


def _whole(value: object) -> int:
    return int(_number(value))


_NARRATORS: dict[str, typing.Callable[[Document], list[str]]] = {
    "system": _system,
    "assistant": _assistant,
    "user": _user,
    "result": _result,
}
