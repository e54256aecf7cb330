"""What a session of an ACP agent is begun with, and how its questions are answered: JSON-RPC requests and replies. Pure."""

import json
import re
import typing

from devsh_memory_mcp.agents.acp_words import line_of_command, paths_of
from devsh_memory_mcp.agents.adapter import SERVER, Assignment
from devsh_memory_mcp.agents.document import Document, listing, mapping, text
from devsh_memory_mcp.agents.permitted import is_inside, is_permitted

VERSION = 1  # of the protocol
CLIENT: Document = {
    "protocolVersion": VERSION,
    "clientCapabilities": {"fs": {"readTextFile": False, "writeTextFile": False}, "terminal": False},
    "clientInfo": {"name": "devsh", "title": "devsh", "version": "1"},
}
NO_METHOD = {"code": -32601, "message": "Nobody is there to answer; go on without."}
_NAMED = ("edit", "delete", "move", "read")  # which say of what; a search need not
_LOOKS = ("search", "think")
_OURS = re.compile(rf"(mcp__?)?{re.escape(SERVER)}__?[a-z_]+")  # as agents name a tool of our server


def request(request_id: str, method: str, params: Document) -> bytes:
    """A line that wants an answer."""
    return _line({"id": request_id, "method": method, "params": params})


def notification(method: str, params: Document) -> bytes:
    """A line that wants none."""
    return _line({"method": method, "params": params})


def answer(request_id: object, result: Document | None) -> bytes:
    """To a request of the agent's; None where there is nobody who could."""
    return _line({"id": request_id} | ({"error": NO_METHOD} if result is None else {"result": result}))


def _line(document: Document) -> bytes:
    return json.dumps({"jsonrpc": "2.0"} | document).encode() + b"\n"


def prompt(session: str | None, said: str) -> Document:
    """The parameters of `session/prompt`."""
    return {"sessionId": session, "prompt": [{"type": "text", "text": said}]}


def session_parameters(assignment: Assignment, credentials: typing.Iterable[str]) -> Document:
    """Of `session/new` and its kin. Our server is handed the run's identity, and none of the agent's credentials."""
    servers: list[Document] = []
    if assignment.server:
        program, *arguments = assignment.server
        environment = dict(assignment.environment) | dict.fromkeys(credentials, "")
        told = [{"name": name, "value": value} for name, value in sorted(environment.items())]
        servers = [{"name": SERVER, "command": program, "args": arguments, "env": told}]
    return {"cwd": assignment.workspace, "mcpServers": servers}


def may(call: Document, assignment: Assignment) -> bool:
    """Whether a tool call needs no asking: anything with `bypass`, else edits of the checkout, commits, tests, and our own server."""
    if assignment.permissions == "bypass":
        return True
    kind, paths = text(call, "kind"), paths_of(call)
    if kind in _NAMED:
        return bool(paths) and is_inside(paths, assignment.workspace)
    if kind in _LOOKS:
        return is_inside(paths, assignment.workspace)
    if kind == "execute":
        return is_permitted(line_of_command(call))
    return kind in ("", "other") and _OURS.fullmatch(text(call, "title")) is not None


def decision(options: object, *, allowed: bool) -> Document:
    """The answer to `session/request_permission`: the narrowest option of that sort; where there is none the call is not made."""
    offered = {text(each, "kind"): text(each, "optionId") for each in map(mapping, listing(options))}
    wanted = ("allow_once", "allow_always") if allowed else ("reject_once", "reject_always")
    chosen = next((offered[kind] for kind in wanted if kind in offered), None)
    return {"outcome": {"outcome": "cancelled"} if chosen is None else {"outcome": "selected", "optionId": chosen}}
