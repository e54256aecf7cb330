"""Names of Codex's models, as people type them."""

import pytest

from devsh_memory_mcp.agents.catalogue import find_adapter
from devsh_memory_mcp.agents.codex_model import near_miss
from devsh_memory_mcp.errors import UnknownAgent


@pytest.mark.parametrize(
    "typed",
    [
        *("gpt-5.5", "gpt-5.1-codex-mini", "gpt-5.1-codex", "gpt-5", "gpt-6.1-sol", "gpt-6-astra", "gpt-4o", "gpt-4o-mini"),
        *("gpt-5-2025-08-07", "gpt-oss-20b", "o3", "o4-mini", "codex-mini-latest", "my-own-model", "qwen3:8b", "org/opt-6.7b"),
    ],
)
def test_a_name_passes_as_it_is(typed: str) -> None:
    assert near_miss(typed) is None
    adapter = find_adapter(f"codex/{typed}")
    assert adapter.takes_messages
    assert adapter.reopen("some-thread") == ("codex", "resume", "some-thread")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("gpt-5-1-codex", "gpt-5.1-codex"),
        ("gpt-5-5", "gpt-5.5"),
        ("gpt5.1-codex", "gpt-5.1-codex"),
        ("gpt5", "gpt-5"),
        ("gtp-5.1-codex-mini", "gpt-5.1-codex-mini"),
        ("gptt-5", "gpt-5"),
        ("GPT-5.5", "gpt-5.5"),
        ("gpt_5.5", "gpt-5.5"),
    ],
)
def test_a_slip_of_the_keyboard_is_refused_with_what_was_meant(typed: str, meant: str) -> None:
    assert near_miss(typed) == meant
    with pytest.raises(UnknownAgent) as caught:
        find_adapter(f"codex/{typed}")
    assert caught.value.next_step == f"Did you mean 'codex/{meant}'?"
    assert near_miss(meant) is None
