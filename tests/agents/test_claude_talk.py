"""The conversation with Claude Code, held by runs of claude 2.1.330: recorded, with what nobody reads taken out."""

import json
from collections.abc import Iterator, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from devsh_memory_mcp.agents.adapter import Ending, Fact, Session, Verdict
from devsh_memory_mcp.agents.claude_talk import ClaudeTalk, line_id, user_line

HERE = Path(__file__).parent
RUNS = {run["case"]: run for run in map(json.loads, (HERE / "claude_ends.jsonl").read_text(encoding="utf-8").splitlines())}
MEGABYTE = "x" * 1_000_000


class Heard(NamedTuple):
    """What a run came to, and after which of its lines the conversation was over."""

    verdict: Verdict
    facts: list[Fact]
    over: list[int]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [fact.values for fact in self.facts if fact.kind == kind]


def heard(case: str, *, told: dict[int, str] | None = None, before: float = 0.0) -> Heard:
    """The whole run; `told` are the messages that were sent to it, `before` what its session had cost."""
    run = RUNS[case]
    talk, facts, over = ClaudeTalk(Session(run["session"], cost_usd=before), "api"), [], []
    for number, text in (told or {}).items():
        talk.say(number, text)
    for number, line in enumerate(run["lines"]):
        facts += talk.hear(json.dumps(line).encode() + b"\n")
        if talk.is_over:
            over.append(number)
    ending = Ending(run.get("exit_code"), run.get("signal"), "", run.get("stderr", ""), truncated=False)
    return Heard(talk.verdict(ending), facts, over)


@pytest.mark.parametrize(
    ("case", "failure", "said"),
    [
        ("auth key", "auth", "Invalid API key"),
        ("auth token", "auth", "401 Invalid bearer token"),
        ("not logged in", "auth", "Not logged in"),
        ("forbidden", "auth", "403"),
        ("limit", "rate_limit", "You've hit your 5-hour limit"),
        ("too many", "rate_limit", "slow down"),
        ("overloaded", "overload", "529 Overloaded"),
        ("server error", "overload", "500 Internal"),
        ("too long", "context", "Prompt is too long"),
        ("refusal", "refusal", "Haiku 4.5 can't help with this"),
        ("turns", "turns", "Reached maximum number of turns (1)"),
        ("budget", "cost", "Reached maximum budget ($1)"),
        ("invalid", "api", "400 messages: no"),
        ("billing", "api", "Credit balance is too low"),
        ("unknown model", "api", "issue with the selected model (my-own-model)"),
        ("max tokens", "api", "exceeded the 32000 output token maximum"),
        ("only interrupted", "api", "ede_diagnostic"),
        ("denied", "permission", "Nothing that it tried was allowed"),
        ("killed", "crash", "without a result (signal 9)"),
        ("bad flag", "crash", "without a result (exit code 1): error: unknown option '--no-such-flag'"),
    ],
)
def test_each_way_to_fail_has_its_class_and_its_words(case: str, failure: str, said: str) -> None:
    verdict = heard(case).verdict
    assert (verdict.succeeded, verdict.failure) == (False, failure)
    assert said in str(verdict.error_message)
    assert verdict.result is None or failure == "permission"


def test_a_success_has_its_last_words_its_figures_and_its_session() -> None:
    run = heard("success")
    usage = {"inputTokens": 3000, "outputTokens": 70, "cacheReadTokens": 500, "cacheWriteTokens": 0, "turns": 2}
    assert run.verdict == Verdict(
        succeeded=True,
        result="Done.",
        usage=usage,
        cost_usd=0.0034,
        session_cost_usd=pytest.approx(0.0034),
        cost_basis="api",
        session_id=RUNS["success"]["session"],
        tool_calls=1,
        commands=1,
        stop_reason="end_turn",
    )
    assert run.of("session") == [{"sessionId": RUNS["success"]["session"], "model": "claude-haiku-4-5"}]
    assert [fact["words"] for fact in run.of("activity")] == ["says: I look.", "runs `pwd`", "says: Done."]
    assert run.of("usage") == [usage | {"costUsd": 0.0034}]


def test_an_exit_that_is_none_of_a_success_is_none_whatever_was_said_before() -> None:
    talk = ClaudeTalk(None, "api")
    for line in RUNS["success"]["lines"]:
        talk.hear(json.dumps(line).encode())
    verdict = talk.verdict(Ending(3, None, "", "it broke", truncated=False))
    assert (verdict.failure, verdict.error_message) == ("crash", "claude ended with exit code 3 after its answer: it broke")


