"""The conversation with Codex, held by runs of codex 0.169.0: recorded, with what nobody reads taken out."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from devsh_memory_mcp.agents.adapter import Assignment, Ending, Fact, Session, Verdict
from devsh_memory_mcp.agents.codex import Codex
from devsh_memory_mcp.agents.codex_talk import CodexTalk

HERE = Path(__file__).parent
RUNS = {run["case"]: run for run in map(json.loads, (HERE / "codex_ends.jsonl").read_text(encoding="utf-8").splitlines())}
WORKSPACE = "/m/runs/run_1/1/workspace"


class Heard(NamedTuple):
    """What a run came to, what was written to it, and after which of its lines the conversation was over."""

    verdict: Verdict
    facts: list[Fact]
    written: list[dict[str, Any]]
    over: list[int]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [fact.values for fact in self.facts if fact.kind == kind]

    def requests(self, method: str) -> list[dict[str, Any]]:
        return [line["params"] for line in self.written if line.get("method") == method]


def assigned(run: dict[str, Any], **fields: Any) -> Assignment:
    session = Session("unused", run["resumes"]) if run["resumes"] else None
    return Assignment("codex/x", run["prompt"], "/p", WORKSPACE, {"PATH": "/bin"}, session, run["permissions"])._replace(**fields)


def heard(case: str, **fields: Any) -> Heard:
    """The whole run; what was said to it is said where it was."""
    run = RUNS[case]
    talk, facts, over, written = CodexTalk(run["model"], assigned(run, **fields)), [], [], b""
    written += talk.opening()
    for number, line in enumerate(run["lines"]):
        if "say" in line:
            message_id, text, interrupt = line["say"]
            written += talk.say(message_id, text, interrupt=interrupt)
        else:
            facts += talk.hear(json.dumps(line).encode() + b"\n")
            written += talk.owed()
        if talk.is_over:
            over.append(number)
    ending = Ending(run["exit_code"], run["signal"], "", run["stderr"], truncated=False)
    return Heard(talk.verdict(ending), facts, [json.loads(line) for line in written.splitlines()], over)


@pytest.mark.parametrize(
    ("case", "failure", "said"),
    [
        ("auth key", "auth", "401 Unauthorized: Incorrect API key"),
        ("not logged in", "auth", "401 Unauthorized: Missing bearer"),
        ("forbidden", "auth", "403 Forbidden"),
        ("limit", "rate_limit", "You’ve hit your usage limit"),
        ("quota", "rate_limit", "Quota exceeded"),
        ("too many", "rate_limit", "429 Too Many Requests"),
        ("capacity", "overload", "Selected model is at capacity"),
        ("server error", "overload", "high demand"),
        ("too long", "context", "ran out of room"),
        ("policy", "refusal", "This was flagged"),
        ("no model", "api", "does not exist"),
        ("invalid", "api", "input: no"),
        ("denied", "permission", "Nothing that it tried was allowed"),
        ("no wall", "permission", "its own sandbox cannot be made on this machine"),
        ("no server", "crash", "devsh-memory: No such file or directory"),
        ("no such session", "crash", "no rollout found for thread id"),
        ("killed", "crash", "without a result (signal 9)"),
    ],
)
def test_each_way_to_fail_has_its_class_and_its_words(case: str, failure: str, said: str) -> None:
    run = heard(case)
    assert (run.verdict.succeeded, run.verdict.failure) == (False, failure)
    assert said in str(run.verdict.error_message)
    assert run.verdict.result is None or failure == "permission"
    assert case == "killed" or run.over == [len(RUNS[case]["lines"]) - 1]


def test_a_success_has_its_last_words_its_figures_and_its_session_and_no_cost() -> None:
    run = heard("success")
    session = run.of("session")[0]["sessionId"]
    usage = {"inputTokens": 2600, "outputTokens": 70, "cacheReadTokens": 400, "cacheWriteTokens": 0, "turns": 2}
    assert run.verdict == Verdict(
        succeeded=True, result="Done.", usage=usage, cost_basis="unknown", session_id=session, tool_calls=2, commands=1
    )
    assert run.of("session") == [{"sessionId": session, "model": "gpt-5.5"}]
    assert [fact["words"] for fact in run.of("activity")] == ["says: I look.", "runs `pwd`", "writes a.txt", "says: Done."]
    assert run.of("usage")[-1] == usage | {"costUsd": None}
    assert run.over == [len(RUNS["success"]["lines"]) - 1]


def test_a_session_that_goes_on_is_a_thread_of_its_own_and_counts_what_came_on_top() -> None:
    run = heard("resumed")
    assert run.requests("thread/fork")[0]["threadId"] == RUNS["resumed"]["resumes"]
    assert run.verdict.session_id not in (None, RUNS["resumed"]["resumes"])
    assert (run.verdict.usage or {})["inputTokens"] == 2500


@pytest.mark.parametrize(("case", "most", "is_ended"), [("success", 1, True), ("success", 2, False), ("steered", 1, True)])
def test_it_is_ended_where_it_goes_on_after_the_last_turn_that_it_may_take(case: str, most: int, is_ended: bool) -> None:
    run = heard(case, max_turns=most)
    assert len(run.requests("turn/interrupt")) == is_ended
    assert run.verdict.failure == ("turns" if is_ended else None)


def test_what_it_was_not_allowed_was_called_all_the_same() -> None:
    verdict = heard("denied").verdict
    assert (verdict.tool_calls, verdict.commands) == (2, 1)


def test_a_message_is_handed_to_the_turn_that_goes_on_and_its_receipt_comes_when_it_is_read() -> None:
    run = heard("steered")
    [steered] = run.requests("turn/steer")
    assert (steered["clientUserMessageId"], steered["input"]) == ("7", [{"type": "text", "text": "use tabs"}])
    assert run.of("delivered") == [{"messageId": 7}]
    assert (run.verdict.succeeded, run.verdict.result) == (True, "Changed.")


def test_an_interrupt_ends_the_turn_and_the_message_begins_the_next() -> None:
    run = heard("interrupted")
    assert len(run.requests("turn/interrupt")) == 1
    assert [turn["input"][0]["text"] for turn in run.requests("turn/start")] == ["INTERRUPTED", "stop that"]
    assert run.of("delivered") == [{"messageId": 7}]
    assert (run.verdict.succeeded, run.verdict.result) == (True, "Turned around.")


def test_what_it_asks_for_is_declined_and_told_with_what_it_wants_it_for() -> None:
    run = heard("denied")
    assert [line["result"] for line in run.written if "result" in line] == [{"decision": "decline"}] * 2
    told = [fact["message"] for fact in run.of("needs_input")]
    assert ["runs `npm install left-pad` (It is needed.)" in told[0], "writes /outside.txt" in told[1], len(told)] == [True, True, 2]
    assert "~/.codex/rules" in str(run.verdict.needs_input)


def test_a_limit_says_when_it_is_over_and_a_login_that_is_refused_what_to_type() -> None:
    assert heard("limit").verdict.retry_at == 2_000_000_000
    assert heard("too many").verdict.retry_at is None
    assert "codex login" in str(heard("auth key").verdict.needs_input)
    assert "permissions bypass" in str(heard("no wall").verdict.needs_input)


def test_a_model_that_it_does_not_know_passes_with_a_warning() -> None:
    verdict = heard("unknown model").verdict
    assert (verdict.succeeded, verdict.warnings) == (True, ("This codex does not know the model my-own-model.",))


@pytest.mark.parametrize("case", sorted(RUNS))
def test_what_it_printed_alone_tells_what_it_had_come_to(case: str) -> None:
    run = RUNS[case]
    talk = CodexTalk(run["model"], assigned(run))
    for line in run["lines"]:
        talk.hear(json.dumps(line).encode())
    ending = Ending(run["exit_code"], run["signal"], "", run["stderr"], truncated=False)
    assert talk.verdict(ending) == heard(case).verdict


# --- what no run was recorded of


def begun(**fields: Any) -> tuple[CodexTalk, list[dict[str, Any]]]:
    """A talk whose first turn goes on, and what was written to it since."""
    talk = CodexTalk("gpt-5.5", assigned(RUNS["steered"], **fields))
    for line in ({"id": "thread", "result": {"thread": {"id": "t"}}}, {"id": "turn-1", "result": {"turn": {"id": "u1"}}}):
        tell(talk, line)
    return talk, tell(talk, item("userMessage", clientId="0"))


def tell(talk: CodexTalk, *lines: dict[str, Any]) -> list[dict[str, Any]]:
    for line in lines:
        talk.hear(json.dumps(line).encode())
    return [json.loads(line) for line in talk.owed().splitlines()]


def item(kind: str, **fields: Any) -> dict[str, Any]:
    return {"method": "item/started", "params": {"threadId": "t", "item": {"type": kind, "id": "i", **fields}}}


def over(turn: str, status: str = "completed") -> dict[str, Any]:
    return {"method": "turn/completed", "params": {"threadId": "t", "turn": {"id": turn, "status": status}}}


def methods(lines: Sequence[dict[str, Any]]) -> list[str]:
    return [line["method"] for line in lines]


def said(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.splitlines()]


def test_a_message_that_comes_before_the_thread_waits_for_the_prompt() -> None:
    talk = CodexTalk("gpt-5.5", assigned(RUNS["steered"]))
    assert talk.say(3, "early") == b""
    [turn] = tell(talk, {"id": "thread", "result": {"thread": {"id": "t"}}})
    assert turn["params"]["input"][0]["text"] == "STEERED"
    [steer] = tell(talk, {"id": "turn-1", "result": {"turn": {"id": "u1"}}})
    assert (steer["method"], steer["params"]["expectedTurnId"], steer["params"]["input"][0]["text"]) == ("turn/steer", "u1", "early")


def test_one_that_comes_too_late_for_a_turn_begins_the_next() -> None:
    talk, _ = begun()
    assert methods(said(talk.say(3, "late"))) == ["turn/steer"]
    assert tell(talk, {"id": "steer-3", "error": {"code": -32600, "message": "no active turn to steer"}}) == []
    assert not talk.is_over
    [turn] = tell(talk, over("u1"))
    assert (turn["method"], turn["params"]["clientUserMessageId"]) == ("turn/start", "3")
    assert tell(talk, {"id": "turn-2", "result": {"turn": {"id": "u2"}}}, item("userMessage", clientId="3"), over("u2")) == []
    assert talk.is_over


def test_one_that_was_handed_over_and_never_read_is_said_again() -> None:
    talk, _ = begun()
    talk.say(3, "unread")
    assert methods(tell(talk, over("u1"))) == ["turn/start"]


def test_an_interrupt_before_the_turn_has_a_name_waits_for_it() -> None:
    talk = CodexTalk("gpt-5.5", assigned(RUNS["steered"]))
    tell(talk, {"id": "thread", "result": {"thread": {"id": "t"}}})
    assert talk.say(3, "stop", interrupt=True) == b""
    assert methods(tell(talk, {"id": "turn-1", "result": {"turn": {"id": "u1"}}})) == ["turn/interrupt"]
    again = tell(talk, over("u1", "interrupted"))
    assert [line["params"]["input"][0]["text"] for line in again] == ["STEERED"]  # which it had not read
    steered = tell(talk, {"id": "turn-2", "result": {"turn": {"id": "u2"}}})
    assert [line["params"]["input"][0]["text"] for line in steered] == ["stop"]


def test_turns_of_its_own_sub_agents_end_nothing() -> None:
    talk, _ = begun()
    other = over("u1")
    other["params"]["threadId"] = "another"
    tell(talk, other)
    assert not talk.is_over


def test_a_turn_that_nobody_interrupted_and_that_is_not_completed_is_no_success() -> None:
    talk, _ = begun()
    tell(talk, over("u1", "interrupted"))
    verdict = talk.verdict(Ending(0, None, "", "", truncated=False))
    assert (talk.is_over, verdict.succeeded, verdict.error_message) == (True, False, "codex: its turn was interrupted")


def test_an_exit_that_is_none_of_a_success_is_none_whatever_was_said_before() -> None:
    talk, _ = begun()
    tell(talk, over("u1"))
    verdict = talk.verdict(Ending(3, None, "", "it broke", truncated=False))
    assert (verdict.failure, verdict.error_message) == ("crash", "codex ended with exit code 3 after its answer: it broke")


def test_whatever_else_it_asks_for_is_answered_so_that_it_goes_on() -> None:
    talk, _ = begun()
    [answer] = tell(talk, {"id": 5, "method": "item/tool/requestUserInput", "params": {"threadId": "t"}})
    assert (answer["id"], answer["error"]["code"]) == (5, -32601)
    [answer] = tell(talk, {"id": 6, "method": "mcpServer/elicitation/request", "params": {"threadId": "t"}})
    assert answer["result"] == {"action": "decline"}


NO_FIGURES = [float("nan"), float("inf"), -5, True, "1", None, {}, [], 10**400]


@pytest.mark.parametrize("figure", NO_FIGURES, ids=lambda figure: repr(figure)[:12])
def test_no_figure_of_its_can_break_the_talk(figure: object) -> None:
    talk, _ = begun()
    for told in ({"total": {"inputTokens": figure}, "last": {"inputTokens": figure}}, figure):
        tell(talk, {"method": "thread/tokenUsage/updated", "params": {"threadId": "t", "tokenUsage": told}})
    limits = {"primary": {"usedPercent": figure, "resetsAt": figure}, "secondary": figure}
    tell(talk, {"method": "account/rateLimits/updated", "params": {"rateLimits": limits}}, over("u1"))
    verdict = talk.verdict(Ending(0, None, "", "", truncated=False))
    assert (verdict.succeeded, json.loads(json.dumps(verdict.usage, allow_nan=False))["inputTokens"]) == (True, 0)


LINES = sorted({json.dumps(line) for run in RUNS.values() for line in run["lines"]})


@pytest.mark.parametrize("bad", [None, 1, "x", [], {}, [[]]])
def test_a_shape_that_another_release_gave_it_is_left_out(bad: object) -> None:
    for line in map(json.loads, LINES):
        for inner in (line, line.get("params"), (line.get("params") or {}).get("item"), (line.get("params") or {}).get("turn")):
            for name in list(inner or ()):
                talk, _ = begun()
                kept = inner[name]
                inner[name] = bad
                talk.hear(json.dumps(line).encode())
                talk.owed()
                Codex("x").narrate(json.dumps(line))
                inner[name] = kept


# --- how it is started


def test_its_thread_is_walled_in_commits_and_sees_our_server_alone() -> None:
    assignment = assigned(RUNS["success"], server=("/bin/server", "--x"), hide=("mine",), environment={"CMUX_TASK_RUN_ID": "r"})
    talk = CodexTalk("gpt-5.5", assignment)
    opening = said(talk.opening())
    assert methods(opening) == ["initialize", "initialized", "command/exec"]
    [start] = tell(talk, {"id": "wall", "result": {"exitCode": 0, "stdout": "", "stderr": ""}})
    told = start["params"]
    assert (start["method"], told["sandbox"], told["approvalPolicy"]) == ("thread/start", "workspace-write", "on-request")
    assert told["config"]["sandbox_workspace_write"]["writable_roots"] == [f"{WORKSPACE}/.git"]
    servers = told["config"]["mcp_servers"]
    assert servers["mine"] == {"enabled": False}
    ours = servers["devsh-memory"]
    assert (ours["command"], ours["args"], ours["env_vars"]) == ("/bin/server", ["--x"], ["CMUX_TASK_RUN_ID"])


def test_one_that_may_do_anything_has_no_wall() -> None:
    opening = said(CodexTalk("gpt-5.5", assigned(RUNS["success"], permissions="bypass")).opening())
    assert methods(opening) == ["initialize", "initialized", "thread/start"]
    assert (opening[-1]["params"]["sandbox"], opening[-1]["params"]["approvalPolicy"]) == ("danger-full-access", "never")


def test_a_key_is_named_to_it_and_a_login_of_its_own_is_left_to_it() -> None:
    here = {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}
    keyed = Codex("gpt-5.5").command(assigned(RUNS["success"], credentials=("OPENAI_API_KEY",), environment=here)).argv
    assert 'model_provider="devsh"' in keyed
    assert any('env_key="OPENAI_API_KEY"' in word and "http://127.0.0.1:1/v1" in word for word in keyed)
    own = Codex("gpt-5.5").command(assigned(RUNS["success"], environment=here)).argv
    assert not any("model_provider" in word or "127.0.0.1" in word for word in own)
    assert (keyed[:2], own[:2]) == (("codex", "app-server"),) * 2


BROKER = {"CHATGPT_BASE_URL": "http://127.0.0.1:1/v1", "CHATGPT_LOGIN": "stands-for-it"}
RENEWAL = {"id": 7, "method": "account/chatgptAuthTokens/refresh", "params": {"reason": "unauthorized"}}
LETTERS = {"accessToken": "stands-for-it", "chatgptAccountId": "devsh"}


def test_a_broker_is_its_provider_where_that_shows_a_login_of_chatgpts() -> None:
    def settings(**fields: Any) -> list[str]:
        argv = Codex("gpt-5.5").command(assigned(RUNS["success"], environment=BROKER, **fields)).argv
        return [word for word in argv if "base_url" in word]

    assert settings(is_walled=True) == ['openai_base_url="http://127.0.0.1:1/v1"', 'chatgpt_base_url="http://127.0.0.1:1/none"']
    assert settings() == [], "outside its own login is its own affair"
    assert "model_providers" in settings(is_walled=True, credentials=("OPENAI_API_KEY",))[0]


def test_it_is_logged_in_with_what_stands_for_its_login_before_its_thread_begins() -> None:
    talk = CodexTalk("gpt-5.5", assigned(RUNS["success"], environment=BROKER, is_walled=True))
    greeting, _, login = said(talk.opening())
    assert greeting["params"]["capabilities"]["experimentalApi"] is True
    assert (login["method"], login["params"]) == ("account/login/start", {"type": "chatgptAuthTokens", **LETTERS})
    talk.hear(b'{"id":"login","result":{"type":"chatgptAuthTokens"}}')
    assert methods(said(talk.owed())) == ["thread/start"]


def test_a_codex_that_cannot_be_logged_in_so_says_why() -> None:
    talk = CodexTalk("gpt-5.5", assigned(RUNS["success"], environment=BROKER, is_walled=True))
    talk.opening()
    talk.hear(b'{"id":"login","error":{"code":-32600,"message":"requires experimentalApi"}}')
    verdict = talk.verdict(Ending(0, None, "", "", truncated=False))
    assert (talk.is_over, verdict.succeeded, verdict.error_message) == (True, False, "codex: requires experimentalApi")


def test_a_login_that_is_refused_is_tried_once_more_and_that_is_the_end() -> None:
    talk = CodexTalk("gpt-5.5", assigned(RUNS["success"], environment=BROKER, is_walled=True))
    talk.opening()
    renewal = json.dumps(RENEWAL).encode()
    used = json.dumps({"method": "thread/tokenUsage/updated", "params": {"tokenUsage": {}}}).encode()
    for line in (renewal, used, renewal):  # refused again long after it had been taken
        talk.hear(line)
    assert said(talk.owed()) == [{"id": 7, "result": LETTERS}] * 2
    assert not talk.is_over
    talk.hear(renewal)
    assert (talk.is_over, talk.owed()) == (True, b"")
    verdict = talk.verdict(Ending(0, None, "", "", truncated=False))
    assert (verdict.failure, verdict.succeeded) == ("auth", False)
    assert "codex login" in str(verdict.needs_input)


def test_its_lines_are_told_in_words() -> None:
    def words(case: str) -> str:
        lines = [json.dumps(line) for line in RUNS[case]["lines"] if "say" not in line]
        return "\n".join(filter(None, map(Codex("x").narrate, lines)))

    told = words("success")
    for line in ("* gpt-5.5, sandbox: workspaceWrite, session ", "< SUCCESS", "I look.", "> runs `pwd`", "> writes a.txt", "  made"):
        assert line in told
    assert "* done: in " in told
    assert "! may not: runs `npm install left-pad`" in words("denied")
    assert "* stopped: exceeded retry limit, last status: 429 Too Many Requests -- in " in words("too many")
    assert "! Reconnecting... 1/5 " in words("auth key")
    assert "! Model metadata for" in words("unknown model")
    assert Codex("x").narrate("Error: no such flag") == "Error: no such flag"
