"""What a client does when its server is gone for a moment, answers nonsense, or is none."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from devsh_memory_mcp.config import Caller
from devsh_memory_mcp.domain.requests import MessageRequest, SpawnRequest
from devsh_memory_mcp.errors import InvalidRequest, NotFound, Unauthenticated, Unreachable
from devsh_memory_mcp.faces.http_address import Address, address_of, parse_address
from devsh_memory_mcp.faces.http_client import RemoteOrchestration, open_remote

pytestmark = pytest.mark.anyio

SPAWNED = {
    "orchestrationTaskId": "ns1", "taskId": "ns1", "taskRunId": "tr_1", "agentName": "shell/bash", "status": "pending",
    "orchestrationId": "orch_1",
}  # fmt: skip
Answer = Callable[[httpx2.Request], httpx2.Response]


class Line(httpx2.AsyncBaseTransport):
    """Answers one after the other; an exception breaks the connection."""

    def __init__(self, *answers: object) -> None:
        self.answers, self.requests = list(answers), list[httpx2.Request]()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await request.aread()
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, httpx2.Response)
        return httpx2.Response(answer.status_code, content=answer.content)


@asynccontextmanager
async def through(line: Line, patience: float = 10.0) -> AsyncIterator[RemoteOrchestration]:
    caller = Caller(Path("/"), {})
    async with open_remote(parse_address("localhost:1"), "a.b.c", caller, patience=patience, transport=line) as there:
        yield RemoteOrchestration(there._wire, "orch_1")


def said(status: int = 200, /, **document: object) -> httpx2.Response:
    return httpx2.Response(status, json=document)


LOST = httpx2.ReadError("the connection broke off")


async def test_a_spawn_whose_answer_was_lost_is_sent_again_with_the_same_key() -> None:
    line = Line(said(seq=1), LOST, httpx2.ConnectError("nobody there"), said(202, **SPAWNED))
    async with through(line) as orchestration:
        await orchestration.position()
        assert (await orchestration.spawn(SpawnRequest(prompt="x", repo="none"))).orchestration_task_id == "ns1"
    first, *again = [request.content for request in line.requests[1:]]
    assert b'"idempotencyKey":"sent-' in first.replace(b": ", b":")
    assert again == [first, first]


async def test_the_callers_own_key_is_kept() -> None:
    line = Line(said(messageId=3, to="head"))
    async with through(line) as orchestration:
        await orchestration.message(MessageRequest(to="head", message="x", idempotency_key="mine"))
    assert b'"mine"' in line.requests[0].content


async def test_what_a_server_remembers_is_asked_for_again_by_the_same_mark() -> None:
    line = Line(said(seq=1), LOST, said(messages=[], cursor=0))
    async with through(line) as orchestration:
        await orchestration.position()
        await orchestration.messages()
    marks = [request.headers["idempotency-key"] for request in line.requests[1:]]
    assert (len(marks), len(set(marks))) == (2, 1)


async def test_who_asks_too_often_waits_and_asks_again() -> None:
    line = Line(said(429, code="too_many_requests", message="x"), said(seq=7))
    async with through(line) as orchestration:
        assert await orchestration.position() == 7


async def test_patience_has_an_end() -> None:
    async with through(Line(httpx2.ConnectError("nobody there")), patience=0.0) as orchestration:
        with pytest.raises(Unreachable, match="localhost:1"):
            await orchestration.position()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (httpx2.Response(200, text="<html>"), Unreachable), (httpx2.Response(502, text="bad gateway"), Unreachable),
        (said(404, error="nothing here"), Unreachable), (said(404, code="not_found", message="No task."), NotFound),
        (said(200, wrong=1), Unreachable), (httpx2.Response(302, text=""), Unreachable),
    ],
)  # fmt: skip
async def test_nonsense_is_told_as_what_it_is(answer: httpx2.Response, kind: type[Exception]) -> None:
    async with through(Line(answer)) as orchestration:
        with pytest.raises(kind):
            await orchestration.position()


async def test_without_a_token_nobody_is_asked() -> None:
    with pytest.raises(Unauthenticated):
        async with open_remote(parse_address("localhost:1"), None, Caller(Path("/"), {})):
            pass


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("localhost:9776", Address("http://localhost:9776")), ("https://build.example.org/", Address("https://build.example.org")),
        ("https://example.org/devsh", Address("https://example.org/devsh")), ("unix:/run/s", Address("http://localhost", "/run/s")),
        ("unix:///run/s", Address("http://localhost", "/run/s")), ("http+unix://%2Frun%2Fs", Address("http://localhost", "/run/s")),
    ],
)  # fmt: skip
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert address_of(None, {"CMUX_SERVER_URL": text}) == address
    assert address_of(text, {"CMUX_API_BASE_URL": "http://example.org"}) == address
    assert address_of(None, {}) is None


@pytest.mark.parametrize(
    "text", ["ftp://example.org", "https://user:hush@example.org", "http://example.org/?token=hush", "unix:", "http://", "localhost:x"]
)
def test_what_is_no_address_is_refused_without_repeating_a_secret(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_address(text)
    assert "hush" not in str(refused.value)