def test_a_resumed_session_costs_what_came_on_top() -> None:
    verdict = heard("resumed", before=0.0034).verdict
    assert (verdict.cost_usd, verdict.session_cost_usd) == (0.00015, pytest.approx(0.00355))
    assert heard("resumed", before=0.0034).of("usage")[-1]["costUsd"] == 0.00015


def test_a_model_that_it_does_not_know_has_no_price() -> None:
    verdict = heard("own model").verdict
    assert (verdict.succeeded, verdict.cost_usd, verdict.session_cost_usd, verdict.cost_basis) == (True, None, None, "unknown")
    assert verdict.warnings


def test_a_limit_says_when_it_is_over_and_one_that_was_not_reached_does_not() -> None:
    assert heard("limit").verdict.retry_at == 2_000_000_000
    assert (heard("limit passed").verdict.succeeded, heard("limit passed").verdict.retry_at) == (True, None)


NO_FIGURES = ["NaN", "Infinity", "-Infinity", "1e999", "1e300", f"1{'0' * 400}", f"1{'0' * 5000}", "-5", "true", '"1"', "null", "{}"]


def numbers(facts: Sequence[Fact], verdict: Verdict) -> list[object]:
    """All that is written down of what was told in figures."""
    told = [value for fact in facts for value in fact.values.values()]
    return [*told, *(verdict.usage or {}).values(), verdict.cost_usd, verdict.session_cost_usd, verdict.retry_at]


@pytest.mark.parametrize("text", NO_FIGURES)
@pytest.mark.parametrize("place", ["total_cost_usd", "num_turns", "input_tokens", "output_tokens", "resetsAt"])
def test_a_figure_that_is_none_is_left_out_and_spoils_no_end(place: str, text: str) -> None:
    figures = dict.fromkeys(("total_cost_usd", "num_turns", "input_tokens", "output_tokens", "resetsAt"), "1") | {place: text}
    limit = '{"type":"rate_limit_event","rate_limit_info":{"status":"rejected","resetsAt":%(resetsAt)s}}'
    result = (
        '{"type":"result","subtype":"success","is_error":true,"api_error_status":429,"result":"no","total_cost_usd":%(total_cost_usd)s,'
        '"num_turns":%(num_turns)s,"usage":{"input_tokens":%(input_tokens)s,"output_tokens":%(output_tokens)s}}'
    )
    talk = ClaudeTalk(None, "api")
    facts = [fact for line in (limit, result) for fact in talk.hear((line % figures).encode())]
    verdict = talk.verdict(Ending(1, None, "", "", truncated=False))
    is_read = len(text) < 5000  # of so many digits Python makes no number, so the line is none
    assert (verdict.succeeded, verdict.failure) == (False, "rate_limit" if is_read or place == "resetsAt" else "crash")
    assert [number for number in numbers(facts, verdict) if number not in (None, 0, 1)] == []


def test_a_retry_of_the_api_is_told_and_forgotten() -> None:
    run = heard("overloaded, retried")
    assert run.of("activity")[0] == {"words": "waits for the API (overloaded), try 1 of 1"}
    assert (run.verdict.succeeded, run.verdict.failure) == (True, None)


def test_what_was_denied_is_asked_for_once() -> None:
    run = heard("denied")
    [need] = run.of("needs_input")
    assert need["kind"] == "permission"
    assert "npm install left-pad" in need["message"]
    assert "npm install left-pad" in str(run.verdict.needs_input)


def test_a_login_that_is_refused_says_what_to_type() -> None:
    assert "claude setup-token" in str(heard("auth key").verdict.needs_input)


def test_it_is_over_with_the_result_where_nothing_is_unread() -> None:
    assert heard("success").over == [len(RUNS["success"]["lines"]) - 2, len(RUNS["success"]["lines"]) - 1]


@pytest.mark.parametrize(("case", "number"), [("interrupted", 7), ("told at its end", 9)])
def test_a_message_has_its_receipt_and_the_answer_to_it_is_the_result(case: str, number: int) -> None:
    lines = RUNS[case]["lines"]
    replay = next(at for at, line in enumerate(lines) if line.get("uuid", "").endswith(f"{number:012x}"))
    first, last = (at for at, line in enumerate(lines) if line["type"] == "result")
    run = heard(case, told={number: "a word with you"})
    assert run.of("delivered") == [{"messageId": number}]
    assert first < replay < last == run.over[0]
    assert (run.verdict.succeeded, run.verdict.result) == (True, lines[last]["result"])
    assert run.verdict.usage is not None
    assert run.verdict.usage["inputTokens"] == 200


