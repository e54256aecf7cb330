"""A turn of the scripted model in the Gemini API's own form: one response, or the events that stream it."""

import json
from collections.abc import Iterator
from typing import Any

from tests.doubles.model_request import Request
from tests.doubles.model_script import Error, Turn

_STATUS = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 429: "RESOURCE_EXHAUSTED"}


def refusal(kind: str) -> Error:
    """What is said to a credential that is not valid."""
    return Error(401, "UNAUTHENTICATED", "API key not valid. Please pass a valid API key." if kind != "none" else "No key was passed.")


def error_body(error: Error) -> dict[str, Any]:
    status = _STATUS.get(error.status, error.type)
    return {"error": {"code": error.status, "message": error.message, "status": status}}


def beside(request: Request) -> tuple[int, dict[str, Any]]:
    """Nothing else is there."""
    return 404, error_body(Error(404, "NOT_FOUND", "not here"))


def message(turn: Turn, request: Request) -> dict[str, Any]:
    said = [{"text": turn.text}] if turn.text else []
    calls = [{"functionCall": {"name": tool.name, "args": tool.input}} for tool in turn.tools]
    read, made = turn.usage.get("input_tokens", 100), turn.usage.get("output_tokens", 10)
    return {
        "candidates": [{"content": {"role": "model", "parts": [*said, *calls]}, "finishReason": turn.stop_reason or "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": read, "candidatesTokenCount": made, "totalTokenCount": read + made},
    }


def frames(whole: dict[str, Any]) -> Iterator[bytes]:
    """The response as server-sent events: its parts, then why it ended."""
    candidate = whole["candidates"][0]
    for part in candidate["content"]["parts"]:
        yield _frame({"candidates": [{"content": {"role": "model", "parts": [part]}, "index": 0}]})
    closing = {"content": {"role": "model", "parts": [{"text": ""}]}, "finishReason": candidate["finishReason"], "index": 0}
    yield _frame({"candidates": [closing], "usageMetadata": whole["usageMetadata"]})


def _frame(document: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(document)}\n\n".encode()
