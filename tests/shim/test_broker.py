"""The broker between an agent and a provider, both in the test's hands."""

import base64
import json
import os
import pathlib
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from devsh_memory_mcp.agents.endpoint import CHATGPT, CLAUDE, CODEX, GEMINI, Ask
from devsh_memory_mcp.shim.broker.facts import Facts
from devsh_memory_mcp.shim.broker.plan import Plan, Route, Source
from tests.doubles.raw_host import Peer, RawHost
from tests.shim.keeper import Keeper

REAL, PLACEHOLDER = "sk-the-real-one", "devsh-stands-for-it"
KEY = Source("x-api-key", REAL)


@pytest.fixture
def host() -> Iterator[RawHost]:
    host = RawHost()
    yield host
    host.close()


@pytest.fixture
def keep(host: RawHost) -> Iterator[Callable[..., Keeper]]:
    """Starts a broker for that host's API."""
    with ExitStack() as stack:

        def start(source: Source = KEY, *, base: str = "", at: str = "", asks: tuple[Ask, ...] = (), **rest: object) -> Keeper:
            route = Route(f"http://127.0.0.1:{host.port}{base}", PLACEHOLDER, source, at, asks)
            return stack.enter_context(Keeper(Plan((route,), **rest)))

        yield start


@pytest.fixture
def client() -> Iterator[Callable[[Keeper], Peer]]:
    with ExitStack() as stack:

        def connect(keeper: Keeper) -> Peer:
            peer = Peer.to(keeper.port)
            stack.callback(peer.close)
            return peer

        yield connect


def asked(credential: str = f"x-api-key: {PLACEHOLDER}", *, path: str = "/v1/messages", body: bytes = b"{}", more: str = "") -> bytes:
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"POST {path} HTTP/1.1\r\nHost: inside\r\n{credential}\r\n{more}{length}\r\n".encode() + body


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def test_the_placeholder_becomes_the_real_key_and_the_rest_stays(host, keep, client):
    keeper = keep()
    agent = client(keeper).say(asked(more="anthropic-beta: one,two\r\nConnection: keep-alive, x-own\r\nx-own: hop\r\n"))
    there = host.meet()
    head = there.head()
    assert head.splitlines() == [
        b"POST /v1/messages HTTP/1.1", f"host: 127.0.0.1:{host.port}".encode(), b"anthropic-beta: one,two", b"content-length: 2",
        f"x-api-key: {REAL}".encode(), b"",
    ]  # fmt: skip
    assert there.until(b"{}") == b"{}"
    there.say(OK)
    assert agent.until(b"ok") == OK
    agent.say(asked(body=b"[2]"))  # on the same two connections
    assert REAL.encode() in there.head()
    there.until(b"[2]")
    there.say(OK)
    assert agent.until(b"ok") == OK
    counts = keeper.ended()
    assert (counts["requests"], counts["bytesDown"], counts["refused"]) == (2, 2 * len(OK), {})


@pytest.mark.parametrize(
    ("kind", "header"), [("x-api-key", "x-api-key: {}"), ("bearer", "authorization: Bearer {}"), ("x-goog-api-key", "x-goog-api-key: {}")]
)
def test_each_kind_of_credential_is_shown_as_its_kind(host, keep, client, kind, header):
    agent = client(keep(Source(kind, REAL))).say(asked(header.format(PLACEHOLDER)))
    there = host.meet()
    name, _, value = header.format(REAL).partition(": ")
    assert credentials(there.head()) == {name: value}
    there.say(OK)
    agent.until(b"ok")


def test_a_login_of_a_cli_is_read_at_each_request(host, keep, client, tmp_path):
    file = tmp_path / "login.json"
    agent = client(keep(Source("bearer", login_file=str(file), login="claude")))
    there = None
    for token in ("first", "renewed"):
        file.write_text(json.dumps({"claudeAiOauth": {"accessToken": token, "expiresAt": 99999999999000}}))
        agent.say(asked(f"Authorization: Bearer {PLACEHOLDER}\r\nchatgpt-account-id: placeholder"))
        there = there or host.meet()
        assert credentials(there.head()) == {"authorization": f"Bearer {token}"}
        there.until(b"{}")
        there.say(OK)
        agent.until(b"ok")