def test_a_message_that_was_never_read_keeps_it_open() -> None:
    assert heard("success", told={5: "did you see this?"}).over == []


def test_a_receipt_comes_once_and_a_strangers_uuid_is_none() -> None:
    session = Session("7a1c1e4e-2f0a-4f1e-9d5c-0123456789ab")
    talk = ClaudeTalk(session, "api")
    said = json.loads(talk.say(41, "hello"))
    other = json.dumps(said | {"isReplay": True, "uuid": "0" * 24 + said["uuid"][24:]}).encode()
    replay = json.dumps(said | {"isReplay": True}).encode()
    assert [list(talk.hear(line)) for line in (other, replay, replay)] == [[], [Fact("delivered", {"messageId": 41})], []]


def test_what_it_is_told_is_one_line_each_with_an_interrupt_before_it_where_one_is_asked_for() -> None:
    session = Session("7a1c1e4e-2f0a-4f1e-9d5c-0123456789ab")
    stop, line = ClaudeTalk(session, "api").say(41, "two\nlines", interrupt=True).splitlines()
    assert json.loads(stop)["request"] == {"subtype": "interrupt"}
    assert line + b"\n" == user_line("two\nlines", session, 41)
    assert json.loads(line)["message"] == {"role": "user", "content": "two\nlines"}
    assert json.loads(line)["uuid"] == line_id(session, 41) == "7a1c1e4e-2f0a-4f1e-9d5c-000000000029"


def test_a_megabyte_is_heard_like_a_word() -> None:
    talk = ClaudeTalk(None, "api")
    for line in RUNS["success"]["lines"]:
        text = json.dumps(line).replace("I look.", MEGABYTE).replace("Done.", MEGABYTE).replace("/home/someone", MEGABYTE)
        assert all(len(str(fact.values)) < 400 for fact in talk.hear(text.encode()))
    assert talk.verdict(Ending(0, None, "", "", truncated=True)).result == MEGABYTE


@pytest.mark.parametrize(
    "line",
    [
        b"", b"\n", b"{", b"\xff\xfe", b"null", b"[]", b'"result"', b"[" * 100_000,
        b'{"type":null}', b'{"type":["result"]}', b'{"type":"new"}',
        b'{"type":"assistant"}', b'{"type":"assistant","message":{"content":"text"}}', b'{"type":"user","message":[]}',
        b'{"type":"system"}', b'{"type":"system","subtype":"init"}', b'{"type":"rate_limit_event","rate_limit_info":null}',
        b'{"type":"user","isReplay":true}', b'{"type":"system","subtype":"permission_denied"}',
    ],
)  # fmt: skip
def test_a_line_that_it_does_not_understand_says_nothing_and_changes_nothing(line: bytes) -> None:
    talk = ClaudeTalk(None, "api")
    assert list(talk.hear(line)) == []
    assert not talk.is_over
    assert talk.verdict(Ending(0, None, "", "", truncated=False)).failure == "crash"


def places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The way to each value in a line."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield (*path, key)
        yield from places(each, (*path, key))


def spoilt(line: Any, path: tuple[str | int, ...], value: object) -> bytes:
    """The line with another value in one place."""
    copy = json.loads(json.dumps(line))
    reduce(lambda inner, key: inner[key], path[:-1], copy)[path[-1]] = value
    return json.dumps(copy).encode()


@pytest.mark.parametrize("case", ["success", "denied", "limit", "turns", "interrupted", "refusal", "unknown model"])
def test_whatever_stands_in_a_place_of_a_line_the_conversation_ends_with_a_verdict(case: str) -> None:
    for line in RUNS[case]["lines"]:
        for path in places(line):
            for value in (None, True, 3, 1e999, "x", [], [[3]], {}, {"x": {}}):
                talk = ClaudeTalk(Session("s"), "api")
                facts = talk.hear(spoilt(line, path, value))
                verdict = talk.verdict(Ending(0, None, "", "", truncated=False))
                assert verdict.succeeded is not bool(verdict.error_message)
                assert all(isinstance(text, str | None) for text in (verdict.result, verdict.session_id, verdict.error_message))
                json.dumps([fact.values for fact in facts])
