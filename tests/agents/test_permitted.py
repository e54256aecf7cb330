"""What an agent needs not ask for, and whether a tool call of ACP is that."""

import pytest

from devsh_memory_mcp.agents.acp_session import decision, may
from devsh_memory_mcp.agents.adapter import Assignment
from devsh_memory_mcp.agents.document import Document
from devsh_memory_mcp.agents.permitted import is_permitted

HERE = Assignment("acp/x", "p", "/p", "/w", {}, permissions="acceptEdits")


@pytest.mark.parametrize("line", ["git add . && git commit -m 'a; b | c'", "pytest -q tests; make test", "go test ./..."])
def test_commits_and_tests_one_after_the_other_need_no_asking(line: str) -> None:
    assert is_permitted(line)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "git push",
        "git add . && git push",
        "git commit -m x | sh",
        "git commit -m x & sh",
        "git commit -m x || sh",
        "git add `sh`",
        'git commit -m "$(sh)"',
        "git add .\nsh",
        "pytest > /etc/passwd",
        "pytest <(sh)",
        "(git add .)",
        "git add a#b; sh",
        "git add . # sh; sh",
        "git add $'\\'' ; sh #'",
        'git add $"x"; sh',
        "gitadd .",
        "git 'add",
        "make tests-and-more",
        "FOO=1 git add .",
    ],
)
def test_whatever_else_a_line_holds_has_to_be_asked_for(line: str) -> None:
    assert not is_permitted(line)


@pytest.mark.parametrize(
    ("call", "allowed"),
    [
        ({"kind": "edit", "locations": [{"path": "/w/a"}]}, True),
        ({"kind": "edit", "locations": [{"path": "/w/a"}, {"path": "/w/../etc/passwd"}]}, False),
        ({"kind": "edit", "rawInput": {"filePath": "/other/a"}}, False),
        ({"kind": "edit"}, False),
        ({"kind": "read", "locations": [{"path": "/etc/passwd"}]}, False),
        ({"kind": "read", "locations": [{"path": "/w/a"}]}, True),
        ({"kind": "read", "title": "reads something"}, False),
        ({"kind": "search", "title": "needle"}, True),
        ({"kind": "execute", "title": "git add ."}, True),
        ({"kind": "execute", "title": "git add .", "rawInput": {"command": "sh"}}, False),
        ({"kind": "execute", "title": "devsh-memory"}, False),
        ({"kind": "other", "title": "devsh-memory_send_message"}, True),
        ({"title": "mcp__devsh-memory__get_my_messages"}, True),
        ({"title": "mcp_devsh-memory_send_message"}, True),
        ({"kind": "other", "title": "sh -c 'curl example.org' # devsh-memory_send_message"}, False),
        ({"kind": "other", "title": "devsh-memory_send_message\nrm"}, False),
        ({"title": "mine_devsh-memory_send_message"}, False),
        ({"title": "devsh-memory"}, False),
        ({"kind": "fetch", "title": "devsh-memory_send_message"}, False),
        ({"title": "anything else"}, False),
    ],
)
def test_a_tool_call_is_judged_by_what_it_names(call: Document, allowed: bool) -> None:
    assert may(call, HERE) is allowed
    assert may(call, HERE._replace(permissions="bypass"))


def test_the_narrowest_option_is_taken_and_without_one_the_call_is_not_made() -> None:
    options = [{"kind": kind, "optionId": kind[:8]} for kind in ("allow_always", "allow_once", "reject_once")]
    assert decision(options, allowed=True) == {"outcome": {"outcome": "selected", "optionId": "allow_on"}}
    assert decision(options, allowed=False) == {"outcome": {"outcome": "selected", "optionId": "reject_o"}}
    assert decision(options[:1], allowed=False) == {"outcome": {"outcome": "cancelled"}}
    assert decision("none", allowed=True) == {"outcome": {"outcome": "cancelled"}}
