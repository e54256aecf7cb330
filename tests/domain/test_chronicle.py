"""Whatever a journal tells can be told in words."""

from devsh_memory_mcp.domain import chronicle, events
from devsh_memory_mcp.domain.state import State


def test_every_event_has_words() -> None:
    assert set(chronicle._WORDS) == set(events.ALL)


def test_words_of_agents_are_one_harmless_line() -> None:
    event = events.AgentFailed(orchestration_task_id="ns1", reason="exit", error_message="\x1b[2Jboom\r\nmore")
    assert chronicle.sentence(3, event, State()) == "ns1 failed (exit): boom"


def test_after_a_failed_attempt_it_is_said_which_one_ended_and_which_comes() -> None:
    event = events.RetryScheduled(orchestration_task_id="ns1", attempt=2, reason="exit", not_before="2026-01-02T00:00:00Z", delay_ms=1500)
    assert chronicle.sentence(3, event, State()) == "ns1: attempt 2 will be made in 1.5 s, since attempt 1 ended (exit)"
