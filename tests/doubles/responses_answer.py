"""A turn of the scripted model in the Responses API's own form: one response, or the events that stream it."""

import json
from collections.abc import Iterator
from typing import Any

from tests.doubles.model_request import Request
from tests.doubles.model_script import Error, Tool, Turn


def refusal(kind: str) -> Error:
    """What is said to a credential that is not valid."""
    return Error(401, "invalid_request_error", "Incorrect API key provided." if kind == "bearer" else "Missing bearer authentication.")


def limit_headers(used_percent: int, resets_at: int) -> dict[str, str]:
    """What a subscription's answers say about its limit, and when it is over (Unix time)."""
    told = {"used-percent": used_percent, "window-minutes": 300, "reset-at": resets_at}
    return {f"x-codex-primary-{name}": str(value) for name, value in told.items()}


def error_body(error: Error) -> dict[str, Any]:
    return {"error": {"type": error.type, "code": error.type, "message": error.message}}


def beside(request: Request) -> tuple[int, dict[str, Any]]:
    """It speaks no websockets."""
    return (426 if request.path.startswith("/v1/responses") else 404), error_body(Error(404, "not_found_error", "not here"))


def message(turn: Turn, request: Request) -> dict[str, Any]:
    text = {"type": "output_text", "text": turn.text}
    said = [{"type": "message", "id": f"msg_{request.turn:04}", "role": "assistant", "content": [text]}] if turn.text else []
    calls = [_call(tool, f"call_{request.turn:04}{number:04}") for number, tool in enumerate(turn.tools)]
    read, made = turn.usage.get("input_tokens", 100), turn.usage.get("output_tokens", 10)
    usage = {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": turn.usage.get("cached_tokens", 0)},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": read + made,
    }
    return {"id": f"resp_{request.turn:04}", "object": "response", "status": "completed", "output": [*said, *calls], "usage": usage}


def _call(tool: Tool, call_id: str) -> dict[str, Any]:
    """A tool of an MCP server is named `namespace.name`; one whose input is a text alone is a custom one."""
    namespace, _, name = tool.name.rpartition(".")
    where = {"namespace": namespace} if namespace else {}
    if set(tool.input) == {"input"}:
        return {"type": "custom_tool_call", "call_id": call_id, "name": name, "input": tool.input["input"]}
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": json.dumps(tool.input), **where}


def frames(whole: dict[str, Any]) -> Iterator[bytes]:
    """The response as server-sent events."""
    yield _frame("response.created", response={**whole, "status": "in_progress", "output": [], "usage": None})
    for index, item in enumerate(whole["output"]):
        yield _frame("response.output_item.done", output_index=index, item=item)
    yield _frame("response.completed", response=whole)


def _frame(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()
