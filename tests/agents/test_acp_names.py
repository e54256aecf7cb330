"""Which names of models and commands pass, and what is meant by those that do not."""

import pytest

from devsh_memory_mcp.agents import acp, gemini, opencode


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("gemini-2.5-pro", None),
        ("gemini-9.9-unheard-of", None),
        ("auto", None),
        ("default", None),
        ("2.5-pro", "gemini-2.5-pro"),
        ("gemini-2-5-pro", "gemini-2.5-pro"),
        ("my-own", None),
    ],
)
def test_models_of_gemini(given: str, meant: str | None) -> None:
    assert gemini.near_miss(given) == meant


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("anthropic/claude-haiku-4-5", None),
        ("openrouter/a/b", None),
        ("default", None),
        ("claude-haiku-4-5", "anthropic/claude-haiku-4-5"),
        ("anthropic/claude-haiku-4.5", "anthropic/claude-haiku-4-5"),
        ("my-own", "<provider>/my-own"),
    ],
)
def test_models_of_opencode(given: str, meant: str | None) -> None:
    assert opencode.near_miss(given) == meant


def test_the_key_of_opencode_is_that_of_the_models_provider() -> None:
    assert [name for name, _ in opencode.Opencode("openai/gpt-5.5").provider.variables] == ["OPENAI_API_KEY"]
    assert opencode.Opencode("my-own/x").provider.variables == opencode.PROVIDER.variables


def test_a_command_has_words_and_the_first_is_the_program() -> None:
    assert acp.near_miss("'") == acp.near_miss(" ") == "<command>"
    assert acp.any_agent("'/a b/agent' acp").provider.program == "/a b/agent"
