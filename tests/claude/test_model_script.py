"""How the scripted model chooses and fills its turns, told without a claude."""

import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from tests.doubles.model_api import ModelApi
from tests.doubles.model_request import Request
from tests.doubles.model_script import Route, Tool, Turn, Unscripted


def asked(*results: str, prompt: str = "TASK-A") -> Request:
    """A request, the second one where tools have answered."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "text", "text": prompt}]}]
    if results:
        answered = [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": text}]} for text in results]
        messages += [{"role": "assistant", "content": []}, {"role": "user", "content": answered}]
    return Request("POST", "/v1/messages?beta=true", {"x-api-key": "k"}, {"messages": messages, "system": "You are a worker."})


def filled(text: str, request: Request) -> Any:
    return Route("", (Turn(), Turn(tools=[Tool("x", {"value": text})]))).turn(request).tools[0].input["value"]


def test_a_turn_repeats_what_the_tools_answered() -> None:
    request = asked('{"id":"ns01"}', '{"id":"ns02"}')
    assert filled("got {{result}}", request) == 'got {"id":"ns01"}\n{"id":"ns02"}'
    assert filled("{{result:ns\\d{2}}}", request) == "ns01"
    assert filled('{{result:"id":"(ns02)"}}', request) == "ns02"
    assert filled("{{all:TASK-.}} and {{result:ns..}}", request) == "TASK-A and ns01"
    assert filled("{{each:ns\\d\\d}}", request) == ["ns01", "ns02"]
    assert filled("all of {{each:ns\\d\\d}}", request) == "all of ns01 ns02"


def test_what_is_not_as_the_script_expects_is_said() -> None:
    with pytest.raises(Unscripted, match=r"finds nothing in 'ns01'"):
        filled("{{result:tr_.}}", asked("ns01"))
    with pytest.raises(Unscripted, match=r"has 1 turns; number 2 was asked for"):
        Route("TASK-A", (Turn("one"),)).turn(asked("ns01"))
    with pytest.raises(Unscripted, match=r"turn 1: 'B' is not in the request"):
        Route("TASK-A", (Turn("one", expect="B"),)).turn(asked())


def post(api: ModelApi, path: str, body: dict[str, Any], **headers: str) -> dict[str, Any]:
    """The answer, an error's as well; the scripted model is the proxy too."""
    request = urllib.request.Request(api.address + path, json.dumps(body).encode(), {"content-type": "application/json", **headers})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
            return dict(json.load(answer))
    except urllib.error.HTTPError as error:
        with error:
            return dict(json.load(error))


def test_a_client_that_does_not_stream_gets_one_message_and_can_count(model_api: ModelApi) -> None:
    model_api.route("a worker", Turn("Yes.", usage={"output_tokens": 7}))
    answer = post(model_api, "/v1/messages", asked().body, Authorization="Bearer t")
    assert (answer["content"], answer["usage"]["output_tokens"]) == ([{"type": "text", "text": "Yes."}], 7)
    assert model_api.await_turn("TASK-A").credential == ("bearer", "t")
    assert post(model_api, "/v1/messages/count_tokens", asked().body)["input_tokens"] > 10


def test_whoever_is_unknown_or_has_no_credential_is_refused(model_api: ModelApi) -> None:
    assert post(model_api, "/v1/messages", asked().body)["error"]["type"] == "authentication_error"
    model_api.route("TASK-A", Turn())
    refusal = post(model_api, "/v1/messages", asked(prompt="TASK-B").body, **{"x-api-key": "k"})
    assert (refusal["error"]["type"], refusal["error"]["message"]) == ("invalid_request_error", model_api.complaints.pop())