def test_a_login_that_has_expired_is_said_to_be_and_not_shown(keep, client, tmp_path):
    file = tmp_path / "login.json"
    file.write_text(json.dumps({"claudeAiOauth": {"accessToken": REAL, "expiresAt": 1000}}))
    keeper = keep(Source("bearer", login_file=str(file), login="claude"))
    answer = client(keeper).say(asked(f"authorization: Bearer {PLACEHOLDER}")).rest()
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"the login of claude has expired" in answer


@pytest.mark.parametrize("named", [True, False])
def test_a_login_of_chatgpts_is_shown_with_its_account(host, keep, client, tmp_path, named):
    file = tmp_path / "auth.json"
    token = access_token({"exp": 99999999999, "https://api.openai.com/auth": {"chatgpt_account_id": "account-1"}})
    file.write_text(json.dumps({"tokens": {"access_token": token, "refresh_token": "r", **({"account_id": "account-2"} if named else {})}}))
    agent = client(keep(Source("bearer", login_file=str(file), login="codex")))
    agent.say(asked(f"Authorization: Bearer {PLACEHOLDER}\r\nchatgpt-account-id: placeholder"))
    there = host.meet()
    shown = {"authorization": f"Bearer {token}", "chatgpt-account-id": "account-2" if named else "account-1"}
    assert credentials(there.head()) == shown
    there.say(OK)
    agent.until(b"ok")


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        ({"access_token": "x.eyJleHAiOiAxfQ.y"}, b"the login of codex has expired"),
        ({"access_token": "plain", "account_id": "a\r\nx: y"}, b"no header can carry"),
        ({"access_token": 1}, b"codex is not logged in"),
        (None, b"codex is not logged in"),
    ],
)
def test_a_login_of_chatgpts_that_is_none_any_more_is_not_shown(keep, client, tmp_path, tokens, said):
    file = tmp_path / "auth.json"
    file.write_text(json.dumps({"OPENAI_API_KEY": "of another API", "tokens": tokens}))
    keeper = keep(Source("bearer", login_file=str(file), login="codex"))
    answer = client(keeper).say(asked(f"authorization: Bearer {PLACEHOLDER}")).rest()
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert said in answer


def access_token(claims):
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b'=').decode()}.signed"


def test_a_login_that_is_gone_names_what_to_do(keep, client, tmp_path):
    keeper = keep(Source("bearer", login_file=str(tmp_path / "none"), login="claude"))
    assert b"`devsh auth claude`" in client(keeper).say(asked(f"authorization: Bearer {PLACEHOLDER}")).rest()


def test_whoever_has_not_the_placeholder_gets_nothing(keep, client):
    keeper = keep()
    for shown in ("x-api-key: another", "x-none: 1"):
        assert client(keeper).say(asked(shown)).rest().startswith(b"HTTP/1.1 401 ")


def test_only_the_parts_of_the_api_that_agents_need_are_asked_for(host, keep, client):
    keeper = keep(base="/gateway", at="/v1", asks=(Ask("POST", "/messages"),))
    agent = client(keeper).say(asked(path="/v1/messages?beta=secret"))
    there = host.meet()
    assert there.head().startswith(b"POST /gateway/messages?beta=secret HTTP/1.1\r\n")
    there.say(OK)
    agent.until(b"ok")
    for path in ("/v1/oauth/token?code=hidden", "/v1/messages/../oauth", "/elsewhere", "/v1x/messages"):
        answer = client(keeper).say(asked(path=path)).rest()
        assert answer.startswith((b"HTTP/1.1 403 ", b"HTTP/1.1 400 ", b"HTTP/1.1 404 "))
    told = keeper.heard()
    assert told["kind"] == "refused"
    assert "hidden" not in json.dumps(told)


