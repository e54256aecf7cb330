"""A turn of the scripted model in the Messages API's own form: one message, or the events that stream it."""

import json
from collections.abc import Iterator
from typing import Any

from tests.doubles.model_request import Request
from tests.doubles.model_script import Error, Turn

USAGE = {"input_tokens": 100, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 10}
_REFUSALS = {"api key": "invalid x-api-key", "bearer": "Invalid bearer token", "none": "x-api-key header is required"}


def refusal(kind: str) -> Error:
    """What is said to a credential of this kind that is not valid."""
    return Error(401, "authentication_error", _REFUSALS[kind])


def limit_headers(status: str, resets_at: int, claim: str = "five_hour") -> dict[str, str]:
    """What a subscription's answers say about its limit: `allowed`, `allowed_warning` or `rejected`, and when it is over (Unix time)."""
    own = {"status": status, "reset": str(resets_at), "representative-claim": claim}
    if status == "allowed_warning":
        own |= {"5h-utilization": "0.93", "5h-reset": str(resets_at), "5h-surpassed-threshold": "0.9"}
    return {f"anthropic-ratelimit-unified-{name}": value for name, value in own.items()}


def error_body(error: Error) -> dict[str, Any]:
    return {"type": "error", "error": {"type": error.type, "message": error.message}, "request_id": "req_scripted"}


def beside(request: Request) -> tuple[int, dict[str, Any]]:
    if request.path.startswith("/v1/messages/count_tokens"):
        return 200, {"input_tokens": len(json.dumps(request.body)) // 4}
    return (200, {}) if request.path == "/api/hello" else (404, error_body(Error(404, "not_found_error")))


def message(turn: Turn, request: Request) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": turn.text}] if turn.text else []
    for number, tool in enumerate(turn.tools):
        content.append({"type": "tool_use", "id": f"toolu_{request.turn:04}{number:04}", "name": tool.name, "input": tool.input})
    return {
        "id": f"msg_{request.turn:04}",
        "type": "message",
        "role": "assistant",
        "model": request.body.get("model", ""),
        "content": content,
        "stop_reason": turn.stop_reason or ("tool_use" if turn.tools else "end_turn"),
        "stop_sequence": None,
        "usage": {**USAGE, **turn.usage},
    }


def frames(whole: dict[str, Any]) -> Iterator[bytes]:
    """The message as server-sent events."""
    usage, content = whole["usage"], whole["content"]
    opening = {**whole, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    yield _frame("message_start", message=opening)
    for index, block in enumerate(content):
        if block["type"] == "text":
            empty, delta = {**block, "text": ""}, {"type": "text_delta", "text": block["text"]}
        else:
            empty, delta = {**block, "input": {}}, {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        yield _frame("content_block_start", index=index, content_block=empty)
        yield _frame("content_block_delta", index=index, delta=delta)
        yield _frame("content_block_stop", index=index)
    ending = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield _frame("message_delta", delta=ending, usage=usage)
    yield _frame("message_stop")


def _frame(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()
