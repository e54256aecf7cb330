"""The four patterns, as a client gets them."""

import re

import pytest
from doubles.mcp_client import Connect
from doubles.orchestrations import Canned
from mcp.shared.exceptions import MCPError

from devsh_memory_mcp.faces.mcp_prompts import PATTERNS, get_prompt
from devsh_memory_mcp.faces.mcp_tools import FACES

FOUR = ["sequential_pipeline", "parallel_fan_out", "leader_worker", "review_loop"]


def text_of(name: str, **given: str) -> str:
    (message,) = get_prompt(name, given).messages
    return str(getattr(message.content, "text"))  # noqa: B009  # a prompt's content may be other than text


@pytest.mark.promise("mcp.prompts")
async def test_the_four_patterns_are_offered_and_rendered(connect: Connect, canned: Canned) -> None:
    async with connect(canned) as client:
        offered = (await client.list_prompts()).prompts
        assert [prompt.name for prompt in offered] == FOUR
        for prompt in offered:
            assert prompt.title
            assert prompt.description
            assert {argument.name for argument in prompt.arguments or ()} >= {"goal", "agent"}
            answer = await client.get_prompt(prompt.name, {"goal": "Port the {parser} to Rust", "agent": "claude/haiku-4.5"})
            assert "Port the {parser} to Rust" in answer.messages[0].content.text
            assert "agentName claude/haiku-4.5" in answer.messages[0].content.text
    assert canned.asked == []


@pytest.mark.parametrize("name", FOUR)
def test_they_speak_of_tools_that_there_are_and_need_no_argument(name: str) -> None:
    text = text_of(name)
    known = {face.name for face in FACES}
    assert set(re.findall(r"\b(?:spawn|wait|get|send|list|cancel|pull)_\w+", text)) <= known
    assert "what the user asked for here" in text
    assert "wait_for_agent" in text


def test_words_that_a_client_dealt_out_over_the_arguments_are_the_goal_again() -> None:
    text = text_of("review_loop", goal="Fix", agent="the", rounds="parser")
    assert ": Fix the parser (where this is cut off, all that the user typed counts)" in text
    assert "agentName" not in text
    assert "Stop after 3 reviews" in text
    assert "Stop after 5 reviews" in text_of("review_loop", rounds="5")


def test_what_there_is_not_is_refused_in_words() -> None:
    with pytest.raises(MCPError, match="There is no prompt 'x'; there are sequential_pipeline, "):
        get_prompt("x", None)
    with pytest.raises(MCPError, match="parallel_fan_out takes agent, goal, not rounds"):
        get_prompt("parallel_fan_out", {"rounds": "3"})
    assert [pattern.name for pattern in PATTERNS] == FOUR
