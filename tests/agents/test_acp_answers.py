"""How often a model has answered, told from what an ACP agent says and calls."""

import pytest

from devsh_memory_mcp.agents.acp_answers import Answers


@pytest.mark.parametrize(
    ("course", "count"),
    [
        ("say", 1),
        ("say say", 1),
        ("say call:a over:a say", 2),
        ("call:a over:a call:b over:b say", 3),
        ("say call:a call:b over:b over:a say", 2),  # two calls of one answer, at the same time
        ("call:a over:a call:a_1 over:a_1 call:b over:b say", 3),  # two of one answer, one after the other
        ("say turn say", 2),
        ("call:a turn say", 2),  # an interrupt leaves calls that never end
        ("over:a say", 1),
    ],
)
def test_an_answer_ends_when_its_calls_are_over(course: str, count: int) -> None:
    answers = Answers(lambda call_id: call_id.endswith("_1"))
    for step in course.split():
        what, _, call_id = step.partition(":")
        if what in ("call", "over"):
            (answers.call if what == "call" else answers.settle)(call_id)
        else:
            (answers.speak if what == "say" else answers.turn)()
    assert answers.count == count