ENDPOINTS = {"claude": CLAUDE, "codex": CODEX, "chatgpt": CHATGPT, "gemini": GEMINI}
GENERATING = {
    "claude": ["POST /v1/messages", "POST /v1/messages/count_tokens", "GET /v1/models", "GET /v1/models/x", "HEAD /api/hello"],
    "codex": ["POST /responses", "POST /responses/compact", "POST /chat/completions", "GET /models"],
    "chatgpt": ["POST /responses", "POST /responses/compact", "GET /models"],
    "gemini": [f"POST /v1beta/models/x-2.5:{verb}" for verb in ("generateContent", "streamGenerateContent", "countTokens")],
}
KEPT = {
    "claude": [
        *("GET /v1/messages", "DELETE /v1/models/x", "POST /v1/models/x", "POST /v1/messages/batches", "POST /v1/messages/"),
        *("GET /v1/messages/batches/x/results", "POST /v1/messages/count_tokens/x", "GET /v1/modelsx", "GET /v1/models/x/y"),
    ],
    "codex": [
        *("DELETE /models/ft:x", "GET /chat/completions", "POST /chat/completions/x", "DELETE /chat/completions/x", "POST /batches"),
        *("GET /responses", "GET /responses/x", "DELETE /responses/x", "POST /responses/x/cancel", "GET /responses/x/input_items"),
    ],
    "chatgpt": ["GET /responses", "GET /responses/x", "DELETE /responses/x", "DELETE /models/x", "POST /chat/completions", "POST /batches"],
    "gemini": [
        *("POST /v1beta/models/x:batchGenerateContent", "POST /v1beta/models/x:asyncBatchEmbedContent", "POST /v1beta/models"),
        *("POST /v1beta/models/x:batchGenerateContent:generateContent", "POST /v1beta/models/x%3AbatchGenerateContent:countTokens"),
        *("GET /v1beta/models/x:generateContent", "DELETE /v1beta/models/x", "GET /v1beta/batches/x", "GET /v1beta/models/x/operations/y"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", ENDPOINTS)
def test_what_generates_is_asked_for_and_what_the_account_keeps_is_neither_read_nor_changed_nor_a_batch_made(host, keep, client, name):
    keeper = keep(asks=ENDPOINTS[name].asks)
    for line in GENERATING[name]:
        agent = client(keeper).say(asking(line))
        there = host.meet()
        assert there.head().startswith(f"{line} HTTP/1.1\r\n".encode())
        there.say(b"HTTP/1.1 204 None\r\n\r\n")
        agent.head()
    for line in KEPT[name]:
        assert client(keeper).say(asking(line)).rest().startswith(b"HTTP/1.1 403 "), line


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "x-http-method", "X-Method-Override"])
def test_a_second_method_is_refused(keep, client, name):
    assert client(keep()).say(asked(more=f"{name}: DELETE\r\n")).rest().startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("endpoint", [CODEX, CHATGPT])
def test_what_codex_asks_of_its_responses_by_get_is_a_websocket_alone(host, keep, client, endpoint):
    client(keep(at="/v1", asks=endpoint.asks)).say(UPGRADE)
    assert host.meet().head().startswith(b"GET /responses HTTP/1.1\r\n")
    for path in (b"/v1/models", b"/v1/responses/x"):
        answer = client(keep(at="/v1", asks=endpoint.asks)).say(UPGRADE.replace(b"/v1/responses", path)).rest()
        assert answer.startswith(b"HTTP/1.1 403 ")


def asking(line: str) -> bytes:
    return f"{line} HTTP/1.1\r\nHost: inside\r\nx-api-key: {PLACEHOLDER}\r\n\r\n".encode()


@pytest.mark.parametrize("veiled", ["..%2fapi", "..%2Fapi", "%2e%2E/api", "%252e%252e/api", "..%5capi", "..\\api", "..%255c"])
def test_a_path_that_a_second_reader_could_take_for_another_is_refused(keep, client, veiled):
    keeper = keep(asks=(Ask("POST", "/v1/messages"),))
    assert client(keeper).say(asked(path=f"/v1/messages/{veiled}/oauth")).rest().startswith(b"HTTP/1.1 400 ")


def test_the_last_line_is_whole_though_the_shim_reads_late():
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    facts = Facts(writing)
    for number in range(200):
        facts.refuse(f"{number}.{'x' * 250}", "w" * 60)  # more than a pipe holds
    facts.refuse("one.more", "why")
    with ThreadPoolExecutor(1) as pool, open(reading, encoding="utf-8") as told:
        pool.submit(lambda: (facts.counts(), os.close(writing)))
        last = json.loads(told.read().splitlines()[-1])
    assert (last["kind"], len(last["refused"])) == ("counts", 201)


# --- streams


def test_each_event_arrives_before_the_next_is_sent(host, keep, client):
    agent = client(keep()).say(asked())
    there = host.meet()
    there.head()
    there.say(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert agent.head().endswith(b"Transfer-Encoding: chunked\r\n\r\n")
    for event in (b"event: one\n\n", b"event: two\n\n"):
        chunk = b"%x\r\n%s\r\n" % (len(event), event)
        there.say(chunk)
        assert agent.until(event + b"\r\n") == chunk  # untouched, and there before anything more is said
    there.say(b"0\r\n\r\n")
    assert agent.until(b"0\r\n\r\n") == b"0\r\n\r\n"


def test_a_body_in_chunks_goes_up_as_it_comes(host, keep, client):
    agent = client(keep()).say(asked(body=b"", more="Transfer-Encoding: chunked\r\n") + b"3\r\nabc\r\n")
    there = host.meet()
    there.head()
    assert there.until(b"abc\r\n") == b"3\r\nabc\r\n"
    agent.say(b"1\r\nd\r\n0\r\n\r\n")
    assert there.until(b"0\r\n\r\n") == b"1\r\nd\r\n0\r\n\r\n"
    there.say(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
    assert agent.until(b"ok").count(b"HTTP/1.1") == 2


def test_large_bodies_pass_both_ways(host, keep, client):
    size = 3_000_000
    agent = client(keep())
    sent = asked(body=b"", more=f"Content-Length: {size}\r\n")
    agent.say(sent)
    there = host.meet()
    there.head()
    for piece in range(0, size, 100_000):
        agent.say(b"u" * min(100_000, size - piece))
        there.until(b"u" * 100_000)
    there.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
    agent.head()
    for _ in range(0, size, 100_000):
        there.say(b"d" * 100_000)
        agent.until(b"d" * 100_000)


def test_an_answer_that_ends_with_its_connection_ends_the_agents(host, keep, client):
    agent = client(keep()).say(asked())
    there = host.meet()
    there.head()
    there.say(b"HTTP/1.1 200 OK\r\n\r\nall that there is")
    there.close()
    assert agent.rest() == b"HTTP/1.1 200 OK\r\n\r\nall that there is"


@pytest.mark.parametrize("framing", [b"Content-Length: 100", b"Transfer-Encoding: chunked"])
def test_half_an_answer_is_seen_to_be_half(host, keep, client, framing):
    agent = client(keep()).say(asked())
    there = host.meet()
    there.head()
    there.say(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n3\r\nabc\r\n")
    there.close()
    assert agent.rest().endswith(b"\r\n\r\n3\r\nabc\r\n")


def test_a_provider_that_hangs_up_is_a_bad_gateway(host, keep, client):
    agent = client(keep()).say(asked())
    there = host.meet()
    there.head()
    there.until(b"{}")
    there.close()
    assert agent.rest().startswith(b"HTTP/1.1 502 ")


def test_a_provider_that_is_not_there_is_a_bad_gateway(host, keep, client):
    keeper = keep()
    host.close()
    assert b"cannot be reached: Connection refused" in client(keeper).say(asked()).rest()


def test_what_an_agent_no_longer_waits_for_is_no_longer_asked(host, keep, client):
    agent = client(keep()).say(asked())
    there = host.meet()
    there.head()
    there.until(b"{}")  # and never an answer
    agent.close()
    assert there.rest() == b""


def test_an_agent_that_leaves_in_its_request_leaves_no_half_request(host, keep, client):
    agent = client(keep()).say(asked(body=b"", more="Content-Length: 10\r\n") + b"half")
    there = host.meet()
    there.head()
    there.until(b"half")
    agent.end_output()
    assert (there.rest(), agent.rest()) == (b"", b"")


def test_an_answer_before_the_request_is_whole_ends_the_connection(host, keep, client):
    agent = client(keep()).say(asked(body=b"", more="Content-Length: 10\r\n") + b"half")
    there = host.meet()
    there.head()
    there.say(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
    assert agent.rest().startswith(b"HTTP/1.1 413 ")


def test_a_connection_that_the_provider_has_closed_is_made_again(host, keep, client):
    agent = client(keep()).say(asked())
    for _ in range(2):
        there = host.meet()
        there.head()
        there.until(b"{}")
        there.say(OK)
        agent.until(b"ok")
        there.close()
        agent.say(asked())
    host.meet().head()


# --- upgrades

UPGRADE = f"GET /v1/responses HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nx-api-key: {PLACEHOLDER}\r\n\r\n".encode()


def test_a_websocket_is_passed_on_and_then_left_alone(host, keep, client):
    agent = client(keep()).say(UPGRADE)
    there = host.meet()
    assert {b"connection: Upgrade", b"upgrade: websocket", f"x-api-key: {REAL}".encode()} <= set(there.head().splitlines())
    there.say(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nfirst")
    assert agent.until(b"first").startswith(b"HTTP/1.1 101 ")
    agent.say(b"\x81up")
    assert there.until(b"up") == b"\x81up"
    agent.end_output()  # half-closed: the other half goes on
    assert there.rest() == b""
    there.say(b"last")
    there.close()
    assert agent.rest() == b"last"


def test_a_websocket_that_is_refused_leaves_the_connection_as_it_was(host, keep, client):
    agent = client(keep()).say(UPGRADE)
    there = host.meet()
    there.head()
    there.say(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    assert agent.head().startswith(b"HTTP/1.1 404 ")
    agent.say(asked())
    assert there.head().startswith(b"POST ")


def test_no_other_protocol_is_changed_to(host, keep, client):
    agent = client(keep()).say(asked(more="Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n"))
    there = host.meet()
    head = there.head().lower()
    assert b"upgrade" not in head
    assert b"http2" not in head
    there.say(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    assert agent.rest().startswith(b"HTTP/1.1 502 ")


# --- heads that are not taken


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Content-Length: 2\r\nContent-Length: 2\r\n", 400),
        ("Content-Length: +2\r\n", 400),
        ("Transfer-Encoding: xchunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
        ("X-Folded: one\r\n two\r\n", 400),
        ("X-Space : one\r\n", 400),
        ("X-Bare: one\nTransfer-Encoding: chunked\r\n", 400),
        ("X-Bare: one\rtwo\r\n", 400),
        ("X-Nul: \0\r\n", 400),
        ("Host: another\r\n", 400),
        ("X-Long: " + "x" * 70_000 + "\r\n", 431),
        ("".join(f"X-{n}: 1\r\n" for n in range(200)), 431),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(keep, client, more, status):
    answer = client(keep()).say(asked(body=b"", more=more)).rest()
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert answer.count(b"HTTP/1.1") == 1


def test_a_connection_header_does_not_talk_the_framing_away(host, keep, client):
    client(keep()).say(asked(body=b"", more="Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n") + b"0\r\n\r\n")
    assert b"transfer-encoding: chunked\r\n" in host.meet().head()


@pytest.mark.parametrize(
    "body", [b"3;ext=1\r\nabc\r\n", b"0x3\r\nabc", b"3\nabc", b"3\r\nabcd\r\n", b"0\r\nX-Trailer: 1\r\n\r\n", b"-1\r\n"]
)
def test_chunks_that_are_no_plain_ones_are_refused(host, keep, client, body):
    agent = client(keep()).say(asked(body=b"", more="Transfer-Encoding: chunked\r\n") + body)
    host.meet().head()
    assert agent.rest().startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "line", ["GET / HTTP/1.0", "GET http://example.com/ HTTP/1.1", "GET  / HTTP/1.1", "get / HTTP/1.1", "GET / HTTP/2", "\x16\x03\x01"]
)
def test_only_plain_request_lines_are_taken(keep, client, line):
    assert b" 200 " not in client(keep()).say(f"{line}\r\nHost: x\r\nx-api-key: {PLACEHOLDER}\r\n\r\n".encode()).rest().split(b"\r\n")[0]


def test_an_answer_with_two_framings_is_not_handed_on(host, keep, client):
    agent = client(keep()).say(asked())
    there = host.meet()
    there.head()
    there.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert agent.rest().startswith(b"HTTP/1.1 502 ")


# --- facts


def test_what_the_provider_says_of_login_and_limits_reaches_the_agent_who_classes_it(host, keep, client):
    keeper = keep()
    agent = client(keeper)
    there = None
    for answer in (b"401 No", b"429 Slow\r\nRetry-After: 30", b"200 OK"):
        agent.say(asked())
        there = there or host.meet()
        there.head()
        there.until(b"{}")
        there.say(b"HTTP/1.1 " + answer + b"\r\nContent-Length: 0\r\n\r\n")
        assert agent.head().startswith(b"HTTP/1.1 " + answer)
    assert (keeper.ended()["requests"], keeper.heard()) == (3, {})


# --- the process


def test_the_key_is_in_nothing_that_can_be_read_of_the_process(host, keep, client):
    keeper = keep()
    agent = client(keeper).say(asked())  # its whole plan is read by then
    there = host.meet()
    there.head()
    process = pathlib.Path(f"/proc/{keeper.pid}")
    for name in ("cmdline", "environ", "comm", "status"):
        assert REAL.encode() not in (process / name).read_bytes()
    assert (process / "comm").read_text() == "devsh-broker\n"
    assert process.joinpath("environ").stat().st_uid == 0  # of nobody else, whoever we are
    links = {link.readlink() for link in (process / "fd").iterdir()} if pathlib.Path("/proc/1/environ").stat().st_uid == 0 else set()
    assert not any(REAL in str(link) for link in links)
    there.say(OK)
    agent.until(b"ok")


def test_it_ends_with_whoever_keeps_it(host, keep, client):
    keeper = keep()
    agent = client(keeper).say(asked())
    there = host.meet()
    there.head()
    there.until(b"{}")
    keeper.process.kill()
    assert (there.rest(), agent.rest()) == (b"", b"")


def test_that_it_has_died_is_told(keep):
    keeper = keep()
    os.kill(keeper.pid, signal.SIGKILL)
    assert keeper.heard() == {"kind": "gone"}
    assert keeper.ended() == {}


# --- to other hosts


def connect(place: str) -> bytes:
    return f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode()


def test_a_host_that_is_allowed_is_connected_to_and_half_closes_are_kept(host, keep, client):
    keeper = keep(allow=(f"localhost:{host.port}",))
    agent = client(keeper).say(connect(f"localhost:{host.port}"))
    assert agent.head().startswith(b"HTTP/1.1 200 ")
    there = host.meet()
    agent.say(b"\x16 whatever").end_output()
    assert there.rest() == b"\x16 whatever"
    there.say(b"an answer")
    there.close()
    assert agent.rest() == b"an answer"


@pytest.mark.parametrize("more", ["", "Host: localhost\r\n"])
def test_the_older_connect_of_python_and_pip_is_taken_as_well(host, keep, client, more):
    keeper = keep(allow=(f"localhost:{host.port}",))
    agent = client(keeper).say(f"CONNECT localhost:{host.port} HTTP/1.0\r\n{more}\r\n".encode())
    assert agent.head().startswith(b"HTTP/1.1 200 ")
    there = host.meet()
    there.say(b"an answer")
    there.close()
    assert agent.rest() == b"an answer"
    assert client(keeper).say(b"CONNECT example.org:443 HTTP/1.0\r\n\r\n").rest().startswith(b"HTTP/1.1 403 ")


def test_a_host_that_is_not_allowed_is_refused_and_told(host, keep, client):
    keeper = keep(allow=("example.com", f"*.example.com:{host.port}"))
    for place in ("example.org:443", "example.org:443", "example.com:22", f"127.0.0.1:{host.port}"):
        answer = client(keeper).say(connect(place)).rest()
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"--network allow:" in answer
    assert [keeper.heard()["host"] for _ in range(3)] == ["example.org:443", "example.com:22", f"127.0.0.1:{host.port}"]
    assert keeper.ended()["refused"] == {"example.org:443": 2, "example.com:22": 1, f"127.0.0.1:{host.port}": 1}


def test_a_name_that_leads_to_a_private_address_is_refused(keep, client):
    name = socket.gethostname()  # what this machine calls itself leads to itself
    found = {str(each[4][0]) for each in socket.getaddrinfo(name, 443)} if is_resolvable(name) else set()
    if not found or not all(address.startswith(("127.", "10.", "172.", "192.168.", "::1", "fe80")) for address in found):
        pytest.skip("this machine's own name leads to no private address")
    keeper = keep(allow=(name,))
    assert b"a private address" in client(keeper).say(connect(f"{name}:443")).rest()
    assert keeper.heard()["kind"] == "refused"


@pytest.mark.parametrize("place", ["example.com", "example.com:0", "example.com:99999", "user@example.com:443", "a b:443", "/v1"])
def test_a_place_that_is_none_is_refused(keep, client, place):
    assert client(keep(allow=("example.com",))).say(connect(place)).rest().startswith(b"HTTP/1.1 400 ")


def test_the_callers_proxy_is_asked(host, keep, client):
    keeper = keep(allow=("example.com",), proxy=f"http://127.0.0.1:{host.port}/")
    agent = client(keeper).say(connect("example.com:443"))
    proxy = host.meet()
    assert proxy.head().startswith(b"CONNECT example.com:443 HTTP/1.1\r\n")
    proxy.say(b"HTTP/1.1 200 OK\r\n\r\nhello")
    assert agent.until(b"hello").startswith(b"HTTP/1.1 200 ")


def is_resolvable(name: str) -> bool:
    try:
        return bool(socket.getaddrinfo(name, 443))
    except OSError:
        return False


def credentials(head: bytes) -> dict[str, str]:
    pairs = (line.partition(": ") for line in head.decode().splitlines()[1:])
    return {name: value for name, _, value in pairs if name in ("authorization", "x-api-key", "x-goog-api-key", "chatgpt-account-id")}


def test_a_limit_is_told_as_long_as_the_provider_has_not_answered_again(host, keep, client):
    refused = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 60\r\nContent-Length: 0\r\n\r\n"
    for answers, limited in (([refused], [429]), ([OK, refused, OK], [])):
        keeper = keep()
        agent, there = client(keeper), None
        for answer in answers:
            agent.say(asked())
            there = there or host.meet()
            there.head()
            there.until(b"{}")
            there.say(answer)
            assert agent.until(b"\r\n\r\n" if answer is refused else b"ok") == answer
        limit = keeper.ended()["limit"]
        assert [limit["status"]] == limited if limited else limit is None
