"""Names of Claude's models, as people type them."""

import pytest

from devsh_memory_mcp.agents.catalogue import find_adapter
from devsh_memory_mcp.agents.claude_model import model_name, near_miss
from devsh_memory_mcp.errors import UnknownAgent


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("haiku-4.5", "claude-haiku-4-5"),
        ("haiku-4-5", "claude-haiku-4-5"),
        ("opus-4.6", "claude-opus-4-6"),
        ("claude-opus-4-6", "claude-opus-4-6"),
        ("claude-opus-4.6", "claude-opus-4-6"),
        ("claude-haiku-4-5-20251001", "claude-haiku-4-5-20251001"),
        ("haiku-4.5-20251001", "claude-haiku-4-5-20251001"),
        ("sonnet-6", "claude-sonnet-6"),
        ("opus", "opus"),
        ("sonnet", "sonnet"),
        ("haiku", "haiku"),
        ("fable", "fable"),
        ("default", "default"),
        ("best", "best"),
        ("my-own-model", "my-own-model"),
        ("us.anthropic.claude-opus-4-6-v1:0", "us.anthropic.claude-opus-4-6-v1:0"),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/opus", "arn:aws:bedrock:us-east-1:1:inference-profile/opus"),
    ],
)
def test_a_name_passes_by_rule(typed: str, sent: str) -> None:
    assert (near_miss(typed), model_name(typed)) == (None, sent)
    assert find_adapter(f"claude/{typed}").takes_messages


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("hiaku-4.5", "haiku-4.5"),
        ("haiku4.5", "haiku-4.5"),
        ("haiku45", "haiku-4.5"),
        ("opus4.6", "opus-4.6"),
        ("claude-opuss-4-6", "opus-4.6"),
        ("sonet", "sonnet"),
        ("sonnett-4.5", "sonnet-4.5"),
        ("opus-", "opus"),
    ],
)
def test_a_slip_of_the_keyboard_is_refused_with_what_was_meant(typed: str, meant: str) -> None:
    assert near_miss(typed) == meant
    with pytest.raises(UnknownAgent) as caught:
        find_adapter(f"claude/{typed}")
    assert caught.value.next_step == f"Did you mean 'claude/{meant}'?"
    assert near_miss(meant) is None


def test_a_provider_alone_is_no_agent() -> None:
    with pytest.raises(UnknownAgent):
        find_adapter("claude/")
