"""What an agent calls its session is its own text, and becomes a word of commands and a part of the names of files."""

import pytest

from devsh_memory_mcp.agents.claude_project import project_name
from devsh_memory_mcp.agents.plain import session_word

IDS = ["019a2b3c-4d5e-7f00-8a9b-0c1d2e3f4a5b", "ses_5f3a9Bc", "a", "0" * 128]
OTHERS = ["", "-p", "--settings=x", "*", "[a-z]*", "../../x", "a/b", "a b", "a\n", "a;id", "$(id)", "é1", "x\0", "0" * 129]


@pytest.mark.parametrize("word", IDS)
def test_ids_of_sessions_are_known(word: str) -> None:
    assert session_word(word) == word


@pytest.mark.parametrize("word", [*OTHERS, None, 7, ["a"]])
def test_anything_else_is_none(word: object) -> None:
    assert session_word(word) is None


def test_projects_are_called_as_claude_calls_them() -> None:
    assert project_name("/a/b_c.d e/é/🐦") == "-a-b-c-d-e-----"
    long = "/tmp/h1/" + "x" * 120 + "/" + "yé" * 60 + "/w"
    assert project_name(long) == ("-tmp-h1-" + "x" * 120 + "-" + "y-" * 60)[:200] + "-w5nszs"
