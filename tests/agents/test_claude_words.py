"""Claude's output in words; `claude_lines.jsonl` was recorded from claude 2.1.330, with what nobody reads taken out of its lines."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devsh_memory_mcp.agents.claude_words import activity, narrate
from devsh_memory_mcp.agents.plain import plain, shortened

HERE = Path(__file__).parent
LONG = "python3/packages/deep/one/of/its/file.py"
CHECKOUT = "/home/someone/.local/state/devsh/orchestrations/orch_1/runs/tr_1/2/workspace"


def test_a_whole_run_reads_as_it_happened() -> None:
    said = [narrate(line) for line in (HERE / "claude_lines.jsonl").read_text(encoding="utf-8").splitlines()]
    assert "\n".join(filter(None, said)) + "\n" == (HERE / "claude_lines.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("tool", "given_to_it", "words"),
    [
        ("Edit", {"file_path": f"{CHECKOUT}/src/app.py"}, "edits src/app.py"),
        ("Read", {"file_path": "/etc/hosts"}, "reads /etc/hosts"),
        ("Write", {"file_path": f"/usr/lib/{LONG}"}, f"writes …/lib/{LONG}"),
        ("Read", {}, "reads a file"),
        ("Bash", {"command": "npm test"}, "runs `npm test`"),
        ("Bash", {"command": f"cd {CHECKOUT}\npytest"}, "runs `cd . …`"),
        ("Bash", {"command": f"cd {CHECKOUT} && npm test"}, "runs `npm test`"),
        ("Bash", {"command": f"\n  cat {CHECKOUT}/a.txt  "}, "runs `cat a.txt`"),
        ("Bash", {"command": "\x1b[31mrm\x1b]0;title\x07 -r\tx\r"}, "runs `rm -r x`"),
        ("Grep", {"pattern": "def f", "path": CHECKOUT}, "searches for def f in ."),
        ("Glob", {"pattern": "**/*.py"}, "searches for **/*.py"),
        ("WebSearch", {"query": "tides"}, "searches for tides on the web"),
        ("WebFetch", {"url": "https://example.com/x"}, "reads https://example.com/x"),
        ("Agent", {"description": "Look around", "prompt": "…"}, "has a sub-agent: Look around"),
        ("Skill", {"skill": "verify"}, "uses the skill verify"),
        ("TodoWrite", {"todos": []}, "plans its steps"),
        ("mcp__devsh-memory__send_message", {"to": "head"}, "asks devsh-memory: send_message"),
        ("SomethingNew", {}, "uses SomethingNew"),
    ],
)  # fmt: skip
def test_a_tool_call_is_told_in_a_few_words(tool: str, given_to_it: dict[str, Any], words: str) -> None:
    assert activity(tool, given_to_it) == words


def test_a_long_command_is_cut_and_closes_its_quote() -> None:
    words = activity("Bash", {"command": "echo " + "x" * 500})
    assert len(words) == 80
    assert words.endswith("…`")


@pytest.mark.parametrize("line", ["", "null", "[]", "3", '{"type":"tool_progress"}', '{"type":"assistant","message":3}', '{"type":[]}'])
def test_a_line_without_anything_to_read_is_left_out(line: str) -> None:
    assert narrate(line) is None


def test_a_line_that_is_not_claudes_own_format_is_shown_as_it_is() -> None:
    assert narrate("Error: claude needs \x1b[1mnode\x1b[0m") == "Error: claude needs node"
    assert narrate("[" * 100_000) == "[" * 100_000


def test_a_server_that_did_not_start_is_told() -> None:
    line = {"type": "system", "subtype": "init", "model": "m", "mcp_servers": [{"name": "devsh-memory", "status": "failed"}, 3]}
    assert "! the server devsh-memory did not start" in str(narrate(json.dumps(line)))


def test_what_the_model_thinks_is_left_out() -> None:
    line = {"type": "assistant", "message": {"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Yes."}]}}
    assert narrate(json.dumps(line)) == "Yes."


def test_a_long_answer_of_a_tool_is_cut() -> None:
    block = {"type": "tool_result", "content": "\n".join(f"line {number}" for number in range(10))}
    assert narrate(json.dumps({"type": "user", "message": {"content": [block]}})) == "  line 0\n  line 1\n  line 2\n  … 7 more lines"


_NAMES = (
    "message", "content", "text", "type", "name", "input", "subtype", "file_path", "command", "tool_use_result", "structuredPatch",
    "hunks", "lines", "file", "numLines", "errors", "permission_denials", "mcp_servers", "status", "total_cost_usd", "attempt",
)  # fmt: skip
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from([0.5, 1e300, "", "Edit", "\x1b[2J", "a\nb", "tool_use"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_NAMES), inner, max_size=4),
    max_leaves=12,
)


@given(kind=st.sampled_from(["system", "assistant", "user", "result"]), rest=st.dictionaries(st.sampled_from(_NAMES), _json))
def test_no_line_whatever_is_in_it_fails_or_moves_a_cursor(kind: str, rest: dict[str, Any]) -> None:
    told = narrate(json.dumps(rest | {"type": kind}))
    assert told is None or all(line.isprintable() for line in told.split("\n"))


@given(name=st.text(), given_to_it=st.dictionaries(st.sampled_from(["file_path", "command", "pattern"]), st.text(max_size=200)))
def test_an_activity_is_always_one_short_line(name: str, given_to_it: dict[str, Any]) -> None:
    words = activity(name, given_to_it)
    assert len(words) <= 80
    assert words.isprintable()


@given(st.text())
def test_text_of_agents_is_made_printable(text: str) -> None:
    assert plain(text).isprintable()
    assert len(shortened(text, 10)) <= 10


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b[Hgone", "gone"),
        ("\x1b]8;;https://example.com/\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPq#0\x1b\\picture", "picture"),
        ("\x9b31mred", " 31mred"),
        ("a\tb", "a   b"),
        ("evil\u202etxt.exe", "eviltxt.exe"),
        ("warning \u26a0\ufe0f", "warning \u26a0"),
        ("half \x1b[", "half "),
    ],
)
def test_control_sequences_leave_nothing_behind(text: str, shown: str) -> None:
    assert plain(text) == shown
